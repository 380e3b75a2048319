"""Bring an image file, or the two files of a split image, to the daemon."""

from pathlib import Path

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.imagefiles import import_files, name_image
from hutch.cli.session import Session, pairs


@command(
    arg("metadata", metavar="FILE", help="the image, or its metadata part", complete="file"),
    arg("words", nargs="*", metavar="[ROOTFS] KEY=VALUE", help="the other part, and properties", complete="file"),
    arg("--alias", action="append", default=[], metavar="ALIAS", help="a name for the image"),
    arg("--reuse", action="store_true", help="move an alias that another image has"),
    arg("--public", action="store_true", help="let everybody use the image"),
    example="""
    hutch image import debian.tar.zst --alias debian/12
    hutch image import meta.tar.xz rootfs.squashfs --alias alpine os=alpine
    """,
)
def run(session: Session, options: Options) -> None:
    files = [word for word in options.words if "=" not in word]
    if len(files) > 1:
        raise errors.Invalid("an image has one or two files")
    paths = [Path(word) for word in (options.metadata, *files)]
    for path in paths:
        if not path.is_file():
            raise errors.NotFound(f"no such image file: {path}")
    properties = pairs([word for word in options.words if "=" in word])
    rootfs = paths[1] if files else None
    fingerprint = import_files(session, paths[0], rootfs, public=options.public, properties=properties)
    name_image(session, fingerprint, options.alias, reuse=options.reuse)
    print(f"Image imported with fingerprint: {fingerprint}")
