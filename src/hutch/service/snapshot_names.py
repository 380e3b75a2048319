"""Names of snapshots for which none was given, by the template of `snapshots.pattern`."""

from collections.abc import Collection
from datetime import datetime

from hutch.errors import Invalid
from hutch.image import pongo2
from hutch.service.instances import rules

USUAL = "snap%d"


def next_name(pattern: str, taken: Collection[str], moment: datetime) -> str:
    """The pattern with `creation_date` put in; its `%d` is the number after the highest one that is taken.

    Without a `%d` a number is added when the name is taken.
    """
    try:
        name = pongo2.render(pattern or USUAL, {"creation_date": moment})
    except Invalid as error:
        raise Invalid(f"snapshots.pattern: {error}") from error
    if name.count("%d") > 1:
        raise Invalid(f"snapshots.pattern may have %d but once: {pattern!r}")
    if "%d" not in name and name in taken:
        name += "-%d"
    if "%d" in name:
        before, _, behind = name.partition("%d")
        name = f"{before}{_after(before, behind, taken)}{behind}"
    rules.check_snapshot_name(name)
    return name


def _after(before: str, behind: str, taken: Collection[str]) -> int:
    highest = -1
    for each in taken:
        if each.startswith(before) and each.endswith(behind):
            middle = each[len(before) : len(each) - len(behind)]
            if middle.isascii() and middle.isdigit():
                highest = max(highest, int(middle))
    return highest + 1
