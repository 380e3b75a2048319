"""The server as a whole: GET /1.0 and its settings."""

import os
import platform
import shutil
from functools import cache
from typing import Any

from msgspec.structs import replace

from hutch import __version__, registry
from hutch.kernel.run import run
from hutch.schema.base import Config, strings
from hutch.schema.keys import server as keys
from hutch.schema.keys.base import check_all
from hutch.schema.server import ServerRecord
from hutch.service.extensions import EXTENSIONS
from hutch.service.parts import Parts
from hutch.storage import drivers as storage_drivers


def settings(parts: Parts) -> ServerRecord:
    return parts.state.server.find("config") or ServerRecord()


def guest_view() -> dict[str, Any]:
    """What everybody may know."""
    return {
        "api_extensions": EXTENSIONS,
        "api_status": "stable",
        "api_version": "1.0",
        "auth": "untrusted",
        "public": False,
        "auth_methods": ["tls"],
    }


async def document(parts: Parts) -> dict[str, Any]:
    return guest_view() | {
        "auth": "trusted",
        "config": dict(settings(parts).config),
        "environment": await environment(parts),
    }


async def environment(parts: Parts) -> dict[str, Any]:
    in_use = sorted({record.driver for record in parts.state.pools.all()})
    name = os.uname()
    return {
        "addresses": [],
        "architectures": [name.machine] + (["i686"] if name.machine == "x86_64" else []),
        "certificate": parts.certificate,
        "certificate_fingerprint": parts.fingerprint,
        "driver": "lxc",
        "driver_version": await _lxc_version(),
        "firewall": "nftables",
        "kernel": name.sysname,
        "kernel_architecture": name.machine,
        "kernel_features": {
            "idmapped_mounts": "true",
            "netnsid_getifaddrs": "true",
            "seccomp_listener": "true",
            "shiftfs": "false",
            "uevent_injection": "true",
            "unpriv_fscaps": "true",
        },
        "kernel_version": name.release,
        "lxc_features": {"cgroup2": "true", "pidfd": "true", "seccomp_notify": "true", "idmapped_mounts_v2": "true"},
        "os_name": _os_release().get("NAME", "Linux"),
        "os_version": _os_release().get("VERSION_ID", ""),
        "project": "default",
        "server": "hutch",
        "server_clustered": False,
        "server_event_mode": "full-mesh",
        "server_name": name.nodename,
        "server_pid": os.getpid(),
        "server_version": __version__,
        "storage": " | ".join(in_use),
        "storage_version": " | ".join("1" for _ in in_use),
        "storage_supported_drivers": [
            {"Name": driver, "Version": "1", "Remote": False} for driver in registry.names(storage_drivers)
        ],
    }


@cache
def _os_release() -> dict[str, str]:
    return platform.freedesktop_os_release()


_version: list[str] = []


async def _lxc_version() -> str:
    if not _version:
        if shutil.which("lxc-start") is None:
            return "not installed"
        _version.append((await run(["lxc-start", "--version"])).strip())
    return _version[0]


async def put(parts: Parts, config: dict[str, Any] | None, *, merge: bool) -> None:
    """Replace or merge the server's settings."""
    record = settings(parts)
    wanted: Config = strings(config)
    if merge:
        wanted = record.config | wanted
    wanted = {key: value for key, value in wanted.items() if value != ""}
    check_all("server", wanted, keys.KEYS, free=("user.",))
    async with parts.locks.hold("server"):
        await parts.state.put(replace(settings(parts), config=wanted))
    parts.events.lifecycle("config-updated", "/1.0")
