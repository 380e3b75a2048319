"""Every config key there is, from the tables that check them: for /1.0/metadata/configuration and docs/configuration.md.

A new driver or device appears here by itself: its table is its `keys`. `python -m hutch.service.catalogue` prints the
reference.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hutch import registry
from hutch.device import drivers as devices
from hutch.network import drivers as networks
from hutch.schema.keys import instance, pool, project, server
from hutch.schema.keys.base import USER, Key
from hutch.schema.keys.forward import FORWARD
from hutch.storage import drivers as pools

_INSTANCE = {"limits": "resource-limits"}
_WORDS = ("boot", "cloud-init", "limits", "migration", "raw", "security", "snapshots", "volatile")


@dataclass(frozen=True)
class Table:
    """The keys of an entity (LXD's word: instance, device-disk, storage-btrfs) that belong together as `group`."""

    entity: str
    group: str
    title: str
    keys: Mapping[str, Key]


def tables() -> Iterator[Table]:
    """All of them, in the order in which they are read."""
    for group, keys in _by_first_word(instance.KEYS | instance.PATTERNS, _WORDS).items():
        yield Table("instance", _INSTANCE.get(group, group), f"Instances and profiles: {group}", keys)
    for name in registry.names(devices):
        title = f"Devices of type {name.replace('nic-', 'nic, nictype ', 1)}"
        yield Table(f"device-{name}", "device-conf", title, registry.load(devices, name).keys)
    for name in registry.names(networks):
        yield Table(
            f"network-{name}", "network-conf", f"Networks of type {name}", registry.load(networks, name).keys | USER
        )
    yield Table("network-forward", "forward-conf", "Forwards of networks", FORWARD | USER)
    for name in registry.names(pools):
        yield Table(f"storage-{name}", "pool-conf", f"Storage pools with driver {name}", pool.pool(name) | USER)
        yield Table(f"storage-{name}", "volume-conf", f"Storage volumes with driver {name}", pool.VOLUME | USER)
    for group, keys in _by_first_word(project.KEYS | USER, ("features", "limits", "restricted")).items():
        yield Table("project", "specific" if group == "miscellaneous" else group, f"Projects: {group}", keys)
    for group, keys in _by_first_word(server.KEYS | USER, ("core", "images")).items():
        yield Table("server", group, f"The server: {group}", keys)


def _by_first_word(keys: Mapping[str, Key], words: tuple[str, ...]) -> dict[str, dict[str, Key]]:
    """Groups of keys; those that begin with none of `words` are miscellaneous."""
    found: dict[str, dict[str, Key]] = defaultdict(dict)
    for name, key in sorted(keys.items()):
        word = name.partition(".")[0]
        found[word if word in words else "miscellaneous"][name] = key
    return dict(sorted(found.items()))


def document() -> dict[str, Any]:
    """In the layout of LXD's, which its web interface builds its forms from."""
    configs: dict[str, Any] = {}
    for table in tables():
        rows = [{name: _row(key)} for name, key in table.keys.items()]
        configs.setdefault(table.entity, {})[table.group] = {"keys": rows}
    return {"configs": configs}


def _row(key: Key) -> dict[str, str]:
    return {
        "type": key.kind,
        "defaultdesc": f"`{key.default}`" if key.default else "",
        "scope": key.scope,
        "liveupdate": "yes" if key.live else "no",
        "required": "yes" if key.required else "no",
        "condition": key.condition,
        "shortdesc": key.help,
        "longdesc": "",
    }


_HEAD = """\
# Configuration

Every key that hutch knows, made from the tables that check them by `python -m hutch.service.catalogue`; do not edit.

Values are text. A boolean is `true`, `1`, `yes`, `on` or `false`, `0`, `no`, `off`; a size is a number with B, kB to
EB (powers of 1000) or KiB to EiB (powers of 1024). An empty value unsets the key. A key that is not listed is
refused, and the nearest that is named. *Live* says whether a change reaches a running guest at once; the others
take effect at its next start. `GET /1.0/metadata/configuration` has the same for programs.
"""


def markdown() -> str:
    return "\n".join([_HEAD, *(line for table in tables() for line in _section(table))])


def _section(table: Table) -> Iterator[str]:
    yield f"## {table.title}\n"
    if not table.keys:
        yield "No keys.\n"
        return
    yield "| key | type | default | live | |"
    yield "| --- | --- | --- | --- | --- |"
    for name, key in table.keys.items():
        notes = [key.help, *(["required"] if key.required else []), *([key.condition] if key.condition else [])]
        help = "; ".join(notes).replace("|", "\\|")
        yield f"| `{name}` | {key.kind} | {key.default} | {'yes' if key.live else 'no'} | {help} |"
    yield ""


if __name__ == "__main__":
    print(markdown(), end="")
