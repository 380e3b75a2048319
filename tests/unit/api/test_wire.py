"""How answers become HTTP: the envelope of api-compat section 2."""

import json
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from hutch.access.callers import Caller, Permission
from hutch.api.wire import Created, Rendered, Request, Routes, Tagged, application, etag
from hutch.errors import Invalid, NotFound
from hutch.service.parts import Parts
from hutch.work.events import Requestor


class Body(msgspec.Struct):
    name: str = ""
    size: int = 0


def _routes() -> Routes:
    routes = Routes()

    @routes("GET", "/1.0/things")
    async def listing(request: Request) -> Any:
        return request.matching([{"name": "a"}, {"name": "b"}])

    @routes("GET", "/1.0/things/{name}", needs=Permission.EVERYBODY)
    async def one(request: Request) -> Tagged:
        if request["name"] == "missing":
            raise NotFound("Thing not found")
        return Tagged({"name": request["name"], "volatile": "x"}, {"name": request["name"]})

    @routes("PUT", "/1.0/things/{name}")
    async def put(request: Request) -> None:
        request.match_etag({"name": request["name"]})

    @routes("POST", "/1.0/things")
    async def post(request: Request, body: Body) -> Created:
        if body.size < 0:
            raise Invalid("a negative size")
        return Created(request.url("things", body.name))

    @routes("GET", "/1.0/rendered")
    async def rendered(request: Request) -> Rendered:
        return Rendered(b'[{"a":1}]')

    @routes("GET", "/1.0/broken")
    async def broken(request: Request) -> None:
        raise ZeroDivisionError("oh")

    @routes("GET", "/1.0/instances/{name}")
    async def instance(request: Request) -> list[str]:
        return [request.collection]

    return routes


@pytest.fixture
async def client() -> Any:
    trusted = SimpleNamespace(value=True)
    parts = cast(Parts, SimpleNamespace(state=None))
    app = application(parts, lambda _: Caller(trusted.value, Requestor("root")), [_routes()])
    async with TestClient(TestServer(app)) as client:
        client.trusted = trusted  # type: ignore[attr-defined]
        yield client


async def _json(response: Any) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(await response.text()))


async def test_a_sync_answer_has_all_seven_members(client: Any) -> None:
    answer = await _json(await client.get("/1.0/things"))
    assert answer == {
        "type": "sync",
        "status": "Success",
        "status_code": 200,
        "operation": "",
        "error_code": 0,
        "error": "",
        "metadata": [{"name": "a"}, {"name": "b"}],
    }


async def test_a_creation_answers_201_with_a_location(client: Any) -> None:
    response = await client.post("/1.0/things", data=b'{"name": "a/b c", "unknown": null}')
    assert (response.status, response.headers["Location"]) == (201, "/1.0/things/a%2Fb%20c")
    assert (await _json(response))["status_code"] == 200


async def test_an_error_has_its_code_and_sentence(client: Any) -> None:
    response = await client.get("/1.0/things/missing")
    body = await _json(response)
    assert response.status == 404
    assert (body["type"], body["error_code"], body["error"], body["metadata"]) == (
        "error",
        404,
        "Thing not found",
        None,
    )
    assert (await client.post("/1.0/things", data=b'{"size": -1}')).status == 400
    assert (await client.post("/1.0/things", data=b'{"size": "many"}')).status == 400
    assert (await client.post("/1.0/things", data=b"{")).status == 400
    assert (await client.get("/1.0/broken")).status == 500


async def test_unknown_paths_and_methods(client: Any) -> None:
    assert (await client.get("/1.0/nothing")).status == 404
    response = await client.delete("/1.0/things")
    assert (response.status, (await _json(response))["error"]) == (501, "not implemented")


async def test_an_etag_stands_for_what_can_be_edited(client: Any) -> None:
    tag = (await client.get("/1.0/things/a")).headers["ETag"]
    assert tag == f'"{etag({"name": "a"})}"'
    assert (await client.put("/1.0/things/a", headers={"If-Match": tag})).status == 200
    assert (await client.put("/1.0/things/a", headers={"If-Match": tag.strip('"')})).status == 200
    assert (await client.put("/1.0/things/a")).status == 200
    response = await client.put("/1.0/things/a", headers={"If-Match": '"00"'})
    assert response.status == 412
    assert (await _json(response))["error"].startswith("ETag doesn't match")


async def test_the_untrusted_reach_only_what_is_open_to_them(client: Any) -> None:
    client.trusted.value = False
    assert (await client.get("/1.0/things/a")).status == 200
    response = await client.get("/1.0/things")
    assert (response.status, (await _json(response))["error"]) == (403, "Forbidden")


async def test_the_old_names_of_the_instances_tree_are_served_and_echoed(client: Any) -> None:
    for name in ("instances", "containers", "virtual-machines"):
        assert (await _json(await client.get(f"/1.0/{name}/c1")))["metadata"] == [name]


async def test_rendered_json_is_joined_not_encoded_again(client: Any) -> None:
    assert (await _json(await client.get("/1.0/rendered")))["metadata"] == [{"a": 1}]


async def test_a_filter_that_cannot_be_read_is_refused_in_lxds_words(client: Any) -> None:
    response = await client.get("/1.0/things?filter=name")
    assert response.status == 400
    assert (await _json(response))["error"].startswith("Invalid filter:")
