"""The filters of pongo2 that templates of images use; each takes the value and one argument, None when none is given."""

import html
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

_LONGEST = 1 << 20


def text(value: Any) -> str:
    """A value as pongo2 writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, float):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
    if isinstance(value, Mapping):
        return " ".join(f"{key}:{text(inner)}" for key, inner in sorted(value.items()))
    if isinstance(value, list):
        return " ".join(map(text, value))
    return str(value)


def _number(value: Any) -> float:
    try:
        return float(text(value)) if "." in text(value) else int(text(value))
    except ValueError:
        return 0


# How Go spells the parts of a time: by those of Mon Jan 2 15:04:05 2006.
_GO_TIMES = {
    **{"2006": "%Y", "06": "%y", "January": "%B", "Jan": "%b", "01": "%m", "Monday": "%A", "Mon": "%a", "02": "%d"},
    **{"15": "%H", "03": "%I", "04": "%M", "05": "%S", "PM": "%p", "MST": "%Z", "-0700": "%z", "%": "%%"},
}
_GO_TIME = re.compile("|".join(sorted(map(re.escape, _GO_TIMES), key=len, reverse=True)))


def _date(value: Any, layout: Any) -> str:
    if not isinstance(value, datetime):
        raise ValueError("a time is expected")
    return value.strftime(_GO_TIME.sub(lambda match: _GO_TIMES[match[0]], text(layout)))


def _yesno(value: Any, choices: Any) -> str:
    words = text(choices).split(",") if choices is not None else ["yes", "no", "maybe"]
    if len(words) < 2:
        raise ValueError("two words, or three, are expected")
    if value is None:
        return words[2] if len(words) > 2 else words[1]
    return words[0] if value else words[1]


def _add(value: Any, other: Any) -> Any:
    if isinstance(value, int | float) and isinstance(other, int | float):
        return value + other
    return text(value) + text(other)


def _slice(value: Any, bounds: Any) -> Any:
    start, _, end = text(bounds).partition(":")
    items = value if isinstance(value, list) else text(value)
    return items[int(start) if start else None : int(end) if end else None]


def _join(value: Any, by: Any) -> str:
    items, between = _items(value), text(by)
    if len(items) * len(between) > _LONGEST:
        raise ValueError("the text would become too long")
    return between.join(map(text, items))


def _width(value: Any) -> int:
    return min(int(_number(value)), 10_000)


def _cut_to(value: Any, length: Any) -> str:
    limit, whole = int(_number(length)), text(value)
    return whole if len(whole) <= limit else whole[: max(limit - 3, 0)] + "..."[: max(limit, 0)]


def _items(value: Any) -> Any:
    return sorted(value) if isinstance(value, Mapping) else value if isinstance(value, list) else text(value)


FILTERS: dict[str, Callable[[Any, Any], Any]] = {
    "add": _add,
    "addslashes": lambda value, _: text(value).replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'"),
    "capfirst": lambda value, _: text(value)[:1].upper() + text(value)[1:],
    "center": lambda value, width: text(value).center(_width(width)),
    "cut": lambda value, what: text(value).replace(text(what), "") if text(what) else text(value),
    "date": _date,
    "default": lambda value, other: value or other,
    "default_if_none": lambda value, other: other if value is None else value,
    "divisibleby": lambda value, by: bool(_number(by)) and _number(value) % _number(by) == 0,
    "e": lambda value, _: html.escape(text(value)),
    "escape": lambda value, _: html.escape(text(value)),
    "first": lambda value, _: (_items(value) or [""])[0],
    "float": lambda value, _: float(_number(value)),
    "floatformat": lambda value, digits: f"{_number(value):.{min(int(_number(digits)), 20)}f}",
    "integer": lambda value, _: int(_number(value)),
    "join": _join,
    "last": lambda value, _: (_items(value) or [""])[-1],
    "length": lambda value, _: len(_items(value)),
    "linenumbers": lambda value, _: "\n".join(f"{n}. {line}" for n, line in enumerate(text(value).split("\n"), 1)),
    "ljust": lambda value, width: text(value).ljust(_width(width)),
    "lower": lambda value, _: text(value).lower(),
    "make_list": lambda value, _: list(text(value)),
    "pluralize": lambda value, ends: "" if _number(value) == 1 else text(ends).rpartition(",")[2] or "s",
    "rjust": lambda value, width: text(value).rjust(_width(width)),
    "safe": lambda value, _: value,
    "slice": _slice,
    "split": lambda value, by: text(value).split(text(by)) if text(by) else list(text(value)),
    "time": _date,
    "title": lambda value, _: text(value).title(),
    "trim": lambda value, _: text(value).strip(),
    "truncatechars": _cut_to,
    "upper": lambda value, _: text(value).upper(),
    "urlencode": lambda value, _: quote(text(value)),
    "wordcount": lambda value, _: len(text(value).split()),
    "yesno": _yesno,
}
