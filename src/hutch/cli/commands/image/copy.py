"""Copy an image to a server from another one."""

from hutch import errors
from hutch.cli import imagesources
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    arg("image", metavar="REMOTE:IMAGE", help="alias or fingerprint", elsewhere=True),
    arg("target", nargs="?", default="", metavar="REMOTE:", help="the server it goes to"),
    arg("--alias", action="append", default=[], metavar="ALIAS", help="a name for the copy"),
    arg("--auto-update", action="store_true", help="follow the alias there"),
    arg("--public", action="store_true", help="let everybody use the copy"),
    example="""
    hutch image copy images:debian/12 --alias debian --auto-update
    hutch image copy far:web/1.2 --alias web
    """,
)
def run(session: Session, options: Options) -> None:
    if options.target:
        raise errors.Invalid(f"{options.target!r} is no server: give REMOTE: with a colon behind it")
    source = imagesources.elsewhere(session, options.image)
    if source is None:
        raise errors.Invalid("name the server that the image is on, as REMOTE:IMAGE, and with REMOTE: where it goes")
    wanted = {
        "source": source,
        "aliases": [{"name": alias} for alias in options.alias],
        "auto_update": options.auto_update,
        "public": options.public,
    }
    done = session.finish(session.client.request("POST", "/1.0/images", wanted), f"Copying {options.image}")
    session.say(f"Image copied with fingerprint: {(done.get('metadata') or {}).get('fingerprint', '')}")
