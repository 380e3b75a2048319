"""The OpenAPI 3.1 document, made from the routes' declarations, their handlers' signatures and the documents' types."""

import inspect
import re
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from aiohttp import web

from hutch import __version__
from hutch.api.wire import Bare, Created, Rendered, Route, Routes, Tagged, Text, Upgrade
from hutch.schema.answers.operation import Operation as OperationAnswer
from hutch.work.operations import Operation

Schema = dict[str, Any]
_JSON, _RAW = "application/json", "application/octet-stream"
_DESCRIPTION = """\
The REST API of LXD 5.0, as hutch speaks it. Answers are in an envelope: `sync` answers hold what was asked for in
`metadata`, `async` ones (202) the operation that does the work, which `/1.0/operations/{id}/wait` waits for, errors a
sentence in `error`. All below `/1.0/instances` is also served below `/1.0/containers`, its old name."""
_LISTING = {
    "recursion": "0: URLs. 1: documents. 2: documents with what belongs to them",
    "filter": "Only what fits: `FIELD eq|ne VALUE`, joined by `and`, `or`, `not` and parentheses",
}


class Error(msgspec.Struct, kw_only=True):
    """What went wrong, as a sentence; `error_code` is the HTTP status."""

    type: str
    status: str
    status_code: int
    operation: str
    error_code: int
    error: str
    metadata: Any


