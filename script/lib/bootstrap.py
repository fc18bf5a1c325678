"""Fills a running cloud with what people expect to find: flavors, an image, an external network, a volume type and, with
--demo, a project of user demo with a network, a router and a first server. Everything goes through the public APIs, with
openstacksdk. What is there already stays as it is, so a second run changes nothing. The ids it found or made are written
to STATE/bootstrap.json."""

import argparse
import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

import keystoneauth1.exceptions
import openstack
from openstack import exceptions

HERE = pathlib.Path(__file__).parent
SSH = ["ssh", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
       "-o", "ConnectTimeout=5"]


class Give_up(Exception):
    """Words for people: what failed, and what to do."""


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--state", type=pathlib.Path, required=True)
    p.add_argument("--image", type=pathlib.Path, help="qcow2 for the image 'cirros'; without it a dummy (fake clouds)")
    p.add_argument("--demo", action="store_true")
    p.add_argument("--fake", action="store_true")
    p.add_argument("--second-image", action="store_true", help="also an image cirros-alt, for test suites")
    p.add_argument("--config", type=pathlib.Path, help="of the cloud; names the addresses of the external network")
    p.add_argument("--ssh-wait", type=int, default=300, help="seconds a guest may need until ssh answers")
    return p.parse_args()


class Step:
    """Prints a line of progress with its time."""

    def __init__(self, words):
        self.words = words

    def __enter__(self):
        self.start = time.monotonic()
        print(f"  {self.words:<58}", end="", file=sys.stderr, flush=True)
        return self

    def __exit__(self, kind, error, trace):
        took = time.monotonic() - self.start
        print(f"{took:6.1f} s" if kind is None else " failed", file=sys.stderr, flush=True)


def wait_for(what, seconds, probe, advice):
    """Calls probe until it returns something true, and returns that."""
    until = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > until:
            raise Give_up(f"{what} after {seconds} s\n  {advice}")
        time.sleep(0.3)


def flavors(admin):
    have = {f.id for f in admin.compute.flavors()}
    for line in (HERE / "flavors.tsv").read_text().splitlines()[1:]:
        id, name, ram, disk, vcpus = line.split("\t")
        if id not in have:
            flavor = admin.compute.create_flavor(id=id, name=name, ram=int(ram), disk=int(disk), vcpus=int(vcpus))
            admin.compute.create_flavor_extra_specs(flavor, {"hw_rng:allowed": "True"})


def image(admin, path, name="cirros"):
    found = admin.image.find_image(name)
    if found and found.status == "active":
        return found
    with tempfile.TemporaryDirectory() as scratch:
        kind = "qcow2"
        if path is None:
            kind, path = "raw", pathlib.Path(scratch) / "dummy.raw"
            with open(path, "wb") as f:
                f.truncate(1 << 20)
        return admin.image.create_image(
            name=name, filename=str(path), disk_format=kind, container_format="bare", visibility="public",
            min_ram=0 if kind == "raw" else 72, hw_rng_model="virtio", os_distro="cirros")


def external_network(admin, config):
    conf = tomllib.loads(config.read_text()) if config else {}
    ours = (conf.get("neutron_agents", {}).get("external_bridge_cidr") or ["172.24.4.1/24"])[0]
    gateway, outside = ipaddress.ip_interface(ours).ip, ipaddress.ip_interface(ours).network
    net = admin.network.find_network("public")
    if net is None:
        net = admin.network.create_network(
            name="public", is_router_external=True, provider_network_type="flat", provider_physical_network="public")
    if not net.subnet_ids:
        admin.network.create_subnet(
            name="public-subnet", network_id=net.id, ip_version=4, cidr=str(outside), gateway_ip=str(gateway),
            enable_dhcp=False, allocation_pools=[{"start": str(gateway + 1), "end": str(outside[-2])}])
    return net


def volume_type(admin):
    types = list(admin.block_storage.types())
    for t in types:
        if t.name == "__DEFAULT__":
            return t
    return types[0] if types else admin.block_storage.create_type(name="__DEFAULT__", description="Default Volume Type")


def demo_user(admin, password):
    project = admin.identity.find_project("demo", domain_id="default") or admin.identity.create_project(
        name="demo", domain_id="default", description="for trying things")
    user = admin.identity.find_user("demo", domain_id="default")
    if user is None:
        user = admin.identity.create_user(
            name="demo", domain_id="default", password=password, default_project_id=project.id)
    member = admin.identity.find_role("member")
    admin.identity.assign_project_role_to_user(project, user, member)
    return project


def demo_network(demo, public):
    net = demo.network.find_network("demo-net", ignore_missing=True)
    if net is None:
        net = demo.network.create_network(name="demo-net")
    subnet = demo.network.find_subnet("demo-subnet")
    if subnet is None:
        subnet = demo.network.create_subnet(
            name="demo-subnet", network_id=net.id, ip_version=4, cidr="192.168.233.0/24", dns_nameservers=[])
    router = demo.network.find_router("demo-router")
    if router is None:
        router = demo.network.create_router(name="demo-router", external_gateway_info={"network_id": public.id})
    if not any(True for _ in demo.network.ports(device_id=router.id, network_id=net.id)):
        demo.network.add_interface_to_router(router, subnet_id=subnet.id)
    return net


