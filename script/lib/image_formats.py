"""image_formats.py FOLDER: images of every format, honest and hostile, for Tempest's test_images_formats. Makes them in FOLDER with qemu-img
and by hand, and prints the path of the manifest that Tempest's images_manifest_file wants."""

import pathlib
import subprocess
import sys

MIB = 1 << 20
# name, glance's format, qemu-img's, options
MADE = [
    ("qcow2", "qcow2", "qcow2", ""),
    ("qcow2-v2", "qcow2", "qcow2", "compat=0.10"),
    ("vdi", "vdi", "vdi", ""),
    ("vhd", "vhd", "vpc", "subformat=dynamic,force_size=on"),
    ("vhdx", "vhdx", "vhdx", ""),
    ("vmdk-sparse", "vmdk", "vmdk", "subformat=monolithicSparse"),
]


def qemu_img(*args):
    subprocess.run(["qemu-img", *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    images = []

    def add(name, kind, usable=True):
        images.append((name, kind, f"{name}.img", usable))
        return folder / f"{name}.img"

    raw = add("raw", "raw")
    raw.write_bytes(b"a disk".ljust(4 * MIB, b"\0"))
    for name, kind, qemu, options in MADE:
        qemu_img("convert", "-f", "raw", "-O", qemu, *(["-o", options] if options else []), raw, add(name, kind))
    stream = add("vmdk-stream-with-footer", "vmdk")
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, stream)
    iso = bytearray(64 * 1024)
    iso[32769:32774] = b"CD001"
    add("iso", "iso").write_bytes(iso)
    disk = bytearray(MIB)
    disk[510:512], disk[450], disk[454] = b"\x55\xaa", 0xEE, 1
    add("gpt", "gpt").write_bytes(disk)
    disk[454] = 9
    add("gpt-elsewhere", "gpt", usable=False).write_bytes(disk)

    qemu_img("create", "-q", "-f", "qcow2", "-b", folder / "qcow2.img", "-F", "qcow2", add("qcow2-backing", "qcow2", usable=False))
    data = f"data_file={folder / 'elsewhere.raw'}"
    qemu_img("create", "-q", "-f", "qcow2", "-o", data, add("qcow2-data-file", "qcow2", usable=False), "4M")
    strange = bytearray((folder / "qcow2.img").read_bytes())
    strange[79] |= 1 << 6
    add("qcow2-unknown-feature", "qcow2", usable=False).write_bytes(strange)
    qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", add("vmdk-flat", "vmdk", usable=False), "4M")

    lines = ["images:"]
    for name, kind, file, usable in images:
        lines += [f"  - name: {name}", f"    format: {kind}", f"    filename: {file}", f"    usable: {str(usable).lower()}"]
    manifest = folder / "manifest.yaml"
    manifest.write_text("\n".join(lines) + "\n")
    print(manifest)


main(pathlib.Path(sys.argv[1]))
