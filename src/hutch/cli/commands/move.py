"""Move an instance to another server, pool or project, or give it or a snapshot another name."""

from hutch import errors
from hutch.cli import between, copying, rehearsal
from hutch.cli.command import Options, arg, command
from hutch.cli.naming import rename
from hutch.cli.session import Session
from hutch.client.connection import url


@command(
    arg("name", metavar="INSTANCE[/SNAPSHOT]", help="what to move", complete="instance"),
    arg("new", nargs="?", metavar="NEW[/SNAPSHOT]", help="its new name"),
    arg("-s", "--storage", metavar="POOL", help="the pool to move it to", complete="pool"),
    arg("--instance-only", action="store_true", help="leave its snapshots behind"),
    arg("--target-project", metavar="PROJECT", help="the project to move it to"),
    *between.arguments(),
    arg(
        "--check",
        action="store_true",
        help="only say whether it can be moved while it runs, and what stands in the way",
    ),
    arg(
        "--trial",
        action="store_true",
        help="with --check: try it, the instance going on; tells how long it stood still",
    ),
    example="""
    hutch move c1 web
    hutch move c1 --storage fast
    hutch move c1 far:
    hutch move c1 far: --check --trial
    """,
    spans=True,
)
def run(session: Session, options: Options) -> int | None:
    name, new = options.name, options.new or options.name
    if options.trial and not options.check:
        raise errors.Invalid("--trial goes with --check")
    if options.check:
        return rehearsal.check(session, name, trial=options.trial)
    if session.target is not None:
        _away(session, session.target, options, name, new)
        return None
    if not (options.storage or options.target_project):
        if name == new:
            raise errors.Invalid("name what it shall be called, or give --storage or --target-project")
        rename(session, name, new)
        return None
    wanted = {"name": new, "migration": True, "instance_only": options.instance_only}
    wanted |= {"pool": options.storage} if options.storage else {}
    wanted |= {"project": options.target_project} if options.target_project else {}
    session.finish(session.client.request("POST", url("instances", name), wanted), f"Moving {name}")
    return None


def _away(session: Session, target: Session, options: Options, name: str, new: str) -> None:
    """To another server: the copy there has what the instance has, and the instance goes once the copy is whole."""
    if "/" in name:
        raise errors.Invalid("a snapshot moves with its instance; `hutch copy` makes an instance of it elsewhere")
    found = session.client.get(url("instances", name))
    running = found["status"] not in ("Stopped", "Error")
    if running and options.stateless:
        raise errors.Conflict(f"{name} is running: stop it before it is moved without its memory, or copy it")
    wanted = copying.request(found, new, found.get("config") or {}, options.storage or "")
    wanted["source"] = {"instance_only": options.instance_only, "container_only": options.instance_only}
    where = (options.target_project or "", options.mode or "")
    done = between.send(session, target, name, wanted, *where, live=running, doing=f"Moving {name}")
    session.finish(session.client.request("DELETE", url("instances", name)), f"Removing {name} here")
    if pause := dict((done.get("metadata") or {}).get("pause") or {}):
        total = pause.pop("total")
        print(f"{name} stood still for {total:.2f} s: " + ", ".join(f"{what} {pause[what]:.2f}" for what in pause))
