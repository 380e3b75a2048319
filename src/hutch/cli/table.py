"""Tables as wide as their content or the terminal, whatever is less; and the same rows as CSV, JSON and YAML."""

import json
import os
import re
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from hutch import errors
from hutch.cli.command import Argument, arg

FORMATS = ("table", "compact", "csv", "json", "yaml")
NARROWEST = 8
"""No column is made narrower than this to fit the terminal."""

COLOURS = {
    "RUNNING": "32",
    "STOPPED": "90",
    "FROZEN": "36",
    "ERROR": "31",
    "SUCCESS": "32",
    "FAILURE": "31",
    "CANCELLED": "33",
    "UNAVAILABLE": "31",
}
BOLD = "1"


def format_argument() -> Argument:
    return arg(
        "-f", "--format", choices=FORMATS, default="table", metavar="FORMAT", help=f"one of {', '.join(FORMATS)}"
    )


def show(form: str, heads: Sequence[str], rows: Sequence[Sequence[str]], documents: Any = None) -> None:
    """Print rows in the format asked for; JSON and YAML show `documents`, what the daemon said, whole."""
    if form == "json":
        print(json.dumps(documents, ensure_ascii=False))
    elif form == "yaml":
        from hutch.cli.yamltext import dump

        print(dump(documents), end="")
    elif form == "csv":
        import csv

        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    elif form in ("table", "compact"):
        width = terminal()
        sys.stdout.write(Table(heads, rows, width, is_coloured()).text(bordered=form == "table"))
    else:
        raise errors.Invalid(f"unknown format {form!r}; known are {', '.join(FORMATS)}")


def terminal() -> int | None:
    """The terminal's width; None when the output goes elsewhere and may be as wide as it likes."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


def is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Table:
    """Cells may hold several lines."""

    def __init__(
        self, heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None, coloured: bool = False
    ) -> None:
        self.heads, self.coloured = list(heads), coloured
        self.rows = [[clean(cell) for cell in row] for row in rows]
        self.limit = width

    def text(self, bordered: bool = True) -> str:
        gap = 3 if bordered else 2
        widths = self._widths(len(self.heads) * gap + 1 if bordered else len(self.heads) * gap)
        rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n" if bordered else ""
        parts = [rule, self._row(self.heads, widths, bordered, head=True), rule]
        for row in self.rows:
            parts += [self._row(row, widths, bordered), rule]
        return "".join(parts)

    def _widths(self, frame: int) -> list[int]:
        columns = zip_longest(self.heads, *self.rows, fillvalue="")
        widths = [max(cell_width(cell) for cell in column) for column in columns]
        if self.limit is None:
            return widths
        return fitted(widths, [max(cell_width(head), NARROWEST) for head in self.heads], self.limit - frame)

    def _row(self, cells: Sequence[str], widths: list[int], bordered: bool, head: bool = False) -> str:
        wrapped = [wrap(cell, width) for cell, width in zip(self._whole(cells), widths, strict=True)]
        lines = []
        for parts in zip_longest(*wrapped, fillvalue=""):
            padded = [
                self._paint(part, head) + " " * (width - text_width(part))
                for part, width in zip(parts, widths, strict=True)
            ]
            lines.append(f"| {' | '.join(padded)} |" if bordered else f"  {'  '.join(padded)}".rstrip())
        return "\n".join(lines) + "\n"

    def _whole(self, cells: Sequence[str]) -> list[str]:
        return [*cells, *[""] * (len(self.heads) - len(cells))]

    def _paint(self, text: str, head: bool) -> str:
        colour = BOLD if head else COLOURS.get(text.upper(), "")
        return f"\x1b[{colour}m{text}\x1b[0m" if self.coloured and colour and text else text


def fitted(widths: list[int], least: list[int], space: int) -> list[int]:
    """Take from the widest columns until all fit in `space`, or none can give more."""
    widths = [min(width, max(space, low)) for width, low in zip(widths, least, strict=True)]
    while sum(widths) > space:
        spare = [(width, at) for at, width in enumerate(widths) if width > least[at]]
        if not spare:
            break
        widths[max(spare)[1]] -= 1
    return widths


def wrap(text: str, width: int) -> list[str]:
    """The lines of a cell, broken at spaces, commas or slashes when there are any in reach."""
    lines: list[str] = []
    for line in text.split("\n"):
        rest = line
        while text_width(rest) > width > 0:
            at = _break(rest, width)
            lines.append(rest[:at].rstrip(" "))
            rest = rest[at:].lstrip(" ")
        lines.append(rest)
    return lines


def _break(text: str, width: int) -> int:
    end, used = 0, 0
    while end < len(text) and (used := used + text_width(text[end])) <= width:
        end += 1
    end = max(end, 1)
    if text[end : end + 1] == " ":
        return end
    # A break in the first third would leave a ragged column.
    best = max((text.rfind(mark, 0, end) + 1 for mark in " ,/-"), default=0)
    return best if best > end // 3 else end


CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """Text from a guest or a description without what would steer the terminal."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def cell_width(text: str) -> int:
    return max(map(text_width, text.split("\n")))


def text_width(text: str) -> int:
    """The columns that a text takes: wide East Asian letters take two, combining marks none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(letter) in ("Mn", "Me", "Cf") else 2 if east_asian_width(letter) in "WF" else 1 for letter in text
    )
