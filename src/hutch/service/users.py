"""Users of the host who may have instances without being its administrators: each is let into a project of their own.

The project is made with its network when a user first comes by DIR/unix.socket.user. It is restricted: a user gets no more of
the host than an account has already, which is their home folder, and files there by their own id.
"""

import asyncio
import pwd
from pathlib import Path

from hutch.access.projects import DEFAULT
from hutch.errors import Forbidden, Unavailable
from hutch.schema.base import Config, Devices
from hutch.schema.network import NetworkPut
from hutch.schema.project import ProjectPut
from hutch.service import networks, projects
from hutch.service.parts import Parts

_ALLOWED = ("restricted.backups", "restricted.containers.nesting", "restricted.snapshots")


def project_of(uid: int) -> str:
    return f"user-{uid}"


def network_of(uid: int) -> str:
    return f"hbr-{uid}"


async def settle(parts: Parts, uid: int) -> None:
    """Make the user's network and project unless they are there. Forbidden for an id that is nobody's."""
    if parts.state.projects.find(project_of(uid)) is not None:
        return
    try:
        account = await asyncio.to_thread(pwd.getpwuid, uid)
    except KeyError:
        raise Forbidden(f"there is no user with the id {uid} on this host") from None
    async with parts.locks.hold(f"user/{uid}"):
        if parts.state.projects.find(project_of(uid)) is not None:
            return
        devices = _devices(parts, uid)
        if parts.state.networks.find(DEFAULT, network_of(uid)) is None:
            wanted = NetworkPut(name=network_of(uid), description=f"Network of the user {account.pw_name}")
            await networks.create(parts, DEFAULT, wanted)
        config = await asyncio.to_thread(settings, account)
        made = ProjectPut(name=project_of(uid), description=f"Project of the user {account.pw_name}", config={**config})
        await projects.create(parts, made, devices)


def _devices(parts: Parts, uid: int) -> Devices:
    """Those of the default profile."""
    if not parts.pools:
        raise Unavailable("there is no storage pool yet: an administrator makes one with `hutch admin init`")
    pool = DEFAULT if DEFAULT in parts.pools else min(parts.pools)
    return {
        "root": {"type": "disk", "path": "/", "pool": pool},
        "eth0": {"type": "nic", "network": network_of(uid), "name": "eth0"},
    }


def settings(account: pwd.struct_passwd) -> Config:
    """What the user's project may. A home that is not the user's own folder is not theirs to give to a guest."""
    config = {
        "features.images": "false",
        "restricted": "true",
        "restricted.idmap.gid": str(account.pw_gid),
        "restricted.idmap.uid": str(account.pw_uid),
        "restricted.networks.access": network_of(account.pw_uid),
    } | dict.fromkeys(_ALLOWED, "allow")
    home = Path(account.pw_dir)
    if home.is_dir() and home.stat().st_uid == account.pw_uid and len(home.parts) > 2 and "," not in account.pw_dir:
        config |= {"restricted.devices.disk": "allow", "restricted.devices.disk.paths": str(home)}
    return config
