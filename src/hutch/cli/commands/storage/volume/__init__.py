"""Manage the volumes of storage pools."""

from hutch.cli import members, settings, table, volumes
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.cli.volumes import POOL, VOLUME
from hutch.client.connection import Document, url

INSTANCE = arg("instance", metavar="INSTANCE", help="the instance", complete="instance")
PROFILE = arg("profile", metavar="PROFILE", help="the profile", complete="profile")
DEVICE = arg("device", nargs="?", default="", metavar="DEVICE", help="the device's name")
KEY = arg("key", metavar="KEY", help="the key")


@command(
    POOL,
    table.format_argument(),
    arg("--all-projects", action="store_true", help="of every project"),
    example="hutch storage volume list default",
)
def list_(session: Session, options: Options) -> None:
    """List the volumes of a pool."""
    query: dict[str, str | int] = {"recursion": 1} | ({"all-projects": "true"} if options.all_projects else {})
    found = session.client.get(f"{url('storage-pools', options.pool)}/volumes", **query) or []
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


@command(
    POOL,
    arg("volume", metavar="VOLUME", help="its name"),
    arg("values", nargs="*", metavar="KEY=VALUE", help="its configuration"),
    arg("--type", default="filesystem", metavar="TYPE", help="filesystem (the default) or block"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    example="""
    hutch storage volume create default data
    hutch storage volume create default data size=10GiB snapshots.schedule=@daily snapshots.expiry=7d
    """,
)
def create(session: Session, options: Options) -> None:
    """Make a volume."""
    given = redirected_yaml()
    wanted = {
        "name": options.volume,
        "type": "custom",
        "content_type": options.type,
        "description": options.description or given.get("description") or "",
        "config": (given.get("config") or {}) | pairs(options.values),
    }
    session.finish(session.client.request("POST", f"{url('storage-pools', options.pool)}/volumes/custom", wanted))
    session.say(f"Storage volume {options.volume} created")


@command(POOL, VOLUME, example="hutch storage volume show default container/c1")
def show(session: Session, options: Options) -> None:
    """Show a volume, or a snapshot as VOLUME/SNAPSHOT."""
    settings.show(session.client.get(_path(options)))


@command(POOL, VOLUME, example="hutch storage volume info default container/c1")
def info(session: Session, options: Options) -> None:
    """Show how much room a volume takes, and its snapshots."""
    from hutch.cli.progress import binary_amount

    found = session.client.get(_path(options))
    usage = (session.client.get(f"{_path(options)}/state") or {}).get("usage") or {}
    print(f"Name: {found['name']}\nType: {found['type']}\nContent type: {found.get('content_type', '')}")
    print(f"Usage: {binary_amount(usage.get('used') or 0)}")
    if usage.get("total"):
        print(f"Total: {binary_amount(usage['total'])}")
    if found["type"] == "custom":
        for kept in session.client.get(f"{_path(options)}/snapshots", recursion=1) or []:
            print(f"Snapshot: {kept['name'].rpartition('/')[2]} ({kept['created_at'][:19]})")


@command(POOL, VOLUME, KEY, example="hutch storage volume get default data size")
def get(session: Session, options: Options) -> None:
    """Show one value of a volume's configuration."""
    settings.get_key(session, _path(options), options.key)


@command(
    POOL,
    VOLUME,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set"),
    example="hutch storage volume set default data size=20GiB",
)
def set_(session: Session, options: Options) -> None:
    """Set values in a volume's configuration."""
    settings.set_keys(session, _path(options), members.VOLUME, options.values)


@command(POOL, VOLUME, KEY, example="hutch storage volume unset default data size")
def unset(session: Session, options: Options) -> None:
    """Remove a value from a volume's configuration."""
    settings.unset_key(session, _path(options), members.VOLUME, options.key, f"the volume {options.volume}")


@command(POOL, VOLUME, example="hutch storage volume edit default data")
def edit(session: Session, options: Options) -> None:
    """Edit a volume, or a snapshot as VOLUME/SNAPSHOT, as YAML."""
    from hutch.cli.editor import edit_document

    path = _path(options)
    wanted = ("description", "expires_at") if "/snapshots/" in path else members.VOLUME
    edit_document(session, path, wanted, note=f"The storage volume {options.volume}.")


@command(
    POOL,
    arg("volumes", nargs="+", metavar="VOLUME[/SNAPSHOT]", help="the volumes"),
    example="hutch storage volume delete default data",
)
def delete(session: Session, options: Options) -> None:
    """Delete volumes that nothing uses, or snapshots."""
    for name in options.volumes:
        session.finish(session.client.request("DELETE", volumes.path(options.pool, name)), f"Deleting {name}")
        session.say(f"Storage volume {name} deleted")


@command(
    POOL, VOLUME, arg("name", metavar="NAME", help="the new name"), example="hutch storage volume rename default a b"
)
def rename(session: Session, options: Options) -> None:
    """Rename a volume, or a snapshot as VOLUME/SNAPSHOT; the disks of instances follow."""
    wanted = {"name": options.name.rpartition("/")[2]}
    session.finish(session.client.request("POST", _path(options), wanted), f"Renaming {options.volume}")


@command(
    arg("source", metavar="POOL/VOLUME[/SNAPSHOT]", help="what is copied"),
    arg("target", metavar="POOL/VOLUME", help="the new volume"),
    arg("--volume-only", action="store_true", help="without its snapshots"),
    arg("--refresh", action="store_true", help="bring a copy that exists up to date"),
    example="hutch storage volume copy default/data fast/data",
)
def copy(session: Session, options: Options) -> None:
    """Copy a volume, on its pool or to another."""
    origin, name = volumes.in_pool(options.source)
    pool, new = volumes.in_pool(options.target)
    source = {"type": "copy", "name": name, "pool": origin, "volume_only": options.volume_only}
    source |= {"refresh": options.refresh}
    path = f"{url('storage-pools', pool)}/volumes/custom"
    reply = session.client.request("POST", path, {"name": new, "type": "custom", "source": source})
    session.finish(reply, f"Copying {options.source}")


@command(
    arg("source", metavar="POOL/VOLUME", help="what is moved"),
    arg("target", metavar="POOL/VOLUME", help="where to, and how it is called then"),
    arg("--target-project", default="", metavar="PROJECT", help="the project that it belongs to then"),
    example="hutch storage volume move default/data fast/data",
)
def move(session: Session, options: Options) -> None:
    """Move a volume to another pool or project; the disks of instances follow."""
    origin, name = volumes.in_pool(options.source)
    pool, new = volumes.in_pool(options.target)
    wanted = {"name": new, "pool": pool, "project": options.target_project}
    session.finish(session.client.request("POST", volumes.path(origin, name), wanted), f"Moving {options.source}")


@command(
    POOL,
    VOLUME,
    arg("name", nargs="?", default="", metavar="SNAPSHOT", help="its name; without one it follows snapshots.pattern"),
    arg("--no-expiry", action="store_true", help="keep it whatever snapshots.expiry says"),
    example="hutch storage volume snapshot default data before-upgrade",
)
def snapshot(session: Session, options: Options) -> None:
    """Take a snapshot of a volume."""
    wanted = {"name": options.name} | ({"expires_at": "0001-01-01T00:00:00Z"} if options.no_expiry else {})
    reply = session.client.request("POST", f"{_path(options)}/snapshots", wanted)
    session.finish(reply, f"Taking a snapshot of {options.volume}")


@command(
    POOL,
    VOLUME,
    arg("snapshot", metavar="SNAPSHOT", help="the snapshot"),
    example="hutch storage volume restore default data before-upgrade",
)
def restore(session: Session, options: Options) -> None:
    """Make a volume that no running instance has hold what its snapshot holds."""
    session.finish(session.client.request("PUT", _path(options), {"restore": options.snapshot}))


@command(POOL, VOLUME, INSTANCE, *volumes.place_arguments(), example="hutch storage volume attach default data c1 /srv")
def attach(session: Session, options: Options) -> None:
    """Give a volume to an instance."""
    volumes.attach(members.instance(session, options.instance), options)


@command(
    POOL,
    VOLUME,
    PROFILE,
    *volumes.place_arguments(),
    example="hutch storage volume attach-profile default data web /srv",
)
def attach_profile(session: Session, options: Options) -> None:
    """Give a volume to the instances of a profile."""
    volumes.attach(members.profile(session, options.profile), options)


@command(POOL, VOLUME, INSTANCE, DEVICE, example="hutch storage volume detach default data c1")
def detach(session: Session, options: Options) -> None:
    """Take a volume from an instance."""
    volumes.detach(members.instance(session, options.instance), options)


@command(POOL, VOLUME, PROFILE, DEVICE, example="hutch storage volume detach-profile default data web")
def detach_profile(session: Session, options: Options) -> None:
    """Take a volume from the instances of a profile."""
    volumes.detach(members.profile(session, options.profile), options)


def _path(options: Options) -> str:
    return volumes.path(options.pool, options.volume)
