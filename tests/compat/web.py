"""web.py FOLDER: a web server for tests that download images. Makes small images in FOLDER, serves FOLDER on a free port of loopback,
and prints the port."""

import functools
import http.server
import pathlib
import struct
import sys

CLUSTER = 1 << 16


def qcow2(size):
    """An empty disk: header, table of reference counts, its one block, and a first-level table without entries."""
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, size, 0, 1, 3 * CLUSTER, CLUSTER, 1, 0, 0)
    table = struct.pack(">Q", 2 * CLUSTER)
    block = struct.pack(">4H", 1, 1, 1, 1)
    return b"".join(part.ljust(CLUSTER, b"\0") for part in (header, table, block, b""))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


folder = pathlib.Path(sys.argv[1])
(folder / "image.qcow2").write_bytes(qcow2(1 << 20))
(folder / "image.raw").write_bytes(b"no format has this beginning" * 1000)
handler = functools.partial(Quiet, directory=str(folder))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()
