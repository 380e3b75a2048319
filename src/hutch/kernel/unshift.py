"""Trees whose files have a guest's ids as the host sees them, given the guest's own. Blocks."""

import contextlib
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

from hutch.kernel import tree
from hutch.kernel.idmap import IdMap, from_host, has_host

_CAPABILITY, _ACLS = "security.capability", ("system.posix_acl_access", "system.posix_acl_default")
_REVISION_2, _REVISION_3, _REVISIONS = 0x0200_0000, 0x0300_0000, 0xFF00_0000
_USER, _GROUP = 0x02, 0x08
_ENTRY = struct.Struct("<HHI")


def unshift(root: Path, idmap: Sequence[IdMap]) -> None:
    """Owners, ACLs and file capabilities of `root` and all below it; ids that the map does not know stay."""
    for path in list(tree.walk(root)):
        status = path.lstat()
        capability = _xattr(path, _CAPABILITY)
        os.lchown(path, _inside(idmap, "u", status.st_uid), _inside(idmap, "g", status.st_gid))
        if status.st_mode & (stat.S_ISUID | stat.S_ISGID) and not path.is_symlink():
            path.chmod(stat.S_IMODE(status.st_mode))  # the change of owner has taken these bits
        if capability:
            os.setxattr(path, _CAPABILITY, _capability(capability, idmap), follow_symlinks=False)
        for name in _ACLS:
            if acl := _xattr(path, name):
                os.setxattr(path, name, _acl(acl, idmap), follow_symlinks=False)


def _xattr(path: Path, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return os.getxattr(path, name, follow_symlinks=False)
    return b""


def _inside(idmap: Sequence[IdMap], kind: str, outside: int) -> int:
    return from_host(idmap, kind, outside) if has_host(idmap, kind, outside) else outside


def _capability(data: bytes, idmap: Sequence[IdMap]) -> bytes:
    """Capabilities that count for the guest's root only count for whoever is root: that is revision 2."""
    magic = int.from_bytes(data[:4], "little")
    if len(data) != 24 or magic & _REVISIONS != _REVISION_3:
        return data
    owner = _inside(idmap, "u", int.from_bytes(data[20:], "little"))
    if owner == 0:
        return ((magic & ~_REVISIONS) | _REVISION_2).to_bytes(4, "little") + data[4:20]
    return data[:20] + owner.to_bytes(4, "little")


def _acl(data: bytes, idmap: Sequence[IdMap]) -> bytes:
    entries = b""
    for tag, permissions, owner in _ENTRY.iter_unpack(data[4 : len(data) - (len(data) - 4) % _ENTRY.size]):
        mapped = _inside(idmap, "u" if tag == _USER else "g", owner) if tag in (_USER, _GROUP) else owner
        entries += _ENTRY.pack(tag, permissions, mapped)
    return data[:4] + entries
