"""Who is let in where: every route that is registered, asked for by every kind of client."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from hutch import registry
from hutch.access.callers import Caller
from hutch.api import routes as families
from hutch.api.wire import Request, Route, Routes, application
from hutch.schema.project import ProjectRecord
from hutch.service.parts import Parts
from hutch.store.records import State
from hutch.store.sqlite import SqliteStore
from hutch.work.events import Requestor

MINE = frozenset({"mine", "sharing"})
"""What the restricted client sees: `mine` has everything of its own, `sharing` shares it with the default project."""

CLIENTS = {
    "stranger": Caller(trusted=False, requestor=Requestor(protocol="tls")),
    "metrics": Caller(trusted=False, requestor=Requestor(protocol="tls"), is_metrics=True),
    "restricted": Caller(trusted=True, requestor=Requestor(protocol="tls"), projects=MINE),
    "full": Caller(trusted=True, requestor=Requestor(protocol="tls")),
    "local": Caller(trusted=True, requestor=Requestor(protocol="unix")),
}

EVERYBODY = {*CLIENTS, "other"}
"""`other` is the restricted client in a project that is not its own, `shared` in one that changes the default project's things."""
TRUSTED = {"restricted", "other", "shared", "full", "local"}
INSIDE = {"restricted", "shared", "full", "local"}
OWN = {"restricted", "full", "local"}
ALL = EVERYBODY | {"shared"}

TABLE: dict[str, set[str]] = {
    "GET /": ALL,
    "GET /1.0": ALL,
    "GET /1.0/certificates": TRUSTED,
    "POST /1.0/certificates": ALL,
    "* /1.0/certificates/{fingerprint}": TRUSTED,
    "GET /1.0/checkpoint": TRUSTED,
    "GET /1.0/cluster": TRUSTED,
    "GET /1.0/events": INSIDE,
    "GET /1.0/images": ALL,
    "POST /1.0/images": ALL,
    "GET /1.0/images/aliases": INSIDE,
    "POST /1.0/images/aliases": OWN,
    "GET /1.0/images/aliases/{name}": ALL,
    "* /1.0/images/aliases/{name}": OWN,
    "GET /1.0/images/{fingerprint}": ALL,
    "GET /1.0/images/{fingerprint}/export": ALL,
    "* /1.0/images/{fingerprint}": OWN,
    "* /1.0/images/{fingerprint}/export": OWN,
    "* /1.0/images/{fingerprint}/refresh": OWN,
    "* /1.0/images/{fingerprint}/secret": OWN,
    "* /1.0/instances": INSIDE,
    "* /1.0/instances/{name}": INSIDE,
    "* /1.0/instances/{name}/checkpoint-check": INSIDE,
    "* /1.0/instances/{name}/backups": INSIDE,
    "* /1.0/instances/{name}/backups/{backup}": INSIDE,
    "* /1.0/instances/{name}/backups/{backup}/export": INSIDE,
    "* /1.0/instances/{name}/console": INSIDE,
    "* /1.0/instances/{name}/exec": INSIDE,
    "* /1.0/instances/{name}/files": INSIDE,
    "* /1.0/instances/{name}/logs": INSIDE,
    "* /1.0/instances/{name}/logs/{file}": INSIDE,
    "* /1.0/instances/{name}/logs/exec-output": INSIDE,
    "* /1.0/instances/{name}/logs/exec-output/{file}": INSIDE,
    "* /1.0/instances/{name}/metadata": INSIDE,
    "* /1.0/instances/{name}/metadata/templates": INSIDE,
    "* /1.0/instances/{name}/rebuild": INSIDE,
    "* /1.0/instances/{name}/sftp": INSIDE,
    "* /1.0/instances/{name}/snapshots": INSIDE,
    "* /1.0/instances/{name}/snapshots/{snapshot}": INSIDE,
    "* /1.0/instances/{name}/state": INSIDE,
    "GET /1.0/metrics": ALL,
    "GET /1.0/networks": INSIDE,
    "GET /1.0/network-acls": INSIDE,
    "GET /1.0/network-zones": INSIDE,
    "POST /1.0/network-zones": OWN,
    "GET /1.0/network-zones/{name}": INSIDE,
    "* /1.0/network-zones/{name}": OWN,
    "GET /1.0/network-zones/{zone}/records": INSIDE,
    "POST /1.0/network-zones/{zone}/records": OWN,
    "GET /1.0/network-zones/{zone}/records/{name}": INSIDE,
    "* /1.0/network-zones/{zone}/records/{name}": OWN,
    "GET /1.0/network-allocations": INSIDE,
    "GET /1.0/network-acls/{name}": INSIDE,
    "POST /1.0/network-acls": OWN,
    "* /1.0/network-acls/{name}": OWN,
    "GET /1.0/networks/{name}": INSIDE,
    "GET /1.0/networks/{name}/forwards": INSIDE,
    "GET /1.0/networks/{name}/forwards/{address}": INSIDE,
    "GET /1.0/networks/{name}/leases": INSIDE,
    "GET /1.0/networks/{name}/state": INSIDE,
    "GET /1.0/metadata/configuration": TRUSTED,
    "GET /1.0/openapi.json": TRUSTED,
    "GET /1.0/operations": INSIDE,
    "* /1.0/operations/{id}": TRUSTED,
    "GET /1.0/operations/{id}/wait": ALL,
    "GET /1.0/operations/{id}/websocket": ALL,
    "GET /1.0/profiles": INSIDE,
    "POST /1.0/profiles": OWN,
    "GET /1.0/profiles/{name}": INSIDE,
    "* /1.0/profiles/{name}": OWN,
    "GET /1.0/projects": TRUSTED,
    "GET /1.0/projects/{name}": TRUSTED,
    "GET /1.0/projects/{name}/state": TRUSTED,
    "GET /1.0/resources": TRUSTED,
    "GET /1.0/storage-pools": TRUSTED,
    "GET /1.0/storage-pools/{name}": TRUSTED,
    "GET /1.0/storage-pools/{name}/resources": TRUSTED,
    "GET /1.0/storage-pools/{name}/volumes": INSIDE,
    "GET /1.0/storage-pools/{name}/volumes/{type}": INSIDE,
    "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}": INSIDE,
    "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/backups": INSIDE,
    "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/backups/{backup}": INSIDE,
    "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/backups/{backup}/export": INSIDE,
    "* /1.0/storage-pools/{name}/volumes/{type}/{volume}/backups": OWN,
    "* /1.0/storage-pools/{name}/volumes/{type}/{volume}/backups/{backup}": OWN,
    "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots": INSIDE,
    "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}": INSIDE,
    "* /1.0/storage-pools/{name}/volumes": OWN,
    "* /1.0/storage-pools/{name}/volumes/{type}": OWN,
    "* /1.0/storage-pools/{name}/volumes/{type}/{volume}": OWN,
    "* /1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots": OWN,
    "* /1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}": OWN,
    "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/state": INSIDE,
    "* /internal/moves/{id}": ALL,
    "* /internal/ready": {"local"},
    "* /internal/recover/import": {"local"},
    "* /internal/recover/validate": {"local"},
    "* /internal/shutdown": {"local"},
}
"""Who may; what is not here is for unrestricted clients alone. `*` stands for the methods that are not here by name."""


