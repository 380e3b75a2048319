"""Manage storage pools and volumes."""

from hutch.cli import members, settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.client.connection import url

POOL = arg("pool", metavar="POOL", help="the pool", complete="pool")


@command(table.format_argument(), example="hutch storage list")
def list_(session: Session, options: Options) -> None:
    """List the storage pools."""
    found = sorted(session.client.get("/1.0/storage-pools", recursion=1) or [], key=lambda pool: str(pool["name"]))
    rows = [
        [
            pool["name"],
            pool.get("driver") or "",
            (pool.get("config") or {}).get("source", ""),
            pool.get("description") or "",
            str(len(pool.get("used_by") or [])),
            str(pool.get("status") or "").upper(),
        ]
        for pool in found
    ]
    table.show(options.format, ["NAME", "DRIVER", "SOURCE", "DESCRIPTION", "USED BY", "STATE"], rows, found)


@command(
    arg("pool", metavar="POOL", help="its name"),
    arg("driver", metavar="DRIVER", help="overlay, btrfs or dir"),
    arg("values", nargs="*", metavar="KEY=VALUE", help="its configuration"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    example="""
    hutch storage create fast overlay
    hutch storage create data btrfs size=20GiB
    hutch storage create disk btrfs source=/dev/sdb
    """,
)
def create(session: Session, options: Options) -> None:
    """Make a storage pool."""
    given = redirected_yaml()
    wanted = {
        "name": options.pool,
        "driver": options.driver,
        "description": options.description or given.get("description") or "",
        "config": (given.get("config") or {}) | pairs(options.values),
    }
    session.finish(session.client.request("POST", "/1.0/storage-pools", wanted))
    session.say(f"Storage pool {options.pool} created")


@command(
    POOL,
    arg("--resources", action="store_true", help="how full it is"),
    example="hutch storage show default",
)
def show(session: Session, options: Options) -> None:
    """Show a storage pool."""
    path = url("storage-pools", options.pool)
    settings.show(session.client.get(f"{path}/resources" if options.resources else path))


@command(POOL, example="hutch storage info default")
def info(session: Session, options: Options) -> None:
    """Show how full a storage pool is and what uses it."""
    from hutch.cli.progress import binary_amount

    path = url("storage-pools", options.pool)
    pool = session.client.get(path)
    space = session.client.get(f"{path}/resources").get("space") or {}
    shown = {
        "info": {
            "name": pool["name"],
            "driver": pool.get("driver") or "",
            "description": pool.get("description") or "",
            "space used": binary_amount(space.get("used") or 0),
            "total space": binary_amount(space.get("total") or 0),
        },
        "used by": _users(pool.get("used_by") or []),
    }
    settings.show(shown)


def _users(paths: list[str]) -> dict[str, list[str]]:
    """The things that use a pool, by kind: `/1.0/instances/c1` is the instance c1."""
    from urllib.parse import unquote

    found: dict[str, list[str]] = {}
    for path in paths:
        kind, _, name = path.removeprefix("/1.0/").partition("?")[0].partition("/")
        found.setdefault(kind, []).append(unquote(name))
    return {kind: sorted(names) for kind, names in found.items()}


@command(
    POOL, arg("key", metavar="KEY", help="the key", complete="pool-key"), example="hutch storage get default source"
)
def get(session: Session, options: Options) -> None:
    """Show one value of a pool's configuration."""
    settings.get_key(session, url("storage-pools", options.pool), options.key)


@command(
    POOL,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set", complete="pool-key"),
    example="hutch storage set data size=40GiB",
)
def set_(session: Session, options: Options) -> None:
    """Set values in a pool's configuration."""
    settings.set_keys(session, url("storage-pools", options.pool), members.POOL, options.values)


@command(
    POOL,
    arg("key", metavar="KEY", help="the key", complete="pool-key"),
    example="hutch storage unset default user.note",
)
def unset(session: Session, options: Options) -> None:
    """Remove a value from a pool's configuration."""
    path = url("storage-pools", options.pool)
    settings.unset_key(session, path, members.POOL, options.key, f"the pool {options.pool}")


@command(POOL, example="hutch storage edit default")
def edit(session: Session, options: Options) -> None:
    """Edit a storage pool as YAML."""
    from hutch.cli.editor import edit_document

    edit_document(session, url("storage-pools", options.pool), members.POOL, note=f"The storage pool {options.pool}.")


@command(
    arg("pools", nargs="+", metavar="POOL", help="the pools", complete="pool"),
    example="hutch storage delete fast",
)
def delete(session: Session, options: Options) -> None:
    """Delete storage pools that nothing uses."""
    for name in options.pools:
        session.finish(session.client.request("DELETE", url("storage-pools", name)), f"Deleting {name}")
        session.say(f"Storage pool {name} deleted")
