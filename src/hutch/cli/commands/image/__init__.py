"""Manage images: what instances are made from."""

import re
from typing import Any

from hutch import errors
from hutch.cli import columns, imagesources, members, settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.imagenames import fingerprint, path
from hutch.cli.session import Session, pairs
from hutch.client.connection import Document, url

IMAGE = arg("image", metavar="IMAGE", help="alias or fingerprint", complete="image")
SHORT = 12

COLUMNS: dict[str, tuple[str, columns.Cell]] = {
    "l": ("ALIAS", lambda i: _aliases(i)),
    "L": ("ALIASES", lambda i: "\n".join(alias["name"] for alias in i.get("aliases") or [])),
    "f": ("FINGERPRINT", lambda i: i["fingerprint"][:SHORT]),
    "F": ("FINGERPRINT", lambda i: i["fingerprint"]),
    "p": ("PUBLIC", lambda i: "yes" if i.get("public") else "no"),
    "d": ("DESCRIPTION", lambda i: (i.get("properties") or {}).get("description", "")),
    "a": ("ARCHITECTURE", lambda i: i.get("architecture", "")),
    "t": ("TYPE", lambda i: str(i.get("type", "")).upper()),
    "s": ("SIZE", lambda i: _size(i)),
    "e": ("PROJECT", lambda i: str(i.get("project") or "default")),
    "u": ("UPLOAD DATE", lambda i: columns.date(i.get("uploaded_at"))),
}
DEFAULT = "lfpdatsu"


def _aliases(image: Document) -> str:
    names = [alias["name"] for alias in image.get("aliases") or []]
    return f"{names[0]} ({len(names) - 1} more)" if len(names) > 1 else "".join(names)


def _size(image: Document) -> str:
    from hutch.cli.progress import binary_amount

    return binary_amount(image.get("size") or 0)


@command(
    arg(
        "filters",
        nargs="*",
        metavar="[REMOTE:]FILTER",
        help="an alias, a fingerprint, or PROPERTY=VALUE",
        elsewhere=True,
    ),
    arg("-c", "--columns", metavar="COLUMNS", help=f"columns to show (default {DEFAULT})"),
    arg("--all-projects", action="store_true", help="images of all projects"),
    table.format_argument(),
    example="""
    hutch image list
    hutch image list os=debian -c lfs
    hutch image list images: debian
    """,
)
def list_(session: Session, options: Options) -> None:
    """List the images.

    Columns (-c): l alias, L all aliases, f fingerprint, F the same in full, p public, d description, a architecture,
    t type, s size, u upload date, e project.
    """
    wanted = options.columns or (f"e{DEFAULT}" if options.all_projects else DEFAULT)
    unknown = [letter for letter in wanted if letter not in COLUMNS]
    if unknown:
        raise errors.Invalid(f"unknown column {unknown[0]!r}; known are {''.join(COLUMNS)}")
    shown = [COLUMNS[letter] for letter in wanted]
    query: dict[str, str | int] = {"recursion": 1} | ({"all-projects": "true"} if options.all_projects else {})
    images = imagesources.listed(session, query)
    found = [image for image in images if all(_selects(word, image) for word in options.filters)]
    found.sort(key=lambda image: (_aliases(image), image["fingerprint"]))
    table.show(options.format, [head for head, _ in shown], [[cell(i) for _, cell in shown] for i in found], found)


def _selects(word: str, image: Document) -> bool:
    key, equals, value = word.partition("=")
    if equals:
        found = image.get(key, (image.get("properties") or {}).get(key, ""))
        return re.fullmatch(value, str(found), re.IGNORECASE) is not None
    names = [alias["name"] for alias in image.get("aliases") or []]
    return image["fingerprint"].startswith(word.lower()) or any(word in name for name in names)


@command(IMAGE, example="hutch image info debian/12")
def info(session: Session, options: Options) -> None:
    """Show what an image is."""
    from hutch.cli.yamltext import dump

    image = session.client.get(path(session, options.image))
    aliases = [alias["name"] for alias in image.get("aliases") or []]
    shown: dict[str, Any] = {
        "Fingerprint": image["fingerprint"],
        "Size": _size(image),
        "Architecture": image.get("architecture", ""),
        "Type": image.get("type", ""),
        "Public": "yes" if image.get("public") else "no",
        "Timestamps": {
            label: columns.date(image.get(f"{name}_at")) or "never"
            for label, name in (("Created", "created"), ("Uploaded", "uploaded"), ("Expires", "expires"),
                                ("Last used", "last_used"))
        },
        "Properties": image.get("properties") or {},
        "Aliases": aliases,
        "Cached": "yes" if image.get("cached") else "no",
        "Auto update": "enabled" if image.get("auto_update") else "disabled",
        "Profiles": image.get("profiles") or [],
    }  # fmt: skip
    for name, value in shown.items():
        print(f"{name}: {value}" if isinstance(value, str) else dump({name: value}).rstrip())


@command(IMAGE, example="hutch image show debian/12")
def show(session: Session, options: Options) -> None:
    """Show what of an image can be changed, as YAML."""
    settings.show(session.client.get(path(session, options.image)), members.IMAGE)


@command(IMAGE, example="hutch image edit debian/12")
def edit(session: Session, options: Options) -> None:
    """Edit an image's properties as YAML."""
    from hutch.cli.editor import edit_document

    edit_document(session, path(session, options.image), members.IMAGE)


@command(IMAGE, arg("key", metavar="KEY", help="the property"), example="hutch image get-property debian/12 release")
def get_property(session: Session, options: Options) -> None:
    """Show one property of an image."""
    print((session.client.get(path(session, options.image)).get("properties") or {}).get(options.key, ""))


@command(
    IMAGE,
    arg("key", metavar="KEY", help="the property"),
    arg("value", nargs="?", metavar="VALUE", help="its value; also KEY=VALUE"),
    example="hutch image set-property debian/12 description 'Our base system'",
)
def set_property(session: Session, options: Options) -> None:
    """Set a property of an image."""
    values = pairs([options.key]) if options.value is None else {options.key: options.value}

    def apply(document: Document) -> None:
        document["properties"] = (document.get("properties") or {}) | values

    settings.change(session, path(session, options.image), members.IMAGE, apply)


@command(IMAGE, arg("key", metavar="KEY", help="the property"), example="hutch image unset-property debian/12 note")
def unset_property(session: Session, options: Options) -> None:
    """Remove a property of an image."""

    def apply(document: Document) -> None:
        properties = dict(document.get("properties") or {})
        if properties.pop(options.key, None) is None:
            raise errors.NotFound(f"the image {options.image} has no property {options.key}")
        document["properties"] = properties

    settings.change(session, path(session, options.image), members.IMAGE, apply)


@command(
    arg("images", nargs="+", metavar="IMAGE", help="alias or fingerprint", complete="image"),
    example="hutch image delete debian/12",
)
def delete(session: Session, options: Options) -> None:
    """Delete images; instances made from them stay."""
    for image in options.images:
        found = url("images", fingerprint(session, image))
        session.finish(session.client.request("DELETE", found), f"Deleting {image}")
