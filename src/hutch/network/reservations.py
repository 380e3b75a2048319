"""What a bridge's DHCP and DNS know of the instances on it: one file a nic, in a folder that dnsmasq reads.

A file holds the reservation as JSON in a comment, for hutch, and a dhcp-host line, for dnsmasq.
"""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from hutch.errors import Conflict
from hutch.network.base import Reservation


def file_name(project: str, instance: str, device: str) -> str:
    # The instance first, for its name begins with a letter: dnsmasq reads no file whose name begins with a dot.
    return ",".join(quote(part, safe="") for part in (instance, project, device))


def dns_name(project: str, instance: str) -> str:
    """What an instance is called in DNS, below the network's domain for the default project."""
    return instance if project == "default" else f"{instance}.{project}"


def line(wanted: Reservation, *, named: bool) -> str:
    """The dhcp-host line; empty when there is nothing to tell dnsmasq."""
    words = [wanted.hwaddr.lower()]
    words += [wanted.ipv4] if wanted.ipv4 else []
    words += [f"[{wanted.ipv6}]"] if wanted.ipv6 else []
    words += [dns_name(wanted.project, wanted.instance)] if named else []
    return ",".join(words) if len(words) > 1 else ""


def load(folder: Path) -> dict[str, Reservation]:
    """Every reservation by the name of its file. A file that a power cut left empty, or that bears another's name, goes:
    the nic makes its reservation again when its guest starts."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            entry = _read(path)
            if entry is not None and path.name == file_name(entry.project, entry.instance, entry.device):
                found[path.name] = entry
            else:
                path.unlink()
    return found


def _read(path: Path) -> Reservation | None:
    first = path.read_text().partition("\n")[0]
    try:
        return Reservation(**json.loads(first.removeprefix("# ")))
    except (ValueError, TypeError):
        return None


def save(folder: Path, wanted: Reservation, *, named: bool) -> bool:
    """Write a reservation down; false when it is there already. Conflict when another nic has its address."""
    name = file_name(wanted.project, wanted.instance, wanted.device)
    for other, entry in load(folder).items():
        if other != name:
            _check_apart(wanted, entry)
    text = f"# {json.dumps(asdict(wanted))}\n{line(wanted, named=named)}\n"
    path = folder / name
    if path.is_file() and path.read_text() == text:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    # dnsmasq reads every file of the folder except hidden ones: the half-written one is hidden from it.
    draft = folder.parent / f".{name}"
    draft.write_text(text)
    draft.replace(path)
    return True


def _check_apart(wanted: Reservation, entry: Reservation) -> None:
    for what in ("hwaddr", "ipv4", "ipv6"):
        value = getattr(wanted, what)
        if value and value.lower() == getattr(entry, what).lower():
            raise Conflict(
                f"{value} of device {wanted.device!r} of instance {wanted.instance!r} is already used by "
                f"device {entry.device!r} of instance {entry.instance!r} in project {entry.project!r}"
            )


def remove(folder: Path, project: str, instance: str, device: str) -> Reservation | None:
    """Forget a reservation and return what it said; None when there was none."""
    name = file_name(project, instance, device)
    found = load(folder).get(name)
    (folder / name).unlink(missing_ok=True)
    return found
