"""Fetches an image from another server that speaks this API, known by the certificate that the caller gives."""

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import MultipartReader

from hutch.errors import HutchError, Invalid, NotFound, Unavailable, Unsupported
from hutch.schema.base import strings
from hutch.schema.image import ImagePost, ImageSource
from hutch.service import image_form, image_import
from hutch.service.image_import import Upload
from hutch.service.parts import Parts
from hutch.work.operations import Operation

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)


def fetch(parts: Parts, project: str, wanted: ImagePost) -> Operation:
    """Accept the wish or refuse it now; do the work in an operation."""
    source = wanted.source
    if source.protocol not in ("", "lxd", "incus", "hutch"):
        raise Unsupported(f"Images cannot be fetched by the protocol {source.protocol!r} here: import the file instead")
    if not source.server.startswith("https://"):
        raise Invalid(f"Invalid server {source.server!r} to fetch an image from: https://HOST:PORT is expected")
    image_import.check_wish(parts, project, wanted)

    async def work(operation: Operation) -> None:
        async with image_import.uploading(parts) as upload, _session(source) as session:
            with _named_errors(source):
                document = await _document(session, source)
                await _download(session, source, document, upload, _teller(operation, document))
            if upload.digest.fingerprint != document["fingerprint"]:
                raise Invalid(
                    f"fingerprints don't match, got {upload.digest.fingerprint} expected {document['fingerprint']}"
                )
            wanted.properties = strings(document.get("properties")) | strings(wanted.properties)
            wanted.filename = wanted.filename or str(document.get("filename", ""))
            await image_import.record(parts, project, upload, wanted, operation, came_from(source))

    return parts.operations.start("Downloading image", work, project=project, may_cancel=True)


def came_from(source: ImageSource) -> dict[str, str]:
    """What is kept of where an image came from."""
    return {
        "server": source.server,
        "protocol": source.protocol or "lxd",
        "alias": source.alias or source.fingerprint,
        "certificate": source.certificate,
        "image_type": "container",
    }


@asynccontextmanager
async def _session(source: ImageSource) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=_trust(source.certificate))
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        yield session


def _trust(certificate: str) -> aiohttp.Fingerprint | bool:
    """The server must show this very certificate (PEM), or, when none is given, one that the host's authorities signed."""
    if not certificate:
        return True
    try:
        return aiohttp.Fingerprint(hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest())
    except ValueError as error:
        raise Invalid(f"the server's certificate is no PEM: {error}") from error


@contextmanager
def _named_errors(source: ImageSource) -> Iterator[None]:
    """What goes wrong on the way is told with the server's name."""
    try:
        yield
    except aiohttp.ServerFingerprintMismatch as error:
        raise Invalid(f"{source.server} has another certificate than the one that was given") from error
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"the image cannot be fetched from {source.server}: {error or 'no answer'}") from error


async def _get(session: aiohttp.ClientSession, source: ImageSource, *words: str, **query: str) -> Any:
    url = "/".join([f"{source.server.rstrip('/')}/1.0/images", *(quote(word, safe="") for word in words)])
    asked = {key: value for key, value in {**query, "project": source.project}.items() if value}
    async with session.get(f"{url}?{urlencode(asked)}") as answer:
        document = await answer.json(content_type=None)
        if answer.status == 404:
            raise NotFound(f"Image not found on {source.server}")
        if answer.status != 200 or not isinstance(document.get("metadata"), dict):
            raise HutchError(f"{source.server} says: {document.get('error') or answer.status}")
        return document["metadata"]


async def _document(session: aiohttp.ClientSession, source: ImageSource) -> dict[str, Any]:
    fingerprint = source.fingerprint
    if not fingerprint:
        fingerprint = str((await _get(session, source, "aliases", source.alias)).get("target", ""))
    found: dict[str, Any] = await _get(session, source, fingerprint, secret=source.secret)
    if found.get("type", "container") != "container":
        raise Unsupported("Images of virtual machines cannot be used here: this server runs containers")
    return found


Told = Callable[[int], None]


def _teller(operation: Operation, document: dict[str, Any]) -> Told:
    total, began = max(int(document.get("size", 0)), 1), time.monotonic()

    def told(size: int) -> None:
        speed = int(size / max(time.monotonic() - began, 0.001))
        operation.progress("download_progress", "rootfs", min(100, size * 100 // total), speed)

    return told


async def _download(
    session: aiohttp.ClientSession, source: ImageSource, document: dict[str, Any], upload: Upload, told: Told
) -> None:
    asked = {key: value for key, value in {"secret": source.secret, "project": source.project}.items() if value}
    url = f"{source.server.rstrip('/')}/1.0/images/{document['fingerprint']}/export?{urlencode(asked)}"
    async with session.get(url) as answer:
        if answer.status != 200:
            raise HutchError(f"{source.server} does not give the image: status {answer.status}")
        teller = asyncio.ensure_future(_tell(upload, told))
        try:
            if answer.content_type == "multipart/form-data":
                await image_form.receive(MultipartReader(answer.headers, answer.content), upload)
            else:
                await upload.digest.receive(answer.content.iter_any(), upload.arrived.main)
        finally:
            teller.cancel()


async def _tell(upload: Upload, told: Told) -> None:
    while True:
        await asyncio.sleep(0.25)
        told(upload.digest.size)
