"""The columns of `hutch list`, as LXD names them, and the cells they make of an instance."""

from collections.abc import Callable
from typing import Any

from hutch import errors
from hutch.client.connection import Document

Cell = Callable[[Document], str]

DEFAULT = "ns46tS"
FAST = "nsacPt"
NEVER = ("0001-01-01", "1970-01-01")


def state(instance: Document) -> Document:
    return instance.get("state") or {}


def addresses(instance: Document, family: str) -> str:
    """The guest's own addresses, one a line, without loopback and link-local ones."""
    found = [
        f"{address['address']} ({name})"
        for name, link in sorted((state(instance).get("network") or {}).items())
        for address in link.get("addresses") or []
        if name != "lo" and address.get("family") == family and address.get("scope") not in ("link", "local")
    ]
    return "\n".join(sorted(found, reverse=True))


def date(text: str | None) -> str:
    """A moment as lists show it, empty when it never was."""
    if not text or text.startswith(NEVER):
        return ""
    return f"{text[:10].replace('-', '/')} {text[11:16]} UTC"


def kind(instance: Document) -> str:
    name = str(instance.get("type") or "container").upper()
    return f"{name} (EPHEMERAL)" if instance.get("ephemeral") else name


def _memory(instance: Document) -> str:
    from hutch.cli.progress import binary_amount

    usage = (state(instance).get("memory") or {}).get("usage") or 0
    return binary_amount(usage) if usage else ""


def _memory_share(instance: Document) -> str:
    memory = state(instance).get("memory") or {}
    if not memory.get("usage") or not memory.get("total"):
        return ""
    return f"{100 * memory['usage'] / memory['total']:.1f}%"


def _disk(instance: Document) -> str:
    from hutch.cli.progress import binary_amount

    usage = ((state(instance).get("disk") or {}).get("root") or {}).get("usage") or 0
    return binary_amount(usage) if usage > 0 else ""


def _cpu(instance: Document) -> str:
    usage = (state(instance).get("cpu") or {}).get("usage") or 0
    return f"{usage / 1e9:.0f}s" if usage else ""


def _processes(instance: Document) -> str:
    return str(state(instance).get("processes") or "") if _is_up(instance) else ""


def _pid(instance: Document) -> str:
    return str(state(instance).get("pid") or "") if _is_up(instance) else ""


def _is_up(instance: Document) -> bool:
    return str(instance.get("status")) in ("Running", "Frozen", "Ready")


def _config(instance: Document, key: str) -> str:
    return str((instance.get("expanded_config") or {}).get(key) or (instance.get("config") or {}).get(key) or "")


def _pool(instance: Document) -> str:
    devices = (instance.get("expanded_devices") or {}).values()
    return next((str(d.get("pool")) for d in devices if d.get("type") == "disk" and d.get("path") == "/"), "")


SHORT: dict[str, tuple[str, Cell]] = {
    "4": ("IPV4", lambda i: addresses(i, "inet") if _is_up(i) else ""),
    "6": ("IPV6", lambda i: addresses(i, "inet6") if _is_up(i) else ""),
    "a": ("ARCHITECTURE", lambda i: str(i.get("architecture") or "")),
    "b": ("STORAGE POOL", _pool),
    "c": ("CREATED AT", lambda i: date(i.get("created_at"))),
    "d": ("DESCRIPTION", lambda i: str(i.get("description") or "")),
    "D": ("DISK USAGE", _disk),
    "e": ("PROJECT", lambda i: str(i.get("project") or "default")),
    "f": ("BASE IMAGE", lambda i: _config(i, "volatile.base_image")[:12]),
    "F": ("BASE IMAGE", lambda i: _config(i, "volatile.base_image")),
    "l": ("LAST USED AT", lambda i: date(i.get("last_used_at"))),
    "L": ("LOCATION", lambda i: str(i.get("location") or "")),
    "m": ("MEMORY USAGE", _memory),
    "M": ("MEMORY USAGE%", _memory_share),
    "n": ("NAME", lambda i: str(i.get("name"))),
    "N": ("PROCESSES", _processes),
    "p": ("PID", _pid),
    "P": ("PROFILES", lambda i: "\n".join(i.get("profiles") or [])),
    "s": ("STATE", lambda i: str(i.get("status") or "").upper()),
    "S": ("SNAPSHOTS", lambda i: str(len(i.get("snapshots") or []))),
    "t": ("TYPE", kind),
    "u": ("CPU USAGE", _cpu),
}

STATEFUL = frozenset("46DmMNpuS")
"""Columns that need the instances' state, which costs the daemon a look at every guest."""


def parsed(text: str) -> tuple[list[tuple[str, Cell]], bool]:
    """The columns that `-c` names, and whether any of them needs the state."""
    found: list[tuple[str, Cell]] = []
    needs_state = False
    for word in text.split(","):
        if not word:
            raise errors.Invalid(f"an empty column in {text!r}")
        if "." in word or ":" in word:
            found.append(_custom(word))
            continue
        for letter in word:
            if letter not in SHORT:
                raise errors.Invalid(f"unknown column {letter!r} in {text!r}; known are {''.join(sorted(SHORT))}")
            found.append(SHORT[letter])
            needs_state = needs_state or letter in STATEFUL
    return found, needs_state


def _custom(word: str) -> tuple[str, Cell]:
    """`[config:|devices:]KEY[:NAME][:MAXWIDTH]`."""
    source, rest = "config", word
    if word.startswith(("config:", "devices:")):
        source, _, rest = word.partition(":")
    key, *more = rest.split(":")
    name = more[0] if more and more[0] else key
    width = _width(more[1], name) if len(more) > 1 else -1
    if source == "devices" and "." not in key:
        raise errors.Invalid(f"the column {word!r} must name a device and a key: devices:NAME.KEY")

    def cell(instance: Document) -> str:
        text = _device(instance, key) if source == "devices" else _config(instance, key)
        return text if width < 0 else text[:width]

    return name.upper(), cell


def _device(instance: Document, key: str) -> str:
    device, _, name = key.partition(".")
    devices: dict[str, Any] = instance.get("expanded_devices") or {}
    return str((devices.get(device) or {}).get(name) or "")


def _width(text: str, name: str) -> int:
    try:
        return len(name) if int(text) == 0 else int(text)
    except ValueError:
        raise errors.Invalid(f"the width {text!r} of the column {name!r} is not a number") from None
