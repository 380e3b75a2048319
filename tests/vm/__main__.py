"""Builds the machine, boots it, shows what it says; the status is 0 when it says that everything passed."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hutch.imagebuild.build import build, cached
from hutch.imagebuild.recipe import load
from tests.hosts.run_folder import remove_tree

ROOT = Path(__file__).parents[2]
PROGRAMS = Path("/usr/local/lib/hutch")
DEADLINE = 1800.0
_END = re.compile(rb"vm: (\d+) passed, (\d+) failed")


def main() -> int:
    if os.geteuid() != 0:
        print("tests.vm: must be run as root", file=sys.stderr)
        return 1
    if shutil.which("qemu-system-x86_64") is None:
        print("tests.vm: qemu-system-x86_64 is missing: apt-get install qemu-system-x86", file=sys.stderr)
        return 1
    image = build(load(ROOT / "tests" / "vm" / "recipe.yaml"), progress=print).path
    work = Path(tempfile.mkdtemp(prefix="hutch-vm-", dir="/var/tmp"))
    try:
        return _boot(work, *_disks(work, image))
    finally:
        remove_tree(work)


def _disks(work: Path, image: Path) -> tuple[Path, Path]:
    """The machine's own disk, and one with this checkout, its Python packages, images and CRIU."""
    subprocess.run(["tar", "--numeric-owner", "-I", "zstd", "-C", work, "-xf", image], check=True)
    system = _disk(work / "system.img", work / "rootfs", "3G")
    data = work / "data"
    (data / "images").mkdir(parents=True)
    (data / "place").write_text(str(ROOT))
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    checkout = data / "checkout"
    for name in filter(None, names.decode().split("\0")):
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    shutil.copytree(ROOT / ".venv", checkout / ".venv", symlinks=True)
    for name in ("busybox", "debian/12"):
        path = cached(name, print).path
        for each in path.parent.glob(f"{name.replace('/', '-')}.*"):
            shutil.copy2(each, data / "images")
    shutil.copytree(PROGRAMS, data / "programs", symlinks=True)
    return system, _disk(work / "data.img", data, "2G")


def _disk(path: Path, tree: Path, size: str) -> Path:
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", tree, path, size], check=True)
    return path


def _boot(work: Path, *disks: Path) -> int:
    boot = work / "rootfs" / "boot"
    words = ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"]
    words += ["-nographic", "-no-reboot", "-nic", "none", "-append", "root=/dev/vda rw console=ttyS0 quiet"]
    words += ["-kernel", str(next(boot.glob("vmlinuz-*"))), "-initrd", str(next(boot.glob("initrd.img-*")))]
    for disk in disks:
        words += ["-drive", f"file={disk},format=raw,if=virtio"]
    end = None
    with subprocess.Popen(
        ["timeout", "--foreground", str(DEADLINE), "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as machine:
        assert machine.stdout is not None
        for line in machine.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            end = _END.search(line) or end
    return 0 if end is not None and end[1] != b"0" and end[2] == b"0" else 1


if __name__ == "__main__":
    sys.exit(main())
