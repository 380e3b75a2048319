"""Show the version of the client and of the daemon."""

from hutch import __version__, errors
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(arg("--client", action="store_true", help="only the client's"), example="hutch version")
def run(session: Session, options: Options) -> None:
    if options.client:
        print(__version__)
        return
    print(f"Client version: {__version__}")
    try:
        environment = session.client.get("/1.0").get("environment") or {}
        print(f"Server version: {environment.get('server_version', 'unknown')}")
    except (errors.Unavailable, errors.Forbidden) as error:
        print(f"Server version: unreachable ({error})")
