"""A config key as data: its type, default, whether it is applied live, and how a value is checked."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hutch.errors import Invalid
from hutch.schema.base import Config

_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}
_UNITS: dict[str, int] = {"": 1, "B": 1, "bit": 1} | {
    prefix + "B": 1000**power for power, prefix in enumerate(("k", "M", "G", "T", "P", "E"), 1)
}
_UNITS |= {prefix + "iB": 1024**power for power, prefix in enumerate(("K", "M", "G", "T", "P", "E"), 1)}


def as_bool(value: str | None, default: bool = False) -> bool:
    """LXD's words for yes and no, in any case; empty is the default."""
    word = (value or "").lower()
    if not word:
        return default
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Invalid(f"invalid value for a boolean {value!r}: true or false is expected")


def is_bool(value: str) -> bool:
    """Whether the value is one of those words."""
    return value.lower() in _TRUE | _FALSE


def as_bytes(value: str) -> int:
    """`10GiB`, `500MB`, `4096` as bytes; kB is 1000, KiB 1024."""
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", value.strip())
    if not match or match[2] not in _UNITS:
        raise Invalid(f"invalid size {value!r}: a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB is expected")
    return int(match[1]) * _UNITS[match[2]]


def as_bits(value: str) -> int:
    """`100Mbit` as bits a second; kbit is 1000, Kibit 1024."""
    match = re.fullmatch(r"(\d+)\s*(?:([kMGTPE])bit|([KMGTPE])ibit|bit)?", value.strip())
    if not match:
        raise Invalid(f"invalid rate {value!r}: a number with bit, kbit, Mbit, Gbit, Kibit, Mibit or Gibit is expected")
    base, prefix = (1000, match[2]) if match[2] else (1024, (match[3] or "").lower())
    power = 0 if not prefix else "kmgtpe".index(prefix.lower()) + 1
    return int(match[1]) * int(pow(base, power))


def as_int(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise Invalid(f"invalid value for an integer {value!r}") from None


def one_of(*words: str) -> Callable[[str], object]:
    def check(value: str) -> str:
        if value not in words:
            raise Invalid(f"invalid value {value!r} (not one of {', '.join(words)})")
        return value

    return check


def any_text(value: str) -> str:
    return value


@dataclass(frozen=True)
class Key:
    """One row of a table. `kind` names the type for documentation, `check` raises Invalid for a value that does not fit.

    `live`: applied to a running guest; `required`: must be given; `scope`: local where each member of a cluster has a
    value of its own; `condition`: what must be so for the key to mean something.
    """

    help: str
    kind: str = "string"
    default: str = ""
    live: bool = True
    required: bool = False
    check: Callable[[str], object] = any_text
    scope: str = "global"
    condition: str = ""


USER: dict[str, Key] = {"user.*": Key("Whatever the user likes to keep here; searchable in filters")}
"""The one prefix below which every kind of thing takes any key."""


def prefixes(rows: Mapping[str, Key]) -> tuple[str, ...]:
    """The prefixes that rows such as `user.*` stand for."""
    return tuple(name.removesuffix("*") for name in rows if name.endswith("*"))


def text(help: str, default: str = "", live: bool = True, required: bool = False) -> Key:
    return Key(help, "string", default, live=live, required=required)


def boolean(help: str, default: str = "false", live: bool = True, required: bool = False) -> Key:
    return Key(help, "bool", default, check=as_bool, live=live, required=required)


def integer(help: str, default: str = "", live: bool = True, required: bool = False) -> Key:
    return Key(help, "integer", default, check=as_int, live=live, required=required)


def size(help: str, default: str = "", live: bool = True, required: bool = False) -> Key:
    return Key(help, "size", default, check=as_bytes, live=live, required=required)


def choice(help: str, *words: str, default: str = "", live: bool = True, required: bool = False) -> Key:
    return Key(help, "string", default, check=one_of(*words), live=live, required=required)


def check_all(
    what: str, config: Config, keys: Mapping[str, Key], free: tuple[str, ...] = (), skip: tuple[str, ...] = ()
) -> None:
    """Every key of `config` is in the table (or begins with a prefix of `free`) and its value fits.

    `what` names the thing for the sentence; `skip` lists members that are no keys (a device's `type`).
    Raises Invalid with the nearest valid key for one that is unknown.
    """
    for key, value in config.items():
        if key in skip or key.startswith(free or ("\0",)):
            continue
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise Invalid(f"{what}: Unknown configuration key: {key}{hint}")
        if value:
            try:
                keys[key].check(value)
            except Invalid as error:
                raise Invalid(f"{what}: invalid value for {key}: {error}") from error
    for key, row in keys.items():
        if row.required and not config.get(key):
            raise Invalid(f"{what}: the key {key} is required")
