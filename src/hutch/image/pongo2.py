"""Renders pongo2 templates: text with `{{ expression }}`, `{% tag %}` and `{# comment #}`, as LXD's images have them.

It is an interpreter of its own because the templates come with images: steps, output, nesting and inclusions are
bounded, so that no template holds up the daemon or fills its memory, and there is nothing in it that could reach out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hutch.errors import Invalid
from hutch.image.expression import Expression, Scope, Tokens, expression
from hutch.image.filters import text

Include = Callable[[str], str]
"""The source of another template by its name."""

_OPEN = re.compile(r"\{(?P<kind>[{%#])(?P<trim>-?)")
_DEEPEST, _INCLUSIONS, _LONGEST = 20, 50, 1 << 20


class Output:
    """What has been written so far."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = 0

    def write(self, piece: str) -> None:
        self.size += len(piece)
        if self.size > _LONGEST:
            raise Invalid("the template makes more text than is allowed")
        self.pieces.append(piece)


Node = Callable[[Scope, Output], None]


def render(source: str, variables: Mapping[str, Any], include: Include | None = None) -> str:
    """The template's text with the variables put in; Invalid says what is wrong with it."""
    output = Output()
    try:
        run(_Parser(source, _counted(include) if include else None, 0).all(), Scope(variables), output)
    except RecursionError:
        raise Invalid("the template has expressions that are nested too deep") from None
    return "".join(output.pieces)


def _counted(include: Include) -> Include:
    numbers = iter(range(_INCLUSIONS))

    def counted(name: str) -> str:
        if next(numbers, None) is None:
            raise Invalid(f"the template includes more than {_INCLUSIONS} others")
        return include(name)

    return counted


def run(nodes: Sequence[Node], scope: Scope, output: Output) -> None:
    for node in nodes:
        scope.step()
        node(scope, output)


