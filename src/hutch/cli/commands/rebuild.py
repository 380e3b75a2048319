"""Give an instance a new root from an image; its name, settings and addresses stay, its files go."""

from hutch import errors
from hutch.cli import imagenames, imagesources, power, starting
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import Document, url


@command(
    arg("image", metavar="IMAGE", help="alias or fingerprint of the image", complete="image", elsewhere=True),
    arg("instance", nargs="?", default="", metavar="INSTANCE", help="the instance", complete="instance"),
    arg("-f", "--force", action="store_true", help="stop a running instance, and start it again afterwards"),
    arg("--empty", action="store_true", help="without an image; the only argument is the instance"),
    example="""
    hutch rebuild debian/13 web
    hutch rebuild --empty blank
    """,
)
def run(session: Session, options: Options) -> None:
    name, source = _wanted(session, options)
    was_running = session.client.get(url("instances", name))["status"] != "Stopped"
    if was_running:
        if not options.force:
            raise errors.Conflict(f"{name} is running; stop it first or give --force")
        session.finish(power.request(session, name, "stop", force=True), f"Stopping {name}")
    reply = session.client.request("POST", url("instances", name, "rebuild"), {"source": source})
    session.finish(reply, f"Rebuilding {name}")
    if was_running:
        starting.start(session, [name])


def _wanted(session: Session, options: Options) -> tuple[str, Document]:
    if options.empty:
        if options.instance:
            raise errors.Invalid("--empty takes only the name of the instance, no image")
        return str(options.image), {"type": "none"}
    if not options.instance:
        raise errors.Invalid("name the image and the instance, or give --empty and the instance")
    if (source := imagesources.elsewhere(session, options.image)) is not None:
        return str(options.instance), source
    return str(options.instance), {"type": "image", "fingerprint": imagenames.fingerprint(session, options.image)}
