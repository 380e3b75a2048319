"""How files of an instance are named on the command line: INSTANCE/PATH."""

from typing import NamedTuple

from hutch import errors
from hutch.cli.command import Argument, arg


class Place(NamedTuple):
    """A path in an instance; `is_folder` when it was written with a slash at its end."""

    instance: str
    path: str
    is_folder: bool

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def below(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"


def place(word: str) -> Place:
    instance, slash, path = word.partition("/")
    if not slash or not instance:
        raise errors.Invalid(f"{word!r} is not of the form INSTANCE/PATH")
    return Place(instance, "/" + path.strip("/"), not path or path.endswith("/"))


def owner_arguments() -> tuple[Argument, ...]:
    return (
        arg("--uid", type=int, metavar="UID", help="the owner in the instance"),
        arg("--gid", type=int, metavar="GID", help="the group in the instance"),
        arg("--mode", metavar="MODE", help="the permissions in octal, as 0644"),
    )


def octal(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        number = int(text, 8)
    except ValueError:
        number = -1
    if not 0 <= number <= 0o7777:
        raise errors.Invalid(f"the mode {text!r} is not an octal number such as 0644")
    return number
