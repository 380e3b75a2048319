"""The server as a whole: GET /1.0 and its settings."""

import asyncio
import os
import platform
import re
import shutil
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

from msgspec.structs import replace

from hutch import __version__, registry
from hutch.access import passwords
from hutch.access.callers import Caller
from hutch.errors import Invalid
from hutch.kernel import interfaces
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


async def document(parts: Parts, caller: Caller, project: str) -> dict[str, Any]:
    """What a trusted caller may know: the settings are for those who may change them."""
    return guest_view() | {
        "auth": "trusted",
        "auth_user_name": caller.requestor.username,
        "auth_user_method": caller.requestor.protocol,
        "config": shown(settings(parts)) if caller.is_admin else {},
        "environment": await environment(parts) | {"project": project},
    }


async def environment(parts: Parts) -> dict[str, Any]:
    in_use = sorted({record.driver for record in parts.state.pools.all()})
    name = os.uname()
    return {
        "addresses": await addresses(parts),
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


def shown(record: ServerRecord) -> Config:
    """The settings as clients see them: of a password only that there is one, as text (the Incus client takes no other)."""
    secret = {key: "true" for key in ("core.trust_password", "loki.auth.password") if key in record.config}
    return record.config | secret


def editable(record: ServerRecord) -> Config:
    """What the ETag stands for."""
    return shown(record)


async def addresses(parts: Parts) -> list[str]:
    """Where HTTPS is served: HOST:PORT, every address of the host for a wildcard."""
    wanted = settings(parts).config.get("core.https_address", "")
    if not wanted:
        return []
    host, port = split_address(wanted)
    if host not in ("", "::", "0.0.0.0"):
        return [join_address(host, port)]
    return [
        join_address(address, port)
        for each in await interfaces.of(os.getpid())
        for family, address, _, scope in each.addresses
        if scope == "global" and (family == "inet" or host != "0.0.0.0")
    ]


def split_address(text: str, usual: int = 8443) -> tuple[str, int]:
    """`[::]:8443`, `10.0.0.1`, `:9000` as host and port; `usual` is the port when none is given."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d+))?", text)
    if match is None:
        if re.fullmatch(r"[0-9a-fA-F:.]+", text):
            return text, usual
        raise Invalid(f"invalid address {text!r}: HOST, HOST:PORT or [IPV6]:PORT is expected")
    port = int(match[2] or usual)
    if not 0 < port < 65536:
        raise Invalid(f"invalid port {port} in the address {text!r}")
    return match[1].strip("[]"), port


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


HTTPS = ("core.https_address", "core.metrics_address")
LISTENERS = (*HTTPS, "core.dns_address")


async def put(parts: Parts, config: dict[str, Any] | None, *, merge: bool) -> None:
    """Replace or merge the server's settings; the listener moves before they are stored."""
    async with parts.locks.hold("server"):
        record = settings(parts)
        wanted = _wanted(record, strings(config), merge=merge)
        check_all("server", wanted, keys.KEYS, free=("user.",))
        wanted = await asyncio.to_thread(_hide, record, wanted)
        async with AsyncExitStack() as undo:
            for key in LISTENERS:
                old, new = (each.get(key, "") for each in (record.config, wanted))
                if new != old:
                    await parts.listen(key, new)
                    undo.push_async_callback(parts.listen, key, old)
            await parts.state.put(replace(record, config=wanted))
            undo.pop_all()
    parts.events.lifecycle("config-updated", "/1.0", "")


def _wanted(record: ServerRecord, given: Config, *, merge: bool) -> Config:
    """A client that writes back what it read does not change the password."""
    for secret in ("core.trust_password", "loki.auth.password"):
        if given.get(secret) == "true":
            given.pop(secret)
            if secret in record.config:
                given[secret] = record.config[secret]
    whole = record.config | given if merge else given
    return {key: value for key, value in whole.items() if value != ""}


def _hide(record: ServerRecord, wanted: Config) -> Config:
    password = wanted.get("core.trust_password", "")
    if not password or password == record.config.get("core.trust_password"):
        return wanted
    return wanted | {"core.trust_password": passwords.hashed(password)}
