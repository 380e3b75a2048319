"""Trees that an LXD kept with shifted ids, given the guest's own."""

import os
import subprocess
from pathlib import Path

from hutch.kernel.idmap import IdMap
from hutch.kernel.unshift import unshift
from tests.conftest import needs_root

MAP = [IdMap(kind, 0, 1_000_000, 65536) for kind in "ug"]


def test_owners_modes_acls_and_capabilities_become_the_guests(tmp_path: Path) -> None:
    needs_root()
    tool, folder, link = tmp_path / "tool", tmp_path / "folder", tmp_path / "link"
    tool.touch()
    folder.mkdir()
    link.symlink_to("nowhere")
    for path, owner in ((tool, 1_000_003), (folder, 1_000_000), (link, 1_000_004), (tmp_path, 5)):
        os.lchown(path, owner, owner)
    subprocess.run(["setfacl", "-m", "u:1000007:rx,g:1000008:r", "-d", "-m", "u:1000007:rwx", folder], check=True)
    rootid = (1_000_000).to_bytes(4, "little")
    os.setxattr(tool, "security.capability", bytes.fromhex("0100000300200000000000000000000000000000") + rootid)
    tool.chmod(0o4755)

    unshift(tmp_path, MAP)

    owners = {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in (tool, folder, link)}
    assert owners == {"tool": (3, 3), "folder": (0, 0), "link": (4, 4)}
    assert (tmp_path.stat().st_uid, tool.stat().st_mode & 0o7777) == (5, 0o4755)
    assert os.getxattr(tool, "security.capability").hex() == "0100000200200000000000000000000000000000"
    acl = subprocess.run(["getfacl", "-n", "-c", folder], capture_output=True, text=True, check=True).stdout
    assert {"user:7:r-x", "group:8:r--", "default:user:7:rwx"} <= set(acl.split())