def demo_rules(demo, project):
    group = next(demo.network.security_groups(name="default", project_id=project.id))
    have = {(r["protocol"], r["port_range_min"]) for r in group.security_group_rules if r["direction"] == "ingress"}
    for protocol, port in (("tcp", 22), ("icmp", None)):
        if (protocol, port) not in have:
            demo.network.create_security_group_rule(
                security_group_id=group.id, direction="ingress", ethertype="IPv4", protocol=protocol,
                port_range_min=port, port_range_max=port, remote_ip_prefix="0.0.0.0/0")


def demo_key(demo, state):
    key = state / "demo_key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(key)], check=True)
    if demo.compute.find_keypair("demo") is None:
        demo.compute.create_keypair(name="demo", public_key=(state / "demo_key.pub").read_text().strip())
    return key


def hosts_up(admin):
    """Whether some host can take servers and every network agent is alive."""
    compute = any(s.binary == "nova-compute" and s.state == "up" for s in admin.compute.services())
    agents = list(admin.network.agents())
    return compute and bool(agents) and all(a.is_alive for a in agents)


def first_server(demo, net, picture):
    server = demo.compute.find_server("first")
    if server is None:
        server = demo.compute.create_server(
            name="first", flavor_id="42", image_id=picture.id, networks=[{"uuid": net.id}], key_name="demo")

    def ready():
        now = demo.compute.get_server(server.id)
        if now.status == "ERROR":
            why = (now.fault or {}).get("message", "no reason given")
            raise Give_up(f"the first server went to ERROR: {why}\n  ferrostack explain server {now.id} --state …")
        return now if now.status in ("ACTIVE", "SHUTOFF") and now.task_state is None else None

    return wait_for("the first server is not ACTIVE", 180, ready, "openstack server show first; openstack server event list first")


def floating_ip(demo, public, server):
    port = next(demo.network.ports(device_id=server.id))
    for ip in demo.network.ips(port_id=port.id):
        return ip
    return demo.network.create_ip(floating_network_id=public.id, port_id=port.id)


def ssh_answers(demo, server, key, address):
    # After script/down, or a restart of the machine, the cloud finds its guests switched off.
    now = demo.compute.get_server(server.id)
    if now.status == "SHUTOFF" and now.task_state is None:
        demo.compute.start_server(now)
    return subprocess.run(SSH + ["-i", str(key), f"cirros@{address}", "true"], stdin=subprocess.DEVNULL).returncode == 0


def main():
    args = parse()
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(args.state / "clouds.yaml")
    admin = openstack.connect(cloud="ferrostack")
    ids = {}
    with Step("flavors"):
        flavors(admin)
    with Step("image cirros"):
        picture = image(admin, args.image)
        ids["image"] = picture.id
    if args.second_image:
        with Step("image cirros-alt"):
            ids["second_image"] = image(admin, args.image, "cirros-alt").id
    with Step("external network public"):
        public = external_network(admin, args.config)
        ids["public_network"] = public.id
    with Step("volume type"):
        ids["volume_type"] = volume_type(admin).name
    with Step("user demo"):
        secrets = json.loads((args.state / "secrets.json").read_text())
        project = demo_user(admin, secrets["demo_password"])
        ids["demo_project"] = project.id
    with Step("hosts and agents are up"):
        wait_for("no host, or not every network agent, is up", 90, lambda: hosts_up(admin),
                 f"ferrostack status --state {args.state}; ferrostack doctor; {args.state}/logs/ferrostack.log")
    if args.demo:
        demo = openstack.connect(cloud="ferrostack-demo")
        with Step("network, router, security group, key of demo"):
            net = demo_network(demo, public)
            demo_rules(demo, project)
            key = demo_key(demo, args.state)
        with Step("first server"):
            server = first_server(demo, net, picture)
            ids["server"] = server.id
        with Step("floating address"):
            address = floating_ip(demo, public, server).floating_ip_address
            ids["address"] = address
        if not args.fake:
            with Step(f"ssh cirros@{address}"):
                wait_for(f"{address} does not answer ssh", args.ssh_wait, lambda: ssh_answers(demo, server, key, address),
                         "openstack --os-cloud ferrostack-demo console log show first")
    (args.state / "bootstrap.json").write_text(json.dumps(ids, indent=1) + "\n")


try:
    main()
except Give_up as e:
    sys.exit(f"{e}")
except keystoneauth1.exceptions.ConnectFailure as e:
    sys.exit(f"the cloud does not answer: {e.args[0].split(': HTTP')[0]}")
except exceptions.SDKException as e:
    request = getattr(e, "request_id", None)
    sys.exit(f"the cloud refused: {e}" + (f"\n  ferrostack trace {request}" if request else ""))
except KeyboardInterrupt:
    sys.exit(130)
