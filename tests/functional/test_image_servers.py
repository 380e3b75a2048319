"""Images of servers that only have files: found by alias, checked by fingerprint, kept up to date, gone when unused."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from hutch.schema.base import now
from hutch.schema.server import ServerRecord
from hutch.service import image_upkeep
from tests import archives
from tests.archives import member
from tests.catalogue import Catalogue, tls
from tests.functional.test_image_access import Server, server

__all__ = ["server"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the check of images needs root")


@dataclass
class Streams:
    """A catalogue that is served; `asked` has the paths that were asked for."""

    catalogue: Catalogue
    address: str
    certificate: str
    asked: list[str]

    def source(self, **more: str) -> dict[str, str]:
        usual = {"type": "image", "mode": "pull", "server": self.address, "protocol": "simplestreams"}
        return usual | {"certificate": self.certificate} | more


@pytest.fixture
async def streams(tmp_path: Path) -> AsyncIterator[Streams]:
    folder, keys = tmp_path / "served", tmp_path / "keys"
    folder.mkdir()
    keys.mkdir()
    asked: list[str] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path.startswith("/go/"):
            path = folder / request.path.removeprefix("/go/")
            digest = hashlib.sha256(await asyncio.to_thread(path.read_bytes)).hexdigest()
            where = str(request.url.with_path(f"/{path.name}"))
            return web.Response(headers={"LXD-Image-Hash": digest, "LXD-Image-URL": where})
        path = folder / request.path.lstrip("/")
        if not await asyncio.to_thread(path.is_file):
            raise web.HTTPNotFound
        return web.FileResponse(path)

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    context, certificate = await asyncio.to_thread(tls, keys)
    served = TestServer(app, scheme="https")
    await served.start_server(ssl=context)
    yield Streams(Catalogue(folder), f"https://127.0.0.1:{served.port}", certificate, asked)
    await served.close()


Maker = Callable[[str], tuple[Path, Path]]


@pytest.fixture
def split(tmp_path: Path) -> Maker:
    """Makes the two files of an image that holds a text."""

    def make(text: str) -> tuple[Path, Path]:
        folder = tmp_path / f"root-{text}"
        (folder / "etc").mkdir(parents=True)
        (folder / "etc/text").write_text(text)
        metadata = archives.tar(
            tmp_path / f"meta-{text}", [member("metadata.yaml", archives.METADATA.encode())], compression="xz"
        )
        return metadata, archives.squashfs(tmp_path / f"{text}.squashfs", folder)

    return make


async def _failure(server: Server, source: dict[str, str]) -> str:
    """Why an image of this source is not there in the end; nothing of it is left."""
    status, answer = await server.call("POST", "/1.0/images", {"source": source})
    if status >= 400:
        return str(answer)
    operation = server.parts.operations.get(answer["id"])
    await operation.wait(20)
    assert server.stored() == set()
    error: str = operation.error
    return error


async def test_a_split_image_comes_by_its_alias(server: Server, streams: Streams, split: Maker) -> None:
    older = streams.catalogue.add("box/1", "20250101_05:00", *split("older"))
    newer = streams.catalogue.add("box/1", "20250202_05:00", *split("newer"))
    streams.catalogue.add("box/1", "20260101_05:00", *split("foreign"), arch="s390x")
    wish = {"source": streams.source(alias="box/1"), "aliases": [{"name": "mine"}], "properties": {"note": "kept"}}
    done = await server.done("POST", "/1.0/images", json=wish)
    assert done["fingerprint"] == newer != older
    image = (await server.call("GET", f"/1.0/images/{newer}"))[1]
    assert image["properties"]["release"] == "box/1"
    assert image["properties"]["serial"] == "20250202_05:00"
    assert image["properties"]["note"] == "kept"
    assert [alias["name"] for alias in image["aliases"]] == ["mine"]
    assert image["update_source"]["server"] == streams.address
    assert (image["update_source"]["protocol"], image["update_source"]["alias"]) == ("simplestreams", "box/1")
    assert server.stored() == {newer, f"{newer}.rootfs", f"{newer}.contents"}


async def test_a_unified_image_comes_by_its_fingerprint(server: Server, streams: Streams, tmp_path: Path) -> None:
    path = archives.image(tmp_path / "small", member("rootfs/a", b"1"), compression="gzip")
    fingerprint = streams.catalogue.add("small", "20250101_05:00", path)
    done = await server.done("POST", "/1.0/images", json={"source": streams.source(fingerprint=fingerprint[:12])})
    assert done["fingerprint"] == fingerprint


async def test_an_image_comes_from_the_url_that_another_url_names(
    server: Server, streams: Streams, tmp_path: Path
) -> None:
    path = archives.image(streams.catalogue.folder / "small.tar", member("rootfs/a", b"1"))
    source = {"type": "url", "url": f"{streams.address}/go/small.tar", "certificate": streams.certificate}
    done = await server.done("POST", "/1.0/images", json={"source": source, "public": True})
    assert done["fingerprint"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (await server.call("GET", f"/1.0/images/{done['fingerprint']}"))[1]["filename"] == "small.tar"


async def test_a_url_that_names_no_image_is_refused(server: Server, streams: Streams) -> None:
    (streams.catalogue.folder / "page").write_text("hello")
    source = {"type": "url", "certificate": streams.certificate}
    assert "LXD-Image-Hash" in await _failure(server, source | {"url": f"{streams.address}/page"})
    assert "status 404" in await _failure(server, source | {"url": f"{streams.address}/missing"})
    assert "https://" in await _failure(server, source | {"url": "http://127.0.0.1/x"})


def _longer(streams: Streams) -> None:
    for path in streams.catalogue.folder.rglob("squashfs"):
        path.write_bytes(path.read_bytes() + b"more")


def _changed(streams: Streams) -> None:
    for path in streams.catalogue.folder.rglob("squashfs"):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _shorter(streams: Streams) -> None:
    for path in streams.catalogue.folder.rglob("squashfs"):
        path.write_bytes(path.read_bytes()[:100])


def _missing(streams: Streams) -> None:
    for path in streams.catalogue.folder.rglob("squashfs"):
        path.unlink()


def _no_index(streams: Streams) -> None:
    (streams.catalogue.folder / "streams/v1/index.json").write_text("<html>")


def _climbs(streams: Streams) -> None:
    document = json.loads((streams.catalogue.folder / "streams/v1/images.json").read_text())
    text = json.dumps(document).replace("images/box", "../images/box")
    (streams.catalogue.folder / "streams/v1/images.json").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_longer, "is longer than"),
        (_changed, "fingerprints don't match"),
        (_shorter, "fingerprints don't match"),
        (_missing, "status 404"),
        (_no_index, "not in the simplestreams format"),
        (_climbs, "invalid path"),
    ],
)
async def test_what_is_not_as_promised_is_not_taken(
    server: Server, streams: Streams, split: Maker, spoil: Callable[[Streams], None], why: str
) -> None:
    streams.catalogue.add("box", "20250101_05:00", *split("text"))
    spoil(streams)
    assert why in await _failure(server, streams.source(alias="box"))


async def test_a_server_that_cannot_be_asked_is_named(
    server: Server, streams: Streams, split: Maker, tmp_path: Path
) -> None:
    streams.catalogue.add("other", "20250101_05:00", *split("text"), arch="s390x")
    (tmp_path / "stranger").mkdir()
    stranger = (await asyncio.to_thread(tls, tmp_path / "stranger"))[1]
    assert f"{streams.address}: there is no image 'box'" in await _failure(server, streams.source(alias="box"))
    assert "is there for s390x only" in await _failure(server, streams.source(alias="other"))
    assert "another certificate" in await _failure(server, streams.source(alias="box", certificate=stranger))
    assert "cannot be fetched from" in await _failure(server, streams.source(alias="box", certificate=""))
    assert "cannot be fetched" in await _failure(server, streams.source(alias="box", server="https://127.0.0.1:1"))
    assert "https://" in await _failure(server, streams.source(alias="box", server="http://127.0.0.1:1"))
    assert "protocol 'gopher'" in await _failure(server, streams.source(alias="box", protocol="gopher"))
    assert "alias or fingerprint" in await _failure(server, streams.source())


async def _fetched(server: Server, streams: Streams, **wish: Any) -> str:
    wanted = {"source": streams.source(alias="box"), "aliases": [{"name": "mine"}], **wish}
    fingerprint: str = (await server.done("POST", "/1.0/images", json=wanted))["fingerprint"]
    return fingerprint


async def test_an_image_follows_its_alias(server: Server, streams: Streams, split: Maker) -> None:
    streams.catalogue.add("box", "20250101_05:00", *split("older"))
    older = await _fetched(server, streams, auto_update=True, public=True)
    assert (await server.done("POST", f"/1.0/images/{older}/refresh"))["refreshed"] is False
    newer = streams.catalogue.add("box", "20250202_05:00", *split("newer"))
    await image_upkeep.update(server.parts)
    assert (await server.call("GET", f"/1.0/images/{older}"))[0] == 404
    image = (await server.call("GET", "/1.0/images/" + newer))[1]
    assert (image["auto_update"], image["public"], image["aliases"][0]["name"]) == (True, True, "mine")
    assert server.stored() == {newer, f"{newer}.rootfs", f"{newer}.contents"}


async def test_an_image_that_is_not_to_follow_stays(server: Server, streams: Streams, split: Maker) -> None:
    streams.catalogue.add("box", "20250101_05:00", *split("older"))
    older = await _fetched(server, streams)
    newer = streams.catalogue.add("box", "20250202_05:00", *split("newer"))
    await image_upkeep.update(server.parts)
    assert (await server.call("GET", f"/1.0/images/{older}"))[0] == 200
    assert (await server.done("POST", f"/1.0/images/{older}/refresh"))["refreshed"] is True
    assert (await server.call("GET", f"/1.0/images/{newer}"))[0] == 200


async def test_a_server_that_is_away_costs_no_image(server: Server, streams: Streams, split: Maker) -> None:
    streams.catalogue.add("box", "20250101_05:00", *split("older"))
    older = await _fetched(server, streams, auto_update=True)
    _no_index(streams)
    await image_upkeep.update(server.parts)
    assert (await server.call("GET", f"/1.0/images/{older}"))[0] == 200


async def test_cached_images_go_when_nobody_used_them(server: Server, streams: Streams, split: Maker) -> None:
    streams.catalogue.add("box", "20250101_05:00", *split("text"))
    fingerprint = await _fetched(server, streams)
    later = now() + timedelta(days=11)
    await image_upkeep.expire(server.parts, later)
    assert (await server.call("GET", f"/1.0/images/{fingerprint}"))[0] == 200
    record = server.parts.state.images.get("default", fingerprint)
    await server.parts.state.put(replace(record, cached=True, last_used_at=now() + timedelta(days=2)))
    await image_upkeep.expire(server.parts, later)
    assert (await server.call("GET", f"/1.0/images/{fingerprint}"))[0] == 200
    await server.parts.state.put(ServerRecord(config={"images.remote_cache_expiry": "5"}))
    await image_upkeep.expire(server.parts, later)
    assert (await server.call("GET", f"/1.0/images/{fingerprint}"))[0] == 404
    assert server.stored() == set()
