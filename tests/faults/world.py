"""A host's whole state as text, without what is chosen by chance: what was before and what is there after can be compared."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.hosts import Host
from tests.hosts.groups import groups_named

_CHANCE = re.compile(r"[0-9a-f]{12,64}|[0-9a-f]{8}(?=/|$)")
# What is written all the time, or only says what was.
_PASSING = re.compile(
    r"/(database/.*|hutchd\.lock|unix\.socket|networks/[^/]+/dnsmasq\.(log|pid|leases)|lxcfs.*"
    # Copies of the records for recovery, written behind.
    r"|networks/[^/]+\.yaml|storage-pools/[^/]+\.yaml|.*/backup\.yaml(\.new)?"
    # Merged when it suits; tests/contract looks after them.
    r"|storage-pools/[^/]+/layers/.*"
    r"|instances/.*/(lxc\.log.*|console\.log.*|config|seccomp|logs/.*|metadata\.yaml)|.*/tree/.+|.*/work/.+|.*/rootfs/.+)"
)
_OWN = ("volatile.",)


def world(host: Host) -> list[str]:
    """One line for each thing: records, files, mounts, links, loop devices, control groups, firewall rules."""
    lines = [
        *_records(host),
        *_files(host),
        *_mounts(host),
        *_links(host),
        *_groups(host),
        *_loops(host),
        *_rules(host),
    ]
    counted = Counter(lines)
    return sorted(f"{line} x{count}" for line, count in counted.items())


def _plain(text: str) -> str:
    return _CHANCE.sub("#", text)


def _records(host: Host) -> Iterator[str]:
    for each in host.get("/1.0/instances?recursion=2&all-projects=true"):
        snapshots = [one["name"] for one in each["snapshots"] or []]
        yield f"instance {each['name']} {each['status']} {each['profiles']} {snapshots} {_own(each)}"
    for kind in ("images", "images/aliases", "profiles", "networks", "storage-pools", "projects"):
        for each in host.get(f"/1.0/{kind}?recursion=1"):
            name = each.get("name", "")
            yield f"{kind} {name} {each.get('status', '')} {each.get('description', '')} {_own(each)}"
    for pool in host.get("/1.0/storage-pools"):
        for each in host.get(f"{pool}/volumes?recursion=1"):
            yield f"volume {each['type']} {each['name']} {each['config']}"


def _own(document: dict[str, Any]) -> str:
    """What was set, not what was chosen."""
    config = {key: value for key, value in document.get("config", {}).items() if not key.startswith(_OWN)}
    return json.dumps([config, document.get("devices", {})], sort_keys=True)


def _files(host: Host) -> Iterator[str]:
    for path in host.directory.rglob("*"):
        place = f"/{path.relative_to(host.directory)}"
        if not _PASSING.fullmatch(place):
            yield f"file {_plain(place)}"


def _mounts(host: Host) -> Iterator[str]:
    assert host.daemon is not None
    for line in Path(f"/proc/{host.daemon.pid}/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if point.startswith(f"{host.directory}/"):
            yield f"mount {_plain(point.removeprefix(str(host.directory)))}"


def _links(host: Host) -> Iterator[str]:
    for entry in json.loads(host.run("ip", "-j", "-d", "link", "show").stdout):
        kind = entry.get("linkinfo", {}).get("info_kind", "")
        yield f"link {kind if kind == 'veth' else entry['ifname']}"


def _groups(host: Host) -> Iterator[str]:
    for top in groups_named(host.cgroup):
        for path in [top, *(each for each in top.rglob("*") if each.is_dir())]:
            place = path.relative_to(top.parent).parts
            if len(place) < 4 and "pivot" not in place and (len(place) < 3 or place[1] == "monitor"):
                yield f"group {'/'.join(place[1:])}"


def _loops(host: Host) -> Iterator[str]:
    for line in host.run("losetup", "--noheadings", "--output", "BACK-FILE").stdout.splitlines():
        if line.strip().startswith(f"{host.directory}/"):
            yield f"loop {line.strip().removeprefix(str(host.directory))}"


def _rules(host: Host) -> Iterator[str]:
    for line in host.run("nft", "list", "ruleset").stdout.splitlines():
        yield f"rule {re.sub(r'veth[0-9a-f]+', 'veth', re.sub(r'counter packets [0-9]+ bytes [0-9]+', '', line)).strip()}"
