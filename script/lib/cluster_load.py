"""The load of `script/cluster drill`: boots and deletes servers until SIGTERM and looks all the time whether the APIs answer;
then waits until things are calm, and checks that nothing acknowledged is lost, stuck or leaked. Prints one JSON object.

Runs on the host client, with openstacksdk, as the administrator."""

import argparse
import json
import signal
import sys
import threading
import time

import openstack

p = argparse.ArgumentParser()
p.add_argument("--workers", type=int, default=3)
p.add_argument("--calm", type=int, default=180, help="seconds that things may take to become calm")
args = p.parse_args()

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
lock = threading.Lock()
count = {"boots": 0, "deletes": 0, "refused": 0, "gets": 0, "failed_gets": 0, "errors": 0}
# `unsure`: a deletion was asked for, and nobody said what became of it.
created, deleted, unsure = {}, set(), set()
down = {"since": None, "longest": 0.0}


def add(name, n=1):
    with lock:
        count[name] += n


def connect():
    return openstack.connect(cloud="ferrostack")


def cloud_is_up():
    """A cloud object as soon as one can be had."""
    while True:
        try:
            c = connect()
            c.authorize()
            return c
        except Exception:
            time.sleep(0.2)


def ask(c, service, method, path, **kw):
    """Status and body; (0, None) if nobody answered. Never repeated: what the client sees is what is counted."""
    try:
        r = c.session.request(path, method, endpoint_filter={"service_type": service}, raise_exc=False, connect_retries=0,
                              status_code_retries=0, timeout=60, **kw)
        return r.status_code, (r.json() if r.content and "json" in r.headers.get("content-type", "") else None)
    except Exception:
        return 0, None


def work(network, image):
    c = cloud_is_up()
    body = {"server": {"name": "drill", "flavorRef": "42", "imageRef": image, "networks": [{"uuid": network}]}}
    while not stop.is_set():
        status, reply = ask(c, "compute", "POST", "/servers", json=body)
        if status != 202:
            add("refused")
            time.sleep(0.2)
            continue
        add("boots")
        server = reply["server"]["id"]
        with lock:
            created[server] = time.time()
        while not stop.is_set():
            status, reply = ask(c, "compute", "GET", f"/servers/{server}")
            if status == 200 and reply["server"]["status"] != "BUILD":
                break
            time.sleep(0.1)
        if stop.is_set():
            return
        while not stop.is_set():
            status, _ = ask(c, "compute", "DELETE", f"/servers/{server}")
            with lock:
                if status == 204 or (status == 404 and server in unsure):
                    deleted.add(server)
                    count["deletes"] += 1
                    break
                unsure.add(server)
                count["refused"] += 1
            time.sleep(0.2)


def probe():
    """GETs one after another; how long nobody answers is the time without service."""
    c = cloud_is_up()
    while not stop.is_set():
        begun = time.time()
        status, _ = ask(c, "compute", "GET", "/flavors")
        add("gets")
        with lock:
            if status == 200:
                if down["since"] is not None:
                    down["longest"] = max(down["longest"], time.time() - down["since"])
                    down["since"] = None
                down["longest"] = max(down["longest"], time.time() - begun)
            else:
                count["failed_gets"] += 1
                down["since"] = down["since"] or begun
        time.sleep(0.1)


def leaks(c, network):
    """What is not as it should be, as words; nothing when all is calm and clean."""
    found = []
    status, reply = ask(c, "compute", "GET", "/servers/detail?all_tenants=1&name=drill")
    if status != 200:
        return ["the compute API does not answer"]
    there = {s["id"]: s for s in reply["servers"]}
    for server in there.values():
        if server["status"] == "BUILD" or server["OS-EXT-STS:task_state"]:
            found.append(f"server {server['id']} is {server['status']}, {server['OS-EXT-STS:task_state']}")
        elif server["status"] == "ERROR" and "fault" not in server:
            found.append(f"server {server['id']} is in ERROR without a reason")
    for server in deleted & set(there):
        found.append(f"server {server} was deleted, and is there")
    for server in set(created) - deleted - unsure - set(there):
        found.append(f"server {server} was accepted, and is not there")
    status, reply = ask(c, "network", "GET", f"/v2.0/ports?network_id={network}")
    for port in (reply or {}).get("ports", []):
        if port["device_owner"].startswith("compute:") and port["device_id"] not in there:
            found.append(f"port {port['id']} belongs to server {port['device_id']}, which is gone")
    status, reply = ask(c, "placement", "GET", "/resource_providers")
    for provider in (reply or {}).get("resource_providers", []):
        status, held = ask(c, "placement", "GET", f"/resource_providers/{provider['uuid']}/allocations")
        for consumer in (held or {}).get("allocations", {}):
            status, _ = ask(c, "compute", "GET", f"/servers/{consumer}")
            if status == 404:
                found.append(f"an allocation on {provider['name']} belongs to {consumer}, which is gone")
    return found


def wait_for(seconds, look):
    until = time.time() + seconds
    while True:
        found = look()
        if not found or time.time() > until:
            return found
        time.sleep(1)


c = cloud_is_up()
image = next(i.id for i in c.image.images(name="cirros"))
net = c.network.find_network("drill") or c.network.create_network(name="drill")
if not list(c.network.subnets(network_id=net.id)):
    c.network.create_subnet(network_id=net.id, ip_version=4, cidr="10.250.0.0/16")
threads = [threading.Thread(target=work, args=(net.id, image), daemon=True) for _ in range(args.workers)]
threads.append(threading.Thread(target=probe, daemon=True))
print("ready", file=sys.stderr, flush=True)
for t in threads:
    t.start()
stop.wait()
calm_from = time.time()
for t in threads:
    t.join(90)
problems = wait_for(args.calm, lambda: leaks(c, net.id))
calm = time.time() - calm_from
status, reply = ask(c, "compute", "GET", "/servers/detail?all_tenants=1&name=drill")
rest = (reply or {}).get("servers", [])
errors = [s for s in rest if s["status"] == "ERROR"]
reasons = sorted({s.get("fault", {}).get("message", "-")[:160] for s in errors})
for s in rest:
    status, _ = ask(c, "compute", "DELETE", f"/servers/{s['id']}")
    if status == 204:
        deleted.add(s["id"])


def gone():
    status, reply = ask(c, "compute", "GET", "/servers?all_tenants=1&name=drill")
    return [s["id"] for s in reply["servers"]] if status == 200 else ["no answer"]


stuck = wait_for(args.calm, gone)
problems += [f"server {s} does not go away" for s in stuck]
problems += [w for w in leaks(c, net.id) if w not in problems]
print(json.dumps({**count, "errors": len(errors), "error_reasons": reasons, "without_service_s": round(down["longest"], 2),
                  "calm_after_s": round(calm, 1), "problems": problems}))
sys.exit(1 if problems else 0)
