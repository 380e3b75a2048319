"""Images that one server sends to another: the other hands out a secret, good for one image and one time, and takes it."""

import asyncio
import hmac
import secrets
from contextlib import AsyncExitStack
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

import aiohttp

from hutch.errors import Forbidden, HutchError, Invalid, Unsupported
from hutch.schema.base import convert, to_builtins
from hutch.schema.image import ImageExportPost, ImagePost, ImageRecord, ImageSource
from hutch.service import image_import, images
from hutch.service.image_server import named_errors, session
from hutch.service.parts import Parts
from hutch.work.operations import Operation

_DESCRIPTION = "Image upload token"
_LIFE = 3600.0


def promise(parts: Parts, project: str, wanted: ImagePost) -> Operation:
    """A token by which somebody without trust may bring the image with this fingerprint, as it is wished here."""
    fingerprint = wanted.source.fingerprint.lower()
    if len(fingerprint) != 64 or set(fingerprint) - set("0123456789abcdef"):
        raise Invalid("An image that is to be pushed is named by its whole fingerprint")
    image_import.check_wish(parts, project, wanted)
    wish = {
        "aliases": to_builtins(wanted.aliases or []),
        "auto_update": bool(wanted.auto_update),
        "filename": wanted.filename,
        "properties": wanted.properties or {},
        "public": bool(wanted.public),
    }
    operation = parts.operations.start(
        _DESCRIPTION,
        None,
        kind="token",
        project=project,
        resources={"images": [images.url(project, fingerprint)]},
        metadata={"secret": secrets.token_hex(32), "fingerprint": fingerprint, **wish},
        may_cancel=True,
    )
    parts.tasks.spawn(_forget(operation), "the end of an upload token")
    return operation


async def _forget(operation: Operation) -> None:
    if not await operation.wait(_LIFE):
        operation.stop()


def redeem(parts: Parts, project: str, fingerprint: str, secret: str) -> ImagePost:
    """What was wished of the image for which the secret was handed out, and is used up by this. Forbidden if there is none."""
    for operation in parts.operations.all():
        promised = operation.metadata
        if (
            operation.description == _DESCRIPTION
            and not operation.status.final
            and operation.project == project
            and promised.get("fingerprint") == fingerprint.lower()
            and hmac.compare_digest(str(promised["secret"]).encode(), secret.encode())
        ):
            operation.stop()
            names = ("aliases", "auto_update", "filename", "properties", "public", "fingerprint")
            return convert({name: promised[name] for name in names}, ImagePost)
    raise Forbidden("Forbidden")


def push(parts: Parts, record: ImageRecord, wanted: ImageExportPost) -> Operation:
    """Send the image to the server at `target`, which has handed out the secret."""
    if not wanted.target.startswith("https://"):
        raise Invalid(f"Invalid server {wanted.target!r} to send an image to: https://HOST:PORT is expected")
    if not wanted.secret:
        raise Unsupported("An image is sent with the secret that the other server made for it")
    source = ImageSource(server=wanted.target, certificate=wanted.certificate)

    async def work(operation: Operation) -> None:
        with named_errors(source, "sent to"):
            async with session(source) as there:
                await _send(parts, record, wanted, there)

    resources = {"images": [images.url(record.project, record.fingerprint)]}
    return parts.operations.start("Exporting image", work, project=record.project, resources=resources, may_cancel=True)


async def _send(parts: Parts, record: ImageRecord, wanted: ImageExportPost, there: aiohttp.ClientSession) -> None:
    address = wanted.target.rstrip("/")
    query = f"?project={quote(wanted.project, safe='')}" if wanted.project not in ("", "default") else ""
    async with AsyncExitStack() as stack:
        body = await _body(parts, record, stack)
        posting = there.post(f"{address}/1.0/images{query}", data=body, headers=_headers(record, wanted, body))
        begun = await _document(posting, wanted.target)
    secret = (begun.get("metadata") or {}).get("secret") or wanted.secret
    waiting = there.get(f"{address}/1.0/operations/{begun['id']}/wait?secret={quote(str(secret), safe='')}")
    done = await _document(waiting, wanted.target)
    if int(done.get("status_code") or 0) >= 400:
        raise HutchError(f"{wanted.target} says: {done.get('err')}")


Body = BinaryIO | aiohttp.MultipartWriter


async def _body(parts: Parts, record: ImageRecord, stack: AsyncExitStack) -> Body:
    files = await asyncio.to_thread(images.files(parts).files, record.fingerprint)
    try:
        opened: list[BinaryIO] = [stack.enter_context(await asyncio.to_thread(path.open, "rb")) for path in files]
    except FileNotFoundError:
        raise images.file_error(record) from None
    if len(opened) == 1:
        return opened[0]
    form = aiohttp.MultipartWriter("form-data")
    for name, file in zip(("metadata", "rootfs"), opened, strict=True):
        part = form.append(file, {"Content-Type": "application/octet-stream"})
        part.set_content_disposition("form-data", name=name, filename=f"{record.fingerprint}.{name}")
    return form


def _headers(record: ImageRecord, wanted: ImageExportPost, body: Body) -> dict[str, str]:
    kind = {} if isinstance(body, aiohttp.MultipartWriter) else {"Content-Type": "application/octet-stream"}
    return kind | {
        "X-LXD-fingerprint": record.fingerprint,
        "X-LXD-secret": wanted.secret,
        "X-LXD-filename": quote(record.filename, safe=" ._-"),
        "X-LXD-properties": urlencode(record.properties),
    }


async def _document(asking: Any, target: str) -> dict[str, Any]:
    """The operation in an answer."""
    async with asking as answer:
        document = await answer.json(content_type=None)
        found = document.get("metadata") if isinstance(document, dict) else None
        if answer.status >= 400 or not isinstance(found, dict):
            said = document.get("error") if isinstance(document, dict) else ""
            raise HutchError(f"{target} says: {said or answer.status}")
        return found
