"""The names that a shell offers at Tab: `hutch __complete KIND`. Whatever goes wrong, it offers nothing."""

from collections.abc import Callable

from hutch import errors
from hutch.client.connection import Client

Names = Callable[[Client], list[str]]


def _listed(path: str) -> Names:
    from urllib.parse import unquote

    def names(client: Client) -> list[str]:
        return [unquote(url.partition("?")[0].rpartition("/")[2]) for url in client.get(path) or []]

    return names


def _images(client: Client) -> list[str]:
    from urllib.parse import unquote

    aliases = client.get("/1.0/images/aliases") or []
    return [unquote(url.partition("?")[0].removeprefix("/1.0/images/aliases/")) for url in aliases]


def _operations(client: Client) -> list[str]:
    return [url.rpartition("/")[2] for urls in (client.get("/1.0/operations") or {}).values() for url in urls]


def _keys(entity: str) -> Names:
    """The config keys of one of the kinds that /1.0/metadata/configuration tells of; `device-`: of all that begin so."""

    def names(client: Client) -> list[str]:
        configs = client.get("/1.0/metadata/configuration")["configs"]
        groups = [
            group
            for name, groups in configs.items()
            if name == entity or (entity.endswith("-") and name.startswith(entity))
            for kind, group in groups.items()
            if kind != "volume-conf"
        ]
        return sorted({key for group in groups for row in group["keys"] for key in row if not key.endswith("*")})

    return names


KINDS: dict[str, Names] = {
    "instance": _listed("/1.0/instances"),
    "image": _images,
    "profile": _listed("/1.0/profiles"),
    "project": _listed("/1.0/projects"),
    "certificate": _listed("/1.0/certificates"),
    "network": _listed("/1.0/networks"),
    "pool": _listed("/1.0/storage-pools"),
    "operation": _operations,
    "warning": _listed("/1.0/warnings"),
    "key": _keys("instance"),
    "device-key": _keys("device-"),
    "network-key": _keys("network-"),
    "pool-key": _keys("storage-"),
    "project-key": _keys("project"),
    "instance-or-key": lambda client: [*_listed("/1.0/instances")(client), *_keys("server")(client)],
    "recipe": lambda _: ["debian/12", "debian/13", "busybox", "debian/12/cloud", "debian/13/cloud"],
}


def offer(client: Client, kind: str) -> None:
    try:
        print("\n".join(sorted(KINDS[kind](client) if kind in KINDS else [])))
    except errors.HutchError:
        return
