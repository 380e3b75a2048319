"""Look at the volumes of a storage pool."""

from hutch.cli import settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import Document, url

POOL = arg("pool", metavar="POOL", help="the pool", complete="pool")
VOLUME = arg("volume", metavar="[TYPE/]VOLUME", help="the volume; the type is custom unless given")
CUSTOM = "custom"


@command(POOL, table.format_argument(), example="hutch storage volume list default")
def list_(session: Session, options: Options) -> None:
    """List the volumes of a pool."""
    found = session.client.get(f"{url('storage-pools', options.pool)}/volumes", recursion=1) or []
    found.sort(key=lambda volume: (str(volume["type"]), str(volume["name"])))
    heads = ["TYPE", "NAME", "DESCRIPTION", "CONTENT-TYPE", "USED BY"]
    table.show(options.format, heads, [_row(volume) for volume in found], found)


def _row(volume: Document) -> list[str]:
    kind = str(volume["type"])
    return [
        f"{kind} (snapshot)" if "/" in volume["name"] and kind != "image" else kind,
        volume["name"],
        volume.get("description") or "",
        volume.get("content_type") or "",
        str(len(volume.get("used_by") or [])),
    ]


@command(POOL, VOLUME, example="hutch storage volume show default container/c1")
def show(session: Session, options: Options) -> None:
    """Show a volume."""
    settings.show(session.client.get(_path(options)))


@command(POOL, VOLUME, example="hutch storage volume info default container/c1")
def info(session: Session, options: Options) -> None:
    """Show how much room a volume takes."""
    from hutch.cli.progress import binary_amount

    found = session.client.get(_path(options))
    usage = (session.client.get(f"{_path(options)}/state") or {}).get("usage") or {}
    print(f"Name: {found['name']}\nType: {found['type']}\nContent type: {found.get('content_type', '')}")
    print(f"Usage: {binary_amount(usage.get('used') or 0)}")
    if usage.get("total"):
        print(f"Total: {binary_amount(usage['total'])}")


def _path(options: Options) -> str:
    kind, slash, name = options.volume.partition("/")
    if not slash or kind not in (CUSTOM, "container", "virtual-machine", "image"):
        kind, name = CUSTOM, options.volume
    return url("storage-pools", options.pool, "volumes", kind, name)
