"""A guest's mounts as CRIU keeps them (criu's images/mnt.proto), where they must be simpler for CRIU to make them again."""

import os
from pathlib import Path

from hutch.runtime.lxc import protobuf

_ROOT, _SHARED, _MASTER = 6, 10, 11


def part_unrelated(images: Path) -> None:
    """Let mounts that follow the same other mount and show folders beside each other follow nothing any more. Blocks.

    CRIU makes one follower from another, which the kernel allows only where the other's folder holds the one's. systemd binds
    such a folder into each service that has mounts of its own, so as to mount something there later.
    """
    files = {path: path.read_bytes() for path in sorted(images.glob("mountpoints-*.img"))}
    widest: dict[int, bytes] = {}
    for data in files.values():
        for entry in protobuf.entries(data):
            if (master := _followed(entry)) and len(_root(entry)) < len(widest.get(master, _root(entry) + b"x")):
                widest[master] = _root(entry)

    def parted(entry: bytes) -> bytes:
        master = _followed(entry)
        if not master or _holds(widest[master], _root(entry)):
            return entry
        return b"".join(written for field, _, written in protobuf.fields(entry) if field != _MASTER)

    for path, data in files.items():
        new = protobuf.image(data, (parted(entry) for entry in protobuf.entries(data)))
        if new != data:
            path.write_bytes(new)


def _followed(entry: bytes) -> int:
    """The group that the mount follows, without being in a group of its own; 0 when there is none."""
    master = protobuf.first(entry, _MASTER)
    return master if isinstance(master, int) and not protobuf.first(entry, _SHARED) else 0


def _root(entry: bytes) -> bytes:
    root = protobuf.first(entry, _ROOT)
    assert isinstance(root, bytes)
    return root


def _holds(folder: bytes, path: bytes) -> bool:
    return os.path.commonpath([folder, path]) == folder
