"""metadata.yaml: what an image says of itself, and which of its files are templates."""

import datetime
import re
from pathlib import PurePosixPath
from typing import Any

import msgspec
import yaml

from hutch.errors import Invalid
from hutch.schema.base import ZERO_TIME

TRIGGERS = ("create", "copy", "rename", "start")
_ARCHITECTURES = {
    "x86_64": ("amd64", "generic_64"),
    "i686": ("i386", "i586", "386", "x86", "generic_32"),
    "aarch64": ("arm64", "arm64_generic"),
    "armv7l": ("armhf", "armel", "arm", "armhfp", "armv7a_hardfp", "armv7", "armv7a_vfpv3_hardfp"),
    "armv8l": ("armv8",),
    "armv6l": ("armv6",),
    "ppc64le": ("powerpc64le", "ppc64el", "ppc64le"),
    "ppc64": ("powerpc64",),
    "ppc": ("powerpc",),
    "s390x": (),
    "mips": ("mipsel",),
    "mips64": ("mips64el",),
    "riscv32": (),
    "riscv64": ("rv64",),
    "loongarch64": ("loong64",),
}
_NAMES = {alias: name for name, aliases in _ARCHITECTURES.items() for alias in (name, *aliases)}
_PLAIN_NAME = re.compile(r"[^/\0]+(/[^/\0]+)*")


class Contents(msgspec.Struct, kw_only=True, frozen=True):
    """What an image file holds besides the tree. `metadata` is the text of metadata.yaml, `size` the bytes and
    `entries` the number of what is unpacked, `nodes` the harmless device nodes that are left out, `prefix` what stands
    before `rootfs` in the names of a unified tar.
    """

    metadata: str = ""
    templates: dict[str, bytes] = {}
    entries: int = 0
    size: int = 0
    nodes: list[str] = []
    prefix: str = ""


class Template(msgspec.Struct, kw_only=True, omit_defaults=False):
    """When a file of the guest is written anew, and from which template."""

    when: list[str] = []
    create_only: bool = False
    template: str = ""
    properties: dict[str, str] = {}


class Metadata(msgspec.Struct, kw_only=True):
    """The document as LXD has it. Dates are seconds since 1970, 0 for none; `templates` goes by path in the guest."""

    architecture: str
    creation_date: int = 0
    expiry_date: int = 0
    properties: dict[str, str] = {}
    templates: dict[str, Template] = {}

    @property
    def created_at(self) -> datetime.datetime:
        return _moment(self.creation_date)

    @property
    def expires_at(self) -> datetime.datetime:
        return _moment(self.expiry_date)


def parse(text: str) -> Metadata:
    """The text of metadata.yaml checked; Invalid says what is wrong with it."""
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Invalid(f"the image's metadata.yaml is no YAML: {_brief(error)}") from error
    if not isinstance(document, dict):
        raise Invalid("the image's metadata.yaml holds no keys and values")
    try:
        metadata = msgspec.convert(_texts(document), Metadata, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Invalid(f"the image's metadata.yaml is wrong: {error}") from error
    check(metadata)
    metadata.architecture = architecture(metadata.architecture)
    return metadata


def check(metadata: Metadata) -> None:
    """Invalid for templates that name no file or a trigger that does not exist."""
    for target, template in metadata.templates.items():
        check_name(template.template, target)
        if ".." in PurePosixPath(target).parts or not target.startswith("/"):
            raise Invalid(f"the template target {target!r} is no absolute path in the guest")
        if unknown := sorted(set(template.when) - set(TRIGGERS)):
            raise Invalid(
                f"the template of {target} has the unknown trigger {unknown[0]!r}; known are {', '.join(TRIGGERS)}"
            )


def check_name(name: str, target: str = "") -> None:
    """Invalid unless `name` can be a file of the templates folder."""
    if not _PLAIN_NAME.fullmatch(name) or ".." in name.split("/"):
        whose = f" of {target}" if target else ""
        raise Invalid(f"invalid template name {name!r}{whose}")


def architecture(name: str) -> str:
    """The kernel's name of an architecture given by any of the names that distributions have for it."""
    if name.lower() not in _NAMES:
        raise Invalid(
            f"architecture {name!r} isn't supported" if name else "the image's metadata.yaml names no architecture"
        )
    return _NAMES[name.lower()]


def render(metadata: Metadata) -> str:
    """metadata.yaml for an image that is packed here."""
    document = msgspec.to_builtins(metadata)
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=True, allow_unicode=True, default_flow_style=False)


def _moment(seconds: int) -> datetime.datetime:
    if seconds <= 0:
        return ZERO_TIME
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return ZERO_TIME


def _texts(document: dict[Any, Any]) -> dict[str, Any]:
    """Properties may be written as numbers, booleans or dates: LXD takes them as the text they are."""
    shaped = {str(key): value for key, value in document.items() if value is not None}
    for holder in [shaped, *(t for t in _dict(shaped.get("templates")).values() if isinstance(t, dict))]:
        if isinstance(holder.get("properties"), dict):
            holder["properties"] = {str(key): _text(value) for key, value in holder["properties"].items()}
    shaped["architecture"] = str(shaped.get("architecture", ""))
    for date in ("creation_date", "expiry_date"):
        if isinstance(shaped.get(date), float):
            shaped[date] = int(shaped[date])
    return shaped


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float | datetime.date) else value


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
