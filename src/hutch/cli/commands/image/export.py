"""Write an image to a file, or to two files when it is split."""

from pathlib import Path

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.imagenames import fingerprint
from hutch.cli.progress import Line, counter
from hutch.cli.session import Session
from hutch.client.connection import reason, url
from hutch.client.images import save


@command(
    arg("image", metavar="IMAGE", help="alias or fingerprint", complete="image"),
    arg("target", nargs="?", default=".", metavar="TARGET", help="a file or a folder (default: here)", complete="file"),
    example="hutch image export debian/12 /srv/images/",
)
def run(session: Session, options: Options) -> None:
    found = fingerprint(session, options.image)
    response = session.client.stream("GET", url("images", found, "export"))
    with Line(session.shows_progress) as line:
        try:
            target = Path(options.target)
            written = save(response, target, found, counter(line, f"Exporting {options.image}", response.length))
        except OSError as error:
            raise errors.HutchError(f"cannot write {error.filename}: {reason(error)}") from error
    session.say(f"Image exported to {' and '.join(map(str, written))}")
