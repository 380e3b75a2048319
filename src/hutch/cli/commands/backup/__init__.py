"""Keep backups in a restic repository: incremental, deduplicated, encrypted."""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hutch import errors
from hutch.cli import restic, table, volumes
from hutch.cli.command import Options, arg, command
from hutch.cli.progress import Line, counter
from hutch.cli.session import Session
from hutch.client.connection import blocks, decoded, url

KEEP = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


@command(*restic.arguments(), example="hutch backup init -r /srv/backups --password-file /root/backup.key")
def init(session: Session, options: Options) -> None:
    """Make a repository, and a file with a password when there is none."""
    repository = restic.Repository(options)
    if repository.password_file and not Path(repository.password_file).exists():
        Path(repository.password_file).touch(mode=0o600)
        Path(repository.password_file).write_text(secrets.token_urlsafe(32) + "\n")
        session.say(f"A password was written to {repository.password_file}: nothing can be restored without it")
    repository.run("init", "--quiet")
    session.say("Repository made")


@command(
    arg("names", nargs="*", metavar="INSTANCE", help="instances, or volumes as POOL/VOLUME", complete="instance"),
    arg("--all", action="store_true", help="every instance of the project"),
    arg("--instance-only", action="store_true", help="without snapshots"),
    *restic.arguments(),
    example="""
    hutch backup create c1 default/data -r /srv/backups --password-file /root/backup.key
    systemd-run --on-calendar=daily hutch backup create --all -r /srv/backups --password-file /root/backup.key
    """,
)
def create(session: Session, options: Options) -> None:
    """Back up instances and volumes; only what is new since the last time is written."""
    names = list(options.names)
    if options.all:
        names += [each["name"] for each in session.client.get("/1.0/instances", recursion=1) or []]
    if not names:
        raise errors.Invalid("name what is to be backed up, or give --all")
    repository = restic.Repository(options)
    wanted = {"instance_only": options.instance_only, "compression_algorithm": "none"}
    headers = {"Accept": "application/octet-stream", "Content-Type": "application/json"}
    for name in dict.fromkeys(names):
        kind, path = _place(name)
        response = session.client.stream("POST", f"{path}/backups", json.dumps(wanted).encode(), headers=headers)
        if response.headers.get_content_type() != "application/octet-stream":
            decoded(response)
            raise errors.Unsupported("this server does not send backups while it makes them")
        with Line(session.shows_progress) as line:
            advance = counter(line, f"Backing up {name}", None)

            repository.store(_counted(blocks(response), advance), kind, name, session.project)
        session.say(f"{name} backed up")


def _counted(chunks: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        advance(len(chunk))


def _place(name: str) -> tuple[str, str]:
    if "/" not in name:
        return "instance", url("instances", name)
    return "volume", volumes.path(*volumes.in_pool(name))


@command(table.format_argument(), *restic.arguments(), example="hutch backup list -r /srv/backups")
def list_(session: Session, options: Options) -> None:
    """List the backups that a repository has."""
    found = restic.Repository(options).all()
    rows = [[each.id, each.kind, each.name, each.project, each.time[:19].replace("T", " ")] for each in found]
    documents = [vars(each) for each in found]
    table.show(options.format, ["ID", "TYPE", "NAME", "PROJECT", "TIME"], rows, documents)


@command(
    arg("backup", metavar="ID|NAME", help="an id of the list, or a name for its latest backup"),
    arg("name", nargs="?", default="", metavar="NEW", help="the name it gets; its own unless given"),
    arg("-s", "--storage", default="", metavar="POOL", help="the pool it gets on", complete="pool"),
    *restic.arguments(),
    example="hutch backup restore c1 c1-as-of-yesterday -r /srv/backups",
)
def restore(session: Session, options: Options) -> None:
    """Make an instance or a volume again as it was."""
    repository = restic.Repository(options)
    kept = repository.latest(options.backup)
    headers = {"Content-Type": "application/octet-stream"}
    path = "/1.0/instances"
    named = {"name": options.name, "pool": options.storage}
    if kept.kind == "volume":
        pool, name = volumes.in_pool(kept.name)
        path = f"{url('storage-pools', options.storage or pool)}/volumes/custom"
        named = {"name": options.name or name}
    headers |= {f"X-LXD-{key}": value for key, value in named.items() if value}
    reply = decoded(session.client.stream("POST", path, repository.fetch(kept), headers=headers))
    session.finish(reply, f"Restoring {kept.name}")
    session.say(f"{options.name or kept.name} restored as of {kept.time[:19].replace('T', ' ')}")


@command(
    arg("--read-data", action="store_true", help="read all of it, not only its structure"),
    *restic.arguments(),
    example="hutch backup check --read-data -r /srv/backups",
)
def check(session: Session, options: Options) -> None:
    """Verify that what a repository has is whole."""
    restic.Repository(options).run("check", *(["--read-data"] if options.read_data else []))
    session.say("The repository is whole")


@command(
    *(
        arg(
            f"--keep-{name}",
            metavar="N",
            type=int,
            default=0,
            help=f"keep N {'of the newest' if name == 'last' else name}",
        )
        for name in KEEP
    ),
    *restic.arguments(),
    example="hutch backup forget --keep-daily 7 --keep-weekly 4 -r /srv/backups",
)
def forget(session: Session, options: Options) -> None:
    """Remove old backups of each instance and volume, and the space that they alone took."""
    kept = {name: getattr(options, f"keep_{name}") for name in KEEP}
    words = [f"--keep-{name}={number}" for name, number in kept.items() if number]
    if not words:
        raise errors.Invalid("say what is to be kept: --keep-last, --keep-daily and so on; else nothing is removed")
    restic.Repository(options).run("forget", "--quiet", "--prune", "--host=hutch", "--group-by=tags", *words)
    session.say("Old backups removed")