ROUTES: list[Route] = [route for module in registry.modules(families) for route in module.routes.routes]


def _expected(route: Route) -> set[str]:
    path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)
    for key in (f"{route.method} {path}", f"{'GET' if route.method == 'HEAD' else route.method} {path}", f"* {path}"):
        if key in TABLE:
            return TABLE[key]
    return {"full", "local"}


async def _let_in(request: Request) -> None:
    """In the place of every handler: whoever gets here was let in."""


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Any]:
    """Every route with nothing behind it; `client.caller` says who comes next."""
    store = await SqliteStore.open(tmp_path / "db")
    state = State(store)
    features = ("images", "profiles", "networks", "networks.zones", "storage.volumes", "storage.buckets")
    await state.put(
        ProjectRecord(name="default"),
        ProjectRecord(name="mine", config={f"features.{name}": "true" for name in features}),
        ProjectRecord(name="sharing"),
        ProjectRecord(name="other", config={f"features.{name}": "true" for name in features}),
    )
    bare = Routes(routes=[replace(route, handler=_let_in, takes=None) for route in ROUTES])
    current = SimpleNamespace(caller=CLIENTS["full"])
    app = application(cast(Parts, SimpleNamespace(state=state)), lambda _: current.caller, [bare])
    async with TestClient(TestServer(app)) as client:
        client.current = current  # type: ignore[attr-defined]
        yield client
    await store.close()


async def test_every_route_lets_in_whom_it_should(doors: Any) -> None:
    wrong = []
    for route in ROUTES:
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        cases = [(name, caller, "mine" if name == "restricted" else "default") for name, caller in CLIENTS.items()]
        cases += [("other", CLIENTS["restricted"], "other"), ("shared", CLIENTS["restricted"], "sharing")]
        for name, caller, project in cases:
            doors.current.caller = caller
            answer = await doors.request(route.method, f"{path}?project={project}")
            if (answer.status != 403) != (name in _expected(route)):
                wrong.append(f"{route.method} {route.path}: {name} was answered with {answer.status}")
    assert wrong == []


async def test_asking_for_all_projects_opens_nothing_but_listings(doors: Any) -> None:
    doors.current.caller = CLIENTS["restricted"]
    opened = []
    for route in ROUTES:
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        if _expected(route) >= {"other"}:
            continue
        answer = await doors.request(route.method, f"{path}?all-projects=true&project=other")
        if answer.status != 403:
            opened.append(f"{route.method} {route.path}")
    assert sorted(opened) == [
        "GET /1.0/events",
        "GET /1.0/instances",
        "GET /1.0/operations",
        "GET /1.0/profiles",
        "GET /1.0/storage-pools/{name}/volumes",
        "GET /1.0/storage-pools/{name}/volumes/{type}",
    ]