class _Parser:
    """Turns the source into nodes, from left to right. `depth` counts the blocks and inclusions around."""

    def __init__(self, source: str, include: Include | None, depth: int) -> None:
        self.source, self.include, self.depth = source, include, depth
        self.at = 0
        self.trims = False
        self.tokens: Tokens | None = None

    def all(self) -> list[Node]:
        nodes, end = self.until()
        if end:
            raise Invalid(f"the template has {{% {end} %}} without its beginning")
        return nodes

    def until(self, *ends: str) -> tuple[list[Node], str]:
        """The nodes up to the first tag named in `ends`, and its name. Its words are in `tokens`."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Invalid("the template has blocks that are nested too deep")
        nodes: list[Node] = []
        while (end := self._next(nodes, ends)) is None:
            pass
        if ends and end not in ends:
            raise Invalid(f"the template lacks {{% {ends[-1]} %}}")
        self.depth -= 1
        return nodes, end

    def _next(self, nodes: list[Node], ends: Sequence[str]) -> str | None:
        found = _OPEN.search(self.source, self.at)
        plain = self.source[self.at : found.start() if found else None]
        plain = plain.lstrip() if self.trims else plain
        if plain := plain.rstrip() if found and found["trim"] else plain:
            nodes.append(_plain(plain))
        self.trims = False
        if found is None:
            self.at = len(self.source)
            return ""
        if found["kind"] == "#":
            self._skip_comment(found.end())
        elif found["kind"] == "{":
            nodes.append(_shown(self._read(found.end(), "}}", expression)))
        else:
            return self._tag(found.end(), nodes, ends)
        return None

    def _skip_comment(self, start: int) -> None:
        end = self.source.find("#}", start)
        if end < 0:
            raise Invalid("the template has a comment without end")
        self.at = end + 2

    def _read(self, start: int, close: str, parse: Callable[[Tokens], Expression]) -> Expression:
        tokens = Tokens(self.source, start, close)
        self.at, self.trims = tokens.end, tokens.trims
        found = parse(tokens)
        tokens.finish()
        return found

    def _tag(self, start: int, nodes: list[Node], ends: Sequence[str]) -> str | None:
        self.tokens = tokens = Tokens(self.source, start, "%}")
        self.at, self.trims = tokens.end, tokens.trims
        name = tokens.word()
        if name in ends or name.startswith(("end", "el")) or name == "empty":
            return name
        if name not in _TAGS:
            raise Invalid(f"the template uses the unknown tag {name!r}")
        nodes.append(_TAGS[name](self, tokens))
        tokens.finish()
        return None


def _plain(piece: str) -> Node:
    return lambda scope, output: output.write(piece)


def _shown(value: Expression) -> Node:
    return lambda scope, output: output.write(text(value(scope)))


def _if(parser: _Parser, tokens: Tokens) -> Node:
    branches: list[tuple[Expression, list[Node]]] = []
    condition: Expression = expression(tokens)
    while True:
        tokens.finish()
        body, end = parser.until("elif", "else", "endif")
        branches.append((condition, body))
        assert parser.tokens is not None
        if end == "endif":
            break
        condition = expression(parser.tokens) if end == "elif" else lambda scope: True

    def choose(scope: Scope, output: Output) -> None:
        for holds, body in branches:
            if holds(scope):
                return run(body, scope, output)
        return None

    return choose


def _if_equal(parser: _Parser, tokens: Tokens, *, wanted: bool = True) -> Node:
    one, other = expression(tokens), expression(tokens)
    yes, end = parser.until("else", f"end{tokens.words[0][1]}")
    no = parser.until(f"end{tokens.words[0][1]}")[0] if end == "else" else []
    return lambda scope, output: run(yes if (one(scope) == other(scope)) is wanted else no, scope, output)


def _for(parser: _Parser, tokens: Tokens) -> Node:
    names = [tokens.word()]
    if tokens.take(","):
        names.append(tokens.word())
    tokens.expect("in")
    source = expression(tokens)
    backwards = bool(tokens.take("reversed"))
    tokens.take("sorted")
    tokens.finish()
    body, end = parser.until("empty", "endfor")
    otherwise = parser.until("endfor")[0] if end == "empty" else []

    def loop(scope: Scope, output: Output) -> None:
        items = _pairs(source(scope))
        for frame in _frames(names, items[::-1] if backwards else items):
            scope.frames.append(frame)
            run(body, scope, output)
            scope.frames.pop()
        if not items:
            run(otherwise, scope, output)

    return loop


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return sorted(value.items())
    return [(each, None) for each in value] if isinstance(value, list | str) else []


def _frames(names: list[str], items: list[tuple[Any, Any]]) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(items):
        about = {
            "Counter": number + 1,
            "Counter0": number,
            "Revcounter": len(items) - number,
            "Revcounter0": len(items) - number - 1,
            "First": number == 0,
            "Last": number == len(items) - 1,
        }
        about |= {name.lower(): value for name, value in about.items()}
        yield dict(zip(names, item, strict=False)) | {"forloop": about}


def _set(parser: _Parser, tokens: Tokens) -> Node:
    name = tokens.word()
    tokens.expect("=")
    value = expression(tokens)

    def assign(scope: Scope, output: Output) -> None:
        scope.frames[-1][name] = value(scope)

    return assign


def _with(parser: _Parser, tokens: Tokens) -> Node:
    values: dict[str, Expression] = {}
    while tokens.peek():
        name = tokens.word()
        tokens.expect("=")
        values[name] = expression(tokens)
    body, _ = parser.until("endwith")

    def inner(scope: Scope, output: Output) -> None:
        scope.frames.append({name: value(scope) for name, value in values.items()})
        run(body, scope, output)
        scope.frames.pop()

    return inner


def _autoescape(parser: _Parser, tokens: Tokens) -> Node:
    tokens.word()
    body, _ = parser.until("endautoescape")
    return lambda scope, output: run(body, scope, output)


def _comment(parser: _Parser, tokens: Tokens) -> Node:
    parser.until("endcomment")
    return lambda scope, output: None


def _first_of(parser: _Parser, tokens: Tokens) -> Node:
    values = []
    while tokens.peek():
        values.append(expression(tokens))
    return lambda scope, output: output.write(text(next(filter(None, (value(scope) for value in values)), "")))


def _include(parser: _Parser, tokens: Tokens) -> Node:
    name = text(expression(tokens)(Scope({})))
    if parser.include is None:
        raise Invalid(f"the template includes {name!r}, which is not there")
    nodes = _Parser(parser.include(name), parser.include, parser.depth).all()
    return lambda scope, output: run(nodes, scope, output)


_TAGS: dict[str, Callable[[_Parser, Tokens], Node]] = {
    "autoescape": _autoescape,
    "comment": _comment,
    "firstof": _first_of,
    "for": _for,
    "if": _if,
    "ifequal": _if_equal,
    "ifnotequal": lambda parser, tokens: _if_equal(parser, tokens, wanted=False),
    "include": _include,
    "set": _set,
    "with": _with,
}
