#!/usr/bin/env python3
"""OpenStack's own Swift (package swift of PyPI) in one process: proxy, account, container and object server over one folder.

Usage: object_store.py FOLDER. Prints one line of JSON when it answers: {"url": "http://127.0.0.1:PORT"}. Ends with its input.

TempAuth knows glance:image with the key `secret`; S3 requests are signed with access key `glance:image` and that key. One
replica, no auditors: for tests of clients, not for data. Large objects (SLO), S3 (s3api) and ranges are Swift's own code.
"""

import json
import os
import sys
import threading

import eventlet

eventlet.monkey_patch(thread=False)

from eventlet import wsgi  # noqa: E402
from swift.common import constraints, storage_policy, utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402

# Nothing here outlives the test.
os.fsync = os.fdatasync = lambda _: None

folder = os.path.abspath(sys.argv[1])
devices = os.path.join(folder, "devices")
os.makedirs(os.path.join(devices, "d1"), exist_ok=True)


def put(name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as out:
        out.write(text)
    return path


swift_conf = put("swift.conf", """[swift-hash]
swift_hash_path_suffix = test
swift_hash_path_prefix = test
[storage-policy:0]
name = one
default = yes
""")
utils.SWIFT_CONF_FILE = swift_conf
constraints.SWIFT_CONF_FILE = swift_conf
storage_policy.SWIFT_CONF_FILE = swift_conf
constraints.reload_constraints()
storage_policy.reload_storage_policies()
utils.validate_hash_conf()

ports = {}
sockets = {}
for server in ("proxy", "account", "container", "object"):
    sockets[server] = eventlet.listen(("127.0.0.1", 0))
    ports[server] = sockets[server].getsockname()[1]

for server in ("account", "container", "object"):
    builder = RingBuilder(0, 1, 1)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": ports[server], "device": "d1", "weight": 1})
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, f"{server}.ring.gz"))

common = f"""[DEFAULT]
swift_dir = {folder}
devices = {devices}
mount_check = false
fallocate_reserve = 0
log_level = WARNING
bind_ip = 127.0.0.1
workers = 0
"""


def storage(server):
    return put(f"{server}.conf", common + f"""
[pipeline:main]
pipeline = {server}-server
[app:{server}-server]
use = egg:swift#{server}
""")


proxy = put("proxy.conf", common + """
[pipeline:main]
pipeline = catch_errors s3api tempauth bulk slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
[filter:tempauth]
use = egg:swift#tempauth
user_glance_image = secret .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
allow_async_delete = false
[filter:dlo]
use = egg:swift#dlo
""")

from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: E402



class Memory:
    """What memcached is to Swift: tokens live in it."""

    def __init__(self):
        self.values = {}

    def set(self, key, value, **_):
        self.values[key] = json.dumps(value)

    def get(self, key, **_):
        value = self.values.get(key)
        return None if value is None else json.loads(value)

    def delete(self, key, **_):
        self.values.pop(key, None)

    def incr(self, key, delta=1, **_):
        value = (self.get(key) or 0) + delta
        self.set(key, value)
        return value

    def decr(self, key, delta=1, **_):
        return self.incr(key, -delta)

    def set_multi(self, mapping, server_key, **_):
        for key, value in mapping.items():
            self.set(key, value)

    def get_multi(self, keys, server_key, **_):
        return [self.get(key) for key in keys]


memory = Memory()


def remembering(app):
    def call(env, start_response):
        env["swift.cache"] = memory
        return app(env, start_response)

    return call


pool = eventlet.GreenPool(256)
confs = {"proxy": proxy, "account": storage("account"), "container": storage("container"), "object": storage("object")}
quiet = open(os.path.join(folder, "log"), "w")
for server, conf in confs.items():
    app = loadapp(conf, global_conf={"log_name": server})
    if server == "proxy":
        app = remembering(app)
    pool.spawn(wsgi.server, sockets[server], app, quiet, protocol=SwiftHttpProtocol, log_output=False,
               capitalize_response_headers=False)

print(json.dumps({"url": f"http://127.0.0.1:{ports['proxy']}"}), flush=True)
sys.stdout = sys.stderr


def wait_for_the_end():
    while sys.stdin.read(4096):
        pass
    os._exit(0)


threading.Thread(target=wait_for_the_end, daemon=True).start()
pool.waitall()