def document(families: Iterable[Routes]) -> dict[str, Any]:
    """The whole of it, as JSON has it."""
    served = [(family, route) for family in families for route in family.routes if route.path.startswith("/1.0")]
    types = _Types(route for _, route in served)
    tagged = {route.path for _, route in served if route.method == "GET" and Tagged in returned(route)}
    paths: dict[str, dict[str, Any]] = {}
    for family, route in served:
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(family, route, types, route.path in tagged)
    return {
        "openapi": "3.1.0",
        "info": {"title": "hutch", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": dict(sorted(types.components.items()))},
    }


def returned(route: Route) -> tuple[Any, ...]:
    """What the handler's annotation says that it answers."""
    annotation = inspect.signature(route.handler).return_annotation
    return get_args(annotation) if _is_union(annotation) else (annotation,)


def given(route: Route) -> tuple[Any, ...]:
    """What the sync answers hold: as declared, or else as the handler's annotation says."""
    if route.gives is not None:
        return _several(route.gives)
    plain = [each for each in returned(route) if each not in (Operation, Created)]
    return tuple(bytes if inspect.isclass(each) and issubclass(each, web.StreamResponse) else each for each in plain)


def undeclared(route: Route) -> bool:
    """Whether nothing says what the route answers."""
    return any(each in (Any, Tagged, Rendered, inspect.Signature.empty) for each in given(route))


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (UnionType, Union)


def _several(declared: Any) -> tuple[Any, ...]:
    return declared if isinstance(declared, tuple) else (declared,)


class _Types:
    """The schema of every document that a route names; `components` holds those that have a name."""

    def __init__(self, routes: Iterable[Route]) -> None:
        wanted: list[Any] = [Error, OperationAnswer]
        for route in routes:
            wanted += [each for each in (*_several(route.takes), *given(route)) if _is_document(each)]
        schemas, components = msgspec.json.schema_components(wanted, ref_template="#/components/schemas/{name}")
        self._known = list(zip(wanted, schemas, strict=True))
        self.components: dict[str, Schema] = components

    def __getitem__(self, kind: Any) -> Schema:
        if kind is None or kind is type(None):
            return {"type": "null"}
        if kind is Any:
            return {}
        return next(schema for known, schema in self._known if known == kind)

    def any_of(self, kinds: Iterable[Any]) -> Schema:
        schemas = [self[kind] for kind in kinds]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def answer(self, name: str, kind: str, metadata: Schema) -> Schema:
        """A reference to the envelope around `metadata`, which is called `name`."""
        code = {"sync": 200, "async": 100}[kind]
        members: Schema = {
            "type": {"type": "string", "const": kind},
            "status": {"type": "string"},
            "status_code": {"type": "integer", "const": code},
            "operation": {"type": "string"},
            "error_code": {"type": "integer"},
            "error": {"type": "string"},
            "metadata": metadata,
        }
        self.components[name] = {"type": "object", "required": list(members), "properties": members}
        return {"$ref": f"#/components/schemas/{name}"}


def _is_document(kind: Any) -> bool:
    return kind not in (None, type(None), Any, bytes, Bare, Text, Upgrade, Tagged, Rendered, inspect.Signature.empty)


def _operation(family: Routes, route: Route, types: _Types, tagged: bool) -> dict[str, Any]:
    name = _name(route)
    found: dict[str, Any] = {
        "operationId": name,
        "tags": [route.path.split("/")[2] if route.path.count("/") > 1 else "server"],
        "summary": _summary(route),
        "parameters": list(_parameters(family, route, tagged)),
        "responses": _responses(route, types, name),
    }
    if route.takes is not None:
        content = {_RAW if kind is bytes else _JSON: {"schema": _body(kind, types)} for kind in _several(route.takes)}
        found["requestBody"] = {"content": content}
    return found


def _body(kind: Any, types: _Types) -> Schema:
    return {"type": "string", "format": "binary"} if kind is bytes else types[kind]


def _name(route: Route) -> str:
    words = [re.sub(r"\W", "_", re.sub(r":.*", "", word).strip("{}")) for word in route.path.split("/")[2:]]
    return "_".join([route.method.lower(), *filter(None, words)]) if any(words) else f"{route.method.lower()}_server"


def _summary(route: Route) -> str:
    if route.handler.__doc__:
        return inspect.cleandoc(route.handler.__doc__).partition("\n")[0]
    verb = {"GET": "Show", "POST": "Make or act on", "PUT": "Replace", "PATCH": "Change", "DELETE": "Remove"}
    return f"{verb.get(route.method, route.method)} {route.path.removeprefix('/1.0').lstrip('/') or 'the server'}"


def _is_listing(route: Route) -> bool:
    return route.method == "GET" and any(
        get_origin(kind) is list
        and inspect.isclass(get_args(kind)[0])
        and issubclass(get_args(kind)[0], msgspec.Struct)
        for kind in given(route)
    )


def _parameters(family: Routes, route: Route, tagged: bool) -> Iterator[Schema]:
    for name in re.findall(r"\{(\w+)", route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    query = dict(route.query)
    if family.scoped:
        query["project"] = "The project; `default` when it is not given"
    if _is_listing(route):
        query |= _LISTING
        if family.scoped and "{" not in route.path:
            query["all-projects"] = "true: of every project"
    for name, text in query.items():
        yield {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
    if tagged and route.method in ("PUT", "PATCH"):
        text = "The ETag of the document that was read: 412 when it has changed since"
        yield {"name": "If-Match", "in": "header", "description": text, "schema": {"type": "string"}}


def _responses(route: Route, types: _Types, name: str) -> dict[str, Any]:
    kinds, found = returned(route), dict[str, Any]()
    title = "".join(word.capitalize() for word in name.split("_"))
    location = {"Location": {"schema": {"type": "string"}, "description": "The URL of what was made"}}
    if plain := given(route):
        found |= _sync(plain, types, title, listing=_is_listing(route), tagged=Tagged in kinds)
    if Created in kinds:
        answer = types.answer("EmptyAnswer", "sync", {"type": "null"})
        found["201"] = {"description": "Made", "headers": location, "content": {_JSON: {"schema": answer}}}
    if Operation in kinds:
        answer = types.answer("OperationAnswer", "async", types[OperationAnswer])
        found["202"] = {"description": "Begun", "headers": location, "content": {_JSON: {"schema": answer}}}
    error = {"description": "Refused, or failed", "content": {_JSON: {"schema": types[Error]}}}
    return found | {"default": error}


def _sync(plain: tuple[Any, ...], types: _Types, title: str, *, listing: bool, tagged: bool) -> dict[str, Any]:
    if Upgrade in plain:
        return {"101": {"description": "The connection is the stream from here on"}}
    if Bare in plain:
        return {"200": {"description": "Done", "content": {_JSON: {"schema": {"type": "object"}}}}}
    if Text in plain:
        return {"200": {"description": "Done", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    content: dict[str, Any] = {}
    if bytes in plain:
        content[_RAW] = {"schema": {"type": "string", "format": "binary"}}
    documents = [kind for kind in plain if kind is not bytes]
    if documents:
        metadata = types.any_of(documents)
        if listing:
            urls = {"type": "array", "items": {"type": "string"}}
            metadata = {"anyOf": [*metadata.get("anyOf", [metadata]), urls]}
        empty = documents in ([None], [type(None)])
        content[_JSON] = {"schema": types.answer("EmptyAnswer" if empty else f"{title}Answer", "sync", metadata)}
    found: dict[str, Any] = {"description": "Done", "content": content}
    if tagged:
        found["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "Stands for what can be edited"}}
    return {"200": found}
