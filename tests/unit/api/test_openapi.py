"""The OpenAPI document tells of every route, and every route says what it takes and gives."""

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from hutch import registry
from hutch.api import openapi
from hutch.api import routes as families
from hutch.api.wire import Created, Request, Route, Routes, Tagged
from hutch.work.operations import Operation

FAMILIES: list[Routes] = [module.routes for module in registry.modules(families)]
ROUTES: list[Route] = [route for family in FAMILIES for route in family.routes]


class Thing(msgspec.Struct):
    name: str
    size: int = 0


def _of(*declared: Routes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(msgspec.json.encode(openapi.document(declared)))
    return found


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_declares_what_it_gives_and_takes(route: Route) -> None:
    assert not openapi.undeclared(route), "say gives=TYPE, or annotate what the handler answers (docs/decisions/022)"
    if "request.read(" in inspect.getsource(route.handler) or "http.read(" in inspect.getsource(route.handler):
        assert route.takes is not None, "make the document the handler's second parameter, or say takes=TYPE"


def test_every_path_is_described_and_every_reference_leads_somewhere() -> None:
    document = _of(*FAMILIES)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {
        (route.method, re.sub(r":[^}]*\}", "}", route.path)) for route in ROUTES if route.path.startswith("/1.0")
    }
    names = re.findall(r'"\$ref": ?"#/components/schemas/([^"]+)"', json.dumps(document))
    assert set(names) <= set(document["components"]["schemas"])
    ids = [each["operationId"] for methods in document["paths"].values() for each in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_signature_of_a_handler_is_its_declaration() -> None:
    routes = Routes()

    @routes("GET", "/1.0/things", gives=list[Thing])
    async def listing(request: Request) -> Any: ...

    @routes("POST", "/1.0/things")
    async def post(request: Request, wanted: Thing) -> Operation | Created: ...

    @routes("GET", "/1.0/things/{name}", gives=Thing, query={"depth": "How deep"})
    async def one(request: Request) -> Tagged: ...

    @routes("PUT", "/1.0/things/{name}")
    async def put(request: Request, wanted: Thing) -> None: ...

    paths = _of(routes)["paths"]

    def parameters(operation: dict[str, Any]) -> Iterator[str]:
        return (each["name"] for each in operation["parameters"])

    assert set(parameters(paths["/1.0/things"]["get"])) == {"project", "recursion", "filter", "all-projects"}
    post_ = paths["/1.0/things"]["post"]
    assert post_["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Thing"}
    assert set(post_["responses"]) == {"201", "202", "default"}
    assert set(parameters(paths["/1.0/things/{name}"]["get"])) == {"name", "project", "depth"}
    assert "ETag" in paths["/1.0/things/{name}"]["get"]["responses"]["200"]["headers"]
    assert "If-Match" in set(parameters(paths["/1.0/things/{name}"]["put"]))
