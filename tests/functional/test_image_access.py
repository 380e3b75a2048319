"""Who sees which image: projects, callers without trust, secrets. The real routes over the real store, in this process."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from hutch.access.callers import Caller
from hutch.api import wire
from hutch.api.routes import image_aliases, images
from hutch.schema.project import ProjectRecord
from hutch.service.parts import Parts
from hutch.store.records import State
from hutch.store.sqlite import SqliteStore
from hutch.work.events import Events, Requestor
from hutch.work.locks import Locks
from hutch.work.operations import Operations
from hutch.work.tasks import Tasks
from tests import archives
from tests.archives import member

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the check of images needs root")


class Server:
    """The application without runtime, pools and networks. `trusted` says what the next caller is."""

    def __init__(self, client: Any, parts: Any) -> None:
        self.client, self.parts, self.trusted = client, parts, True

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = await self.client.request(method, path, json=body)
        document = await answer.json()
        return answer.status, document["metadata"] if answer.status < 400 else document["error"]

    async def done(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        """The metadata of an operation that ended well."""
        answer = await (await self.client.request(method, path, **how)).json()
        operation = self.parts.operations.get(answer["metadata"]["id"])
        await operation.wait(20)
        assert operation.error == ""
        found: dict[str, Any] = operation.metadata
        return found

    async def upload(self, path: Path, *, project: str = "default", public: bool = False) -> str:
        headers = {"X-LXD-public": str(int(public)), "Content-Type": "application/octet-stream"}
        url = f"/1.0/images?project={project}"
        fingerprint: str = (await self.done("POST", url, data=data(path), headers=headers))["fingerprint"]
        return fingerprint

    def stored(self) -> set[str]:
        return set(os.listdir(self.parts.images))  # noqa: PTH208


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    store = await SqliteStore.open(tmp_path / "db")
    state, events, tasks = State(store), Events(), Tasks()
    for name, config in (
        ("default", {"features.images": "true"}),
        ("own", {"features.images": "true"}),
        ("shared", {}),
    ):
        await state.put(ProjectRecord(name=name, config=config))
    operations = Operations(events, tasks)
    folder = tmp_path / "images"
    folder.mkdir()
    parts = SimpleNamespace(
        state=state, events=events, operations=operations, locks=Locks(), tasks=tasks, images=folder, pools={}
    )

    def caller(_: object) -> Caller:
        return Caller(made.trusted, Requestor("root"))

    app = wire.application(cast(Parts, parts), caller, [image_aliases.routes, images.routes])
    async with TestClient(TestServer(app)) as client:
        made = Server(client, parts)
        yield made
    await tasks.close()
    await store.close()


def data(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return archives.image(tmp_path / "small", member("rootfs/a", b"1"))


async def test_projects_have_images_of_their_own_or_share_the_default_ones(server: Server, small: Path) -> None:
    fingerprint = await server.upload(small)
    await server.call("POST", "/1.0/images/aliases", {"name": "small", "target": fingerprint})
    assert await server.call("GET", "/1.0/images?project=own") == (200, [])
    assert await server.call("GET", "/1.0/images?project=missing") == (200, [])
    assert await server.call("GET", "/1.0/images?project=shared") == (
        200,
        [f"/1.0/images/{fingerprint}?project=shared"],
    )
    source = {"type": "image", "alias": "small", "project": "default"}
    await server.done("POST", "/1.0/images?project=own", json={"source": source, "aliases": [{"name": "mine"}]})
    assert (await server.call("GET", f"/1.0/images/{fingerprint}?project=own"))[1]["project"] == "own"
    assert (await server.call("GET", "/1.0/images/aliases/mine?project=own"))[1]["target"] == fingerprint
    assert (await server.call("GET", "/1.0/images/aliases/mine"))[0] == 404
    assert len((await server.call("GET", "/1.0/images?all-projects=true"))[1]) == 2
    await server.done("DELETE", f"/1.0/images/{fingerprint}")
    assert server.stored() == {fingerprint, f"{fingerprint}.contents"}
    await server.done("DELETE", f"/1.0/images/{fingerprint}?project=own")
    assert server.stored() == set()


async def test_nothing_comes_into_a_project_that_does_not_exist(server: Server, small: Path) -> None:
    answer = await server.client.post("/1.0/images?project=missing", data=data(small))
    assert (answer.status, (await answer.json())["error"]) == (404, "Project not found")
    assert server.stored() == set()


async def test_callers_without_trust_see_public_images_only(server: Server, small: Path, tmp_path: Path) -> None:
    private = await server.upload(small)
    public = await server.upload(archives.image(tmp_path / "other", member("rootfs/b", b"2")), public=True)
    for name, target in (("private", private), ("public", public)):
        await server.call("POST", "/1.0/images/aliases", {"name": name, "target": target})
    server.trusted = False
    assert await server.call("GET", "/1.0/images") == (200, [f"/1.0/images/{public}"])
    assert (await server.call("GET", f"/1.0/images/{public}"))[0] == 200
    assert await server.call("GET", f"/1.0/images/{private}") == (404, "Image not found")
    assert (await server.call("GET", "/1.0/images/aliases/public"))[0] == 200
    assert (await server.call("GET", "/1.0/images/aliases/private"))[0] == 404
    assert (await server.call("GET", "/1.0/images/aliases"))[0] == 403
    assert (await server.client.get(f"/1.0/images/{public}/export")).status == 200
    assert (await server.client.get(f"/1.0/images/{private}/export")).status == 404
    assert (await server.client.post("/1.0/images", data=b"x")).status == 403
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await server.call(method, f"/1.0/images/{public}", {}))[0] == 403


async def test_a_secret_opens_one_image(server: Server, small: Path, tmp_path: Path) -> None:
    private = await server.upload(small)
    other = await server.upload(archives.image(tmp_path / "other", member("rootfs/b", b"2")))
    _, operation = await server.call("POST", f"/1.0/images/{private}/secret")
    secret = operation["metadata"]["secret"]
    server.trusted = False
    answer = await server.client.get(f"/1.0/images/{private}/export?secret={secret}")
    assert await answer.read() == data(small)
    for path in (f"{other}/export?secret={secret}", f"{private}/export?secret=", f"{private}/export?secret=x"):
        assert (await server.client.get(f"/1.0/images/{path}")).status == 404
    await server.parts.operations.get(operation["id"]).cancel()
    assert (await server.client.get(f"/1.0/images/{private}/export?secret={secret}")).status == 404


async def test_two_uploads_of_one_image_at_once_make_one(server: Server, small: Path) -> None:
    answers = [await (await server.client.post("/1.0/images", data=data(small))).json() for _ in range(3)]
    operations = [server.parts.operations.get(answer["metadata"]["id"]) for answer in answers]
    for operation in operations:
        await operation.wait(20)
    assert sorted("already exists" in operation.error for operation in operations) == [False, True, True]
    fingerprint = next(operation.metadata["fingerprint"] for operation in operations if not operation.error)
    assert server.stored() == {fingerprint, f"{fingerprint}.contents"}


async def test_a_cancelled_import_leaves_nothing(server: Server, tmp_path: Path) -> None:
    noise = [member(f"rootfs/{number}", bytes(1 << 20)) for number in range(200)]
    path = archives.image(tmp_path / "big", *noise)
    answer = await (await server.client.post("/1.0/images", data=data(path))).json()
    operation = server.parts.operations.get(answer["metadata"]["id"])
    await operation.cancel()
    assert operation.status.text == "Cancelled"
    assert server.stored() == set()
