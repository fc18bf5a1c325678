"""configure.py WORK < TEMPLATE > TEMPEST.CONF: fills in what only the running cloud knows."""

import json
import os
import pathlib
import sys

work = pathlib.Path(sys.argv[1])
os.environ["OS_CLIENT_CONFIG_FILE"] = str(work / "state/clouds.yaml")
import openstack  # noqa: E402  (reads the environment)

ids = json.loads((work / "state/bootstrap.json").read_text())
cloud = openstack.connect(cloud="ferrostack")
values = {
    "WORKDIR": work,
    "ADMIN_PASSWORD": json.loads((work / "state/secrets.json").read_text())["admin_password"],
    "IDENTITY_URL": json.loads((work / "ready.json").read_text().splitlines()[0])["urls"]["identity"],
    "IMAGE_REF": ids["image"],
    "IMAGE_REF_ALT": ids["second_image"],
    "PUBLIC_NETWORK_ID": ids["public_network"],
    "VOLUME_TYPE": ids["volume_type"],
    "NETWORK_EXTENSIONS": ",".join(sorted(e.alias for e in cloud.network.extensions())),
    "WEB": f"http://127.0.0.1:{(work / 'web.port').read_text().strip()}",
}
template = sys.stdin.read()
for name, value in values.items():
    template = template.replace(f"@{name}@", str(value))
print(template, end="")
