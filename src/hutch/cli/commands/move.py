"""Move an instance to another pool or project, or give it or a snapshot another name."""

from hutch import errors
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
    example="""
    hutch move c1 web
    hutch move c1 --storage fast
    """,
)
def run(session: Session, options: Options) -> None:
    name, new = options.name, options.new or options.name
    if not (options.storage or options.target_project):
        if name == new:
            raise errors.Invalid("name what it shall be called, or give --storage or --target-project")
        rename(session, name, new)
        return
    wanted = {"name": new, "migration": True, "instance_only": options.instance_only}
    wanted |= {"pool": options.storage} if options.storage else {}
    wanted |= {"project": options.target_project} if options.target_project else {}
    session.finish(session.client.request("POST", url("instances", name), wanted), f"Moving {name}")
