"""Look whether there is something newer of images that came from a server, and take it."""

from hutch.cli.command import Options, arg, command
from hutch.cli.imagenames import fingerprint
from hutch.cli.session import Session
from hutch.client.connection import url


@command(
    arg("images", nargs="+", metavar="IMAGE", help="alias or fingerprint", complete="image"),
    example="hutch image refresh debian",
)
def run(session: Session, options: Options) -> None:
    for image in options.images:
        path = url("images", fingerprint(session, image), "refresh")
        done = session.finish(session.client.request("POST", path), f"Refreshing {image}")
        newer = (done.get("metadata") or {}).get("refreshed")
        session.say(f"{image}: {'a newer one was taken' if newer else 'there is nothing newer'}")
