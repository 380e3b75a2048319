"""Expressions of pongo2, the template language of LXD's images, compiled to functions of a scope.

Variables with dots, calls, lists, strings, numbers, `and or not in`, comparisons, sums and products of numbers, and
filters in Django's form (`name|default:"x"`). Everything that a value can grow by is bounded, for images are not trusted.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from hutch.errors import Invalid
from hutch.image.filters import FILTERS, text

_CHARACTERS = 64
"""Characters of a new value that count as one step."""
_LARGEST = 1 << 63
_DEEPEST = 50

_TOKEN = re.compile(
    r"""\s*(?: (?P<close> -?%\} | -?\}\} )
      | (?P<string> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
      | (?P<number> \d{1,18} (?:\.\d{1,18})? )
      | (?P<word> [A-Za-z_]\w* )
      | (?P<symbol> == | != | <> | <= | >= | && | \|\| | [-+*/%<>!|:.,()\[\]=] ) )""",
    re.VERBOSE | re.DOTALL,
)


class Scope:
    """Variables by name, and how much work is left to do before the template counts as endless."""

    def __init__(self, variables: Mapping[str, Any], steps: int = 30_000) -> None:
        self.frames: list[dict[str, Any]] = [dict(variables)]
        self.steps = steps

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Invalid("the template does not come to an end")

    def spend(self, value: Any) -> Any:
        """The value, paid for by its length: what a template makes along the way stays small in all."""
        if isinstance(value, str | list):
            self.steps -= len(value) // _CHARACTERS
            self.step()
        return value

    def get(self, name: str) -> Any:
        return next((frame[name] for frame in reversed(self.frames) if name in frame), None)


Expression = Callable[[Scope], Any]


class Tokens:
    """The words between two braces, read one by one. `end` is where the text goes on behind them."""

    def __init__(self, source: str, start: int, close: str) -> None:
        self.words: list[tuple[str, str]] = []
        self.at = self.depth = 0
        position = start
        while True:
            found = _TOKEN.match(source, position)
            if found is None:
                raise Invalid(f"the template has a syntax error near {source[start - 2 : start + 30]!r}")
            kind, position = str(found.lastgroup), found.end()
            if kind == "close":
                break
            self.words.append((kind, found[kind]))
        if not found["close"].endswith(close):
            raise Invalid(f"the template has a syntax error near {source[start - 2 : start + 30]!r}")
        self.end, self.trims = position, found["close"].startswith("-")

    def peek(self) -> str:
        """The next word as it is written; empty at the end."""
        return self.words[self.at][1] if self.at < len(self.words) else ""

    def take(self, *wanted: str) -> str:
        """The next word if it is one of the wanted, else nothing."""
        if self.peek() in wanted and self.words[self.at][0] in ("word", "symbol"):
            self.at += 1
            return self.words[self.at - 1][1]
        return ""

    def expect(self, wanted: str) -> None:
        if not self.take(wanted):
            raise Invalid(f"the template has {self.peek() or 'nothing'!r} where {wanted!r} is expected")

    def word(self) -> str:
        """The next word, which must be a name."""
        if self.at >= len(self.words) or self.words[self.at][0] != "word":
            raise Invalid(f"the template has {self.peek() or 'nothing'!r} where a name is expected")
        self.at += 1
        return self.words[self.at - 1][1]

    def finish(self) -> None:
        if self.at < len(self.words):
            raise Invalid(f"the template has {self.peek()!r} where a tag should end")


def expression(tokens: Tokens) -> Expression:
    """What the words say until one that is part of no expression."""
    tokens.depth += 1
    if tokens.depth > _DEEPEST:
        raise Invalid("the template has expressions that are nested too deep")
    found = _either(tokens)
    tokens.depth -= 1
    return found


def _either(tokens: Tokens) -> Expression:
    left = _both(tokens)
    while tokens.take("or", "||"):
        left = _or(left, _both(tokens))
    return left


def _or(left: Expression, right: Expression) -> Expression:
    return lambda scope: bool(left(scope)) or bool(right(scope))


def _both(tokens: Tokens) -> Expression:
    left = _not(tokens)
    while tokens.take("and", "&&"):
        left = _and(left, _not(tokens))
    return left


def _and(left: Expression, right: Expression) -> Expression:
    return lambda scope: bool(left(scope)) and bool(right(scope))


def _not(tokens: Tokens) -> Expression:
    negations = 0
    while tokens.take("not", "!"):
        negations += 1
    inner = _comparison(tokens)
    if not negations:
        return inner
    return lambda scope: bool(inner(scope)) == (negations % 2 == 0)


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _comparison(tokens: Tokens) -> Expression:
    left = _sum(tokens)
    while sign := tokens.take(*_COMPARE, "in"):
        left = _compare(sign, left, _sum(tokens))
    return left


def _compare(sign: str, left: Expression, right: Expression) -> Expression:
    def compare(scope: Scope) -> bool:
        scope.step()
        one, other = left(scope), right(scope)
        try:
            if sign == "in":
                return text(one) in other if isinstance(other, str | Mapping) else one in other
            return bool(_COMPARE[sign](one, other))
        except TypeError:
            return False

    return compare


def _sum(tokens: Tokens) -> Expression:
    left = _product(tokens)
    while sign := tokens.take("+", "-"):
        left = _calculate(sign, left, _product(tokens))
    return left


def _product(tokens: Tokens) -> Expression:
    left = _filtered(tokens)
    while sign := tokens.take("*", "/", "%"):
        left = _calculate(sign, left, _filtered(tokens))
    return left


def _calculate(sign: str, left: Expression, right: Expression) -> Expression:
    def calculate(scope: Scope) -> Any:
        scope.step()
        one, other = left(scope), right(scope)
        if sign == "+" and isinstance(one, str):
            return scope.spend(one + text(other))
        if not (isinstance(one, int | float) and isinstance(other, int | float)):
            raise Invalid(f"the template calculates with {text(one)[:40]!r} {sign} {text(other)[:40]!r}")
        return _number(sign, one, other)

    return calculate


def _number(sign: str, one: float, other: float) -> float:
    try:
        if sign in "/%" and isinstance(one, int) and isinstance(other, int):
            value: float = one // other if sign == "/" else one % other
        else:
            value = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod}[
                sign
            ](one, other)
    except ZeroDivisionError:
        raise Invalid("the template divides by zero") from None
    if abs(value) >= _LARGEST:
        raise Invalid("the template calculates with numbers that are too large")
    return value


def _filtered(tokens: Tokens) -> Expression:
    if tokens.take("-"):
        return _calculate("-", lambda scope: 0, _filtered(tokens))
    value = _primary(tokens)
    while tokens.take("|"):
        name = tokens.word()
        if name not in FILTERS:
            raise Invalid(f"the template uses the unknown filter {name!r}")
        argument = _primary(tokens) if tokens.take(":") else None
        value = _filter(name, value, argument)
    return value


def _filter(name: str, value: Expression, argument: Expression | None) -> Expression:
    function = FILTERS[name]

    def run(scope: Scope) -> Any:
        scope.step()
        try:
            return scope.spend(function(value(scope), argument(scope) if argument else None))
        except (TypeError, ValueError, LookupError) as error:
            raise Invalid(f"the template's filter {name} fails: {error}") from error

    return run


def _primary(tokens: Tokens) -> Expression:
    if tokens.take("("):
        inner = expression(tokens)
        tokens.expect(")")
        return inner
    if tokens.take("["):
        return _list(_arguments(tokens, "]"))
    if tokens.at < len(tokens.words):
        kind, word = tokens.words[tokens.at]
        if kind in ("string", "number"):
            tokens.at += 1
            return _constant(_literal(kind, word))
    return _variable(tokens)


def _list(items: list[Expression]) -> Expression:
    """Lists hold no lists: what is one in there becomes text, so that nothing can double and double again."""

    def build(scope: Scope) -> list[Any]:
        values = (item(scope) for item in items)
        found = [scope.spend(text(value)) if isinstance(value, list | Mapping) else value for value in values]
        scope.spend(found)
        return found

    return build


def _literal(kind: str, word: str) -> Any:
    if kind == "number":
        return float(word) if "." in word else int(word)
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1]), word[1:-1])


def _constant(value: Any) -> Expression:
    return lambda scope: value


_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "nil": None, "None": None}


def _variable(tokens: Tokens) -> Expression:
    name = tokens.word()
    value = _constant(_CONSTANTS[name]) if name in _CONSTANTS else _named(name)
    while sign := tokens.take(".", "(", "["):
        if sign == "(":
            value = _call(name, value, _arguments(tokens, ")"))
        elif sign == "[":
            key = expression(tokens)
            tokens.expect("]")
            value = _member(value, key)
        else:
            value = _member(value, _constant(tokens.words[tokens.at][1] if tokens.at < len(tokens.words) else ""))
            tokens.at += 1
    return value


def _named(name: str) -> Expression:
    def named(scope: Scope) -> Any:
        scope.step()
        return scope.get(name)

    return named


def _arguments(tokens: Tokens, close: str) -> list[Expression]:
    found = []
    while not tokens.take(close):
        found.append(expression(tokens))
        if not tokens.take(","):
            tokens.expect(close)
            break
    return found


def _call(name: str, function: Expression, arguments: list[Expression]) -> Expression:
    def call(scope: Scope) -> Any:
        scope.step()
        called = function(scope)
        if not callable(called):
            raise Invalid(f"the template calls {name}, which is no function")
        try:
            return called(*(argument(scope) for argument in arguments))
        except TypeError as error:
            raise Invalid(f"the template calls {name} with the wrong arguments") from error

    return call


def _member(value: Expression, key: Expression) -> Expression:
    def member(scope: Scope) -> Any:
        scope.step()
        holder, name = value(scope), text(key(scope))
        if isinstance(holder, Mapping):
            return holder.get(name)
        if isinstance(holder, list | str) and name.isdigit() and int(name) < len(holder):
            return holder[int(name)]
        return None

    return member
