"""Build an image from Debian packages, or from a recipe file, and bring it to the daemon.

Built in are debian/12, debian/13 and busybox, and with cloud-init debian/12/cloud and debian/13/cloud. What was built is
kept and used again for a week.
"""

from pathlib import Path

from hutch.cli.command import Options, arg, command
from hutch.cli.imagefiles import import_files, is_known, name_image
from hutch.cli.session import Session


@command(
    arg(
        "recipe",
        metavar="RECIPE",
        help="debian/12, debian/13, busybox, debian/12/cloud, debian/13/cloud, or a recipe file",
        complete="recipe",
    ),
    arg("--alias", action="append", metavar="ALIAS", help="a name for the image instead of the recipe's own"),
    arg("--refresh", action="store_true", help="build it again though it was built this week"),
    arg("--split", action="store_true", help="as two files, metadata and a squashfs"),
    arg("--compression", metavar="FORM", help="how the image is packed"),
    arg("--cache", metavar="DIR", help="where downloads and finished images are kept", complete="file"),
    arg("--no-import", action="store_true", help="only build the file and print its name"),
    example="""
    hutch image build debian/12
    hutch image build web.yaml --alias web
    """,
)
def run(session: Session, options: Options) -> None:
    from hutch.imagebuild.build import CACHE, build
    from hutch.imagebuild.pack import DEFAULT_FORMAT
    from hutch.imagebuild.recipe import load, named

    is_file = Path(options.recipe).is_file() or options.recipe.endswith((".yaml", ".yml"))
    recipe = load(Path(options.recipe)) if is_file else named(options.recipe)
    if not options.no_import:
        session.client.get("/1.0")  # better told now than after minutes of building
    teller = Teller(session)
    image = build(
        recipe,
        cache=Path(options.cache) if options.cache else CACHE,
        progress=teller.tell,
        form=options.compression or DEFAULT_FORMAT,
        split=options.split,
        refresh=options.refresh,
    )
    if options.no_import:
        print("\n".join(str(path) for path in (image.path, image.rootfs) if path))
        return
    fingerprint = image.fingerprint
    if is_known(session, fingerprint):
        teller.tell("The daemon has this image already")
    else:
        fingerprint = import_files(session, image.path, image.rootfs)
    aliases = options.alias or image.aliases
    name_image(session, fingerprint, aliases, reuse=True)
    print(f"Image {', '.join(aliases)} has fingerprint: {fingerprint}")


class Teller:
    """Prints the steps of the build as lines, so that a log of it can be read later."""

    def __init__(self, session: Session) -> None:
        self.session, self.last = session, ""

    def tell(self, text: str) -> None:
        if text != self.last:
            self.last = text
            self.session.say(text)
