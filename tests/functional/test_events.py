"""Operations and events as clients watch them."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator

import aiohttp
import pytest

from tests.functional.streams import connected, executed
from tests.hosts import ApiError, Host


@pytest.fixture(scope="module")
def box(host: Host) -> Iterator[str]:
    host.create("eventbox", "busybox")
    yield "eventbox"
    host.delete("eventbox")


async def test_events_of_an_operation_are_ordered_and_complete(host: Host, box: str) -> None:
    async with connected(host) as session:
        events = await session.ws_connect("http://hutch/1.0/events?type=operation")

        async def one() -> str:
            body = {"command": ["true"], "wait-for-websocket": False}
            async with session.post(f"http://hutch/1.0/instances/{box}/exec", json=body) as answer:
                return str((await answer.json())["metadata"]["id"])

        begun = await asyncio.gather(*(one() for _ in range(30)))
        states: dict[str, list[int]] = {}
        while sum(codes[-1] >= 200 for codes in states.values()) < 30:
            event = json.loads((await events.receive(timeout=10)).data)
            assert set(event) >= {"type", "timestamp", "metadata", "location", "project"}
            assert event["type"] == "operation"
            states.setdefault(event["metadata"]["id"], []).append(event["metadata"]["status_code"])
        assert set(states) == set(begun)
        assert all(codes == sorted(codes) and codes[-1] == 200 for codes in states.values())
        await events.close()


async def test_only_the_wanted_types_and_project_come(host: Host, box: str) -> None:
    async with connected(host) as session:
        base = "http://hutch/1.0/events"
        lifecycle = await session.ws_connect(f"{base}?type=lifecycle")
        elsewhere = await session.ws_connect(f"{base}?type=lifecycle&project=elsewhere")
        everything = await session.ws_connect(f"{base}?all-projects=true")
        host.call("PATCH", f"/1.0/instances/{box}", {"description": "changed"})
        event = json.loads((await lifecycle.receive(timeout=5)).data)
        assert (event["type"], event["metadata"]["action"]) == ("lifecycle", "instance-updated")
        assert event["metadata"]["source"] == f"/1.0/instances/{box}"
        assert event["metadata"]["requestor"]["protocol"] == "unix"
        kinds = {json.loads((await everything.receive(timeout=5)).data)["type"]}
        assert "lifecycle" in kinds or "logging" in kinds
        with pytest.raises(TimeoutError):
            await elsewhere.receive(timeout=0.5)
        for socket in (lifecycle, elsewhere, everything):
            await socket.close()


@pytest.mark.parametrize("query", ["type=nonsense", "project=default&all-projects=true"])
async def test_wrong_wishes_are_refused(host: Host, query: str) -> None:
    async with connected(host) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"http://hutch/1.0/events?{query}")
        assert refused.value.status == 400
    status, _, body = host.api.raw("GET", "/1.0/events")
    assert (status, json.loads(body)["type"]) == (400, "error")


async def test_a_listener_that_does_not_read_holds_nobody_up(host: Host, box: str) -> None:
    async with connected(host) as session:
        deaf = await session.ws_connect("http://hutch/1.0/events")
        began = time.monotonic()
        for _ in range(200):
            await asyncio.to_thread(host.get, f"/1.0/instances/{box}")
            await asyncio.to_thread(host.call, "PATCH", f"/1.0/instances/{box}", {"description": "x" * 1000})
        assert time.monotonic() - began < 20
        await deaf.close()


async def test_operations_are_listed_by_status_waited_for_and_forgotten_late(host: Host, box: str) -> None:
    async with executed(host, box, "sleep", "1.5") as command:
        url = f"/1.0/operations/{command.operation['id']}"
        assert url in host.get("/1.0/operations")["running"]
        listed = host.get("/1.0/operations?recursion=1")["running"]
        assert command.operation["id"] in [document["id"] for document in listed]
        assert host.get("/1.0/operations?project=other").get("running") is None
        began = time.monotonic()
        assert host.get(f"{url}/wait?timeout=0")["status"] == "Running"
        assert host.get(f"{url}/wait?timeout=1")["status"] == "Running"
        assert 0.9 < time.monotonic() - began < 1.5
        with pytest.raises(ApiError, match="can't be cancelled"):
            host.call("DELETE", url)
        assert (await command.wait())["status"] == "Success"
        assert host.get(url)["status_code"] == 200
        assert url in host.get("/1.0/operations")["success"]
        secret = next(iter(command.secrets.values()))
        assert host.get(f"{url}/wait?secret={secret}")["status_code"] == 200
        with pytest.raises(ApiError, match="Forbidden"):
            host.get(f"{url}/wait?secret=wrong")
        with pytest.raises(ApiError, match="number of seconds"):
            host.get(f"{url}/wait?timeout=soon")


def test_an_unknown_operation_is_not_found(host: Host) -> None:
    for path in ("", "/wait", "/websocket?secret=x"):
        assert host.api.raw("GET", f"/1.0/operations/0e0e0e0e-0000-4000-8000-000000000000{path}")[0] == 404
    assert host.api.raw("DELETE", "/1.0/operations/none")[0] == 404


def test_a_failed_operation_is_answered_with_200(host: Host, guest: Callable[..., str]) -> None:
    name = guest()
    answer = host.api.begin("PUT", f"/1.0/instances/{name}/state", {"action": "start"})
    status, _, text = host.api.raw("GET", f"{answer['operation']}/wait")
    document = json.loads(text)["metadata"]
    assert status == 200
    assert (document["status"], document["status_code"]) == ("Failure", 400)
    assert document["err"] == "The instance is already running"


def _stranger(host: Host, path: str, *more: str) -> int:
    """The status that somebody without trust gets."""
    words = (
        "curl",
        "--silent",
        "--insecure",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "--max-time",
        "5",
    )
    return int(host.run(*words, *more, f"https://127.0.0.1:8444{path}", check=False).stdout)


async def test_strangers_need_the_secret_and_nothing_else(host: Host, box: str) -> None:
    host.call("PATCH", "/1.0", {"config": {"core.https_address": "127.0.0.1:8444"}})
    try:
        async with executed(host, box, "cat", sockets=("0", "1")) as command:
            url = f"/1.0/operations/{command.operation['id']}"
            for path in ("/1.0/events", "/1.0/operations", url, f"{url}/wait", f"{url}/wait?secret=wrong"):
                assert await asyncio.to_thread(_stranger, host, path) == 403, path
            upgrade = [word for header in _UPGRADE for word in ("--header", header)]
            assert await asyncio.to_thread(_stranger, host, f"{url}/websocket?secret=wrong", *upgrade) == 403
            path = f"{url}/websocket?secret={command.secrets['2']}"
            assert await asyncio.to_thread(_stranger, host, path, "--http1.1", *upgrade) == 101
            secret = command.secrets["control"]
            assert await asyncio.to_thread(_stranger, host, f"{url}/wait?timeout=10&secret={secret}") == 200
    finally:
        host.call("PUT", "/1.0", {"config": {}})


_UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
