"""Set the daemon up, wait for it, shut it down."""

import sys
import time

from hutch import errors
from hutch.cli import preseed
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session

INTERVAL = 0.05


@command(
    arg("--auto", action="store_true", help="without questions"),
    arg("--preseed", action="store_true", help="from YAML on the standard input, in LXD's form"),
    arg("--dump", action="store_true", help="print what is set up, in the form that --preseed reads"),
    arg("--storage-backend", metavar="DRIVER", help="with --auto: overlay (default), btrfs or dir"),
    arg("--storage-create-device", metavar="DEVICE", help="with --auto: the disk that the pool takes"),
    arg("--storage-create-loop", metavar="GB", type=int, help="with --auto: the size of a btrfs pool in a file"),
    arg("--network-address", metavar="ADDRESS", help="with --auto: listen on the network too"),
    example="""
    hutch admin init
    hutch admin init --auto
    hutch admin init --preseed < setup.yaml
    hutch admin init --dump > setup.yaml
    """,
)
def init(session: Session, options: Options) -> None:
    """Set up a pool, a network and the default profile.

    Asks what to make, with flags that say otherwise. What exists already is kept, so it can be repeated.
    """
    if options.auto + options.preseed + options.dump > 1:
        raise errors.Invalid("give one of --auto, --preseed and --dump")
    if options.dump:
        from hutch.cli.yamltext import dump

        print(dump(preseed.dumped(session.client)), end="")
    elif options.preseed:
        from hutch.cli.yamltext import mapping

        preseed.apply(session, mapping(sys.stdin.read(), "the preseed"))
    elif options.auto:
        preseed.set_up(session, preseed.automatic(options))
    else:
        from hutch.cli.questions import asked

        preseed.set_up(session, asked(session))


@command(
    arg("--timeout", type=float, metavar="SECONDS", help="give up after this time (default: never)"),
    example="hutch admin waitready --timeout 30",
)
def waitready(session: Session, options: Options) -> None:
    """Wait until the daemon answers."""
    end = None if options.timeout is None else time.monotonic() + options.timeout
    while True:
        try:
            session.client.get("/internal/ready")
        except errors.Unavailable as error:
            session.client.close()
            if end is not None and time.monotonic() >= end:
                raise errors.Unavailable(f"not ready after {options.timeout:g} s: {error}") from error
            time.sleep(INTERVAL)
        else:
            return


@command(
    arg("-f", "--force", action="store_true", help="do not wait for the guests"),
    arg("--timeout", type=float, metavar="SECONDS", help="wait no longer than this (default: until it has ended)"),
    example="hutch admin shutdown",
)
def shutdown(session: Session, options: Options) -> None:
    """Stop all instances cleanly, then the daemon."""
    session.client.request("PUT", "/internal/shutdown", query={"force": "true"} if options.force else {})
    end = None if options.timeout is None else time.monotonic() + options.timeout
    while True:
        try:
            session.client.get("/internal/ready")
        except errors.Unavailable:
            session.client.close()
            if not _listens(session):
                return
        if end is not None and time.monotonic() >= end:
            raise errors.Unavailable(f"the daemon still runs after {options.timeout:g} s; it goes on shutting down")
        time.sleep(INTERVAL)


def _listens(session: Session) -> bool:
    try:
        session.client.get("/1.0")
    except errors.Unavailable:
        session.client.close()
        return False
    return True
