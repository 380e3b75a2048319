"""The `filter` of listings: `FIELD eq|ne VALUE` joined by and, or, not, with parentheses, as LXD and Incus read it.

Field names are the JSON names with dots into maps. `eq` on text is a case-insensitive regular expression, anchored
at both ends unless it contains ^ or $, and equality when it does not compile.
"""

import re
from collections.abc import Callable
from typing import Any

from hutch.errors import Invalid

Predicate = Callable[[Any], bool]
_TOKEN = re.compile(r"""\s*(?:(\(|\))|"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s()]+))""")


_REPEATS = 4
"""How many repetitions a pattern may have: the time that Python's matcher takes grows with a power of the value's length."""
_LONG = 512


class BadFilter(Invalid):
    """A filter that cannot be read; clients expect its first words."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Invalid filter: {reason}")


def parse(text: str) -> Predicate:
    tokens = _tokens(text)
    predicate = _either(tokens)
    if tokens:
        raise BadFilter(f"unexpected {tokens[0]!r}")
    return predicate


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadFilter(f"cannot read {text[at:]!r}")
        mark, double, single, bare = match.groups()
        found.append(mark or bare or ("\0" + (double if double is not None else single or "")))
        at = match.end()
    return found


def _either(tokens: list[str]) -> Predicate:
    left = _both(tokens)
    while tokens and tokens[0].lower() == "or":
        tokens.pop(0)
        left = _any_of(left, _both(tokens))
    return left


def _both(tokens: list[str]) -> Predicate:
    left = _one(tokens)
    while tokens and tokens[0].lower() == "and":
        tokens.pop(0)
        left = _all_of(left, _one(tokens))
    return left


def _any_of(a: Predicate, b: Predicate) -> Predicate:
    return lambda thing: a(thing) or b(thing)


def _all_of(a: Predicate, b: Predicate) -> Predicate:
    return lambda thing: a(thing) and b(thing)


def _one(tokens: list[str]) -> Predicate:
    if not tokens:
        raise BadFilter("it ends too early")
    if tokens[0].lower() == "not":
        tokens.pop(0)
        inner = _one(tokens)
        return lambda thing: not inner(thing)
    if tokens[0] == "(":
        tokens.pop(0)
        inner = _either(tokens)
        if not tokens or tokens.pop(0) != ")":
            raise BadFilter("a parenthesis is not closed")
        return inner
    if len(tokens) < 3:
        raise BadFilter("FIELD eq|ne VALUE is expected")
    name, operator, value = tokens.pop(0), tokens.pop(0).lower(), tokens.pop(0).removeprefix("\0")
    if operator not in ("eq", "ne"):
        raise BadFilter(f"unknown operator {operator!r}")
    equal = _comparison(value)
    if operator == "eq":
        return lambda thing: equal(_value(thing, name))
    return lambda thing: not equal(_value(thing, name))


def _comparison(wanted: str) -> Predicate:
    pattern = wanted if re.search(r"[\^$]", wanted) else f"^{wanted}$"
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError):
        return lambda value: _text(value) == wanted
    repeats = len(re.findall(r"(?<!\\)[*+?{]", wanted))
    if repeats > _REPEATS or re.search(r"(?<!\\)\)[*+{]", wanted):
        raise BadFilter(f"{wanted!r} repeats a group, or has more than {_REPEATS} repetitions")

    def matches(value: Any) -> bool:
        text = _text(value)
        return (repeats < 2 or len(text) <= _LONG) and compiled.search(text) is not None

    return matches


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _value(thing: Any, name: str) -> Any:
    """The member `name` of a JSON document; the longest key of a map wins, since config keys have dots of their own."""
    if not isinstance(thing, dict):
        return None
    if name in thing:
        return thing[name]
    words = name.split(".")
    for cut in range(len(words) - 1, 0, -1):
        if (head := ".".join(words[:cut])) in thing:
            return _value(thing[head], ".".join(words[cut:]))
    return None
