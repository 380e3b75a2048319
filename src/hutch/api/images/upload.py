"""Reads a new image from a request: one file as the body, or metadata and rootfs as the parts of a form."""

from collections.abc import AsyncIterator, Mapping
from urllib.parse import parse_qs

from aiohttp import MultipartReader
from aiohttp.streams import StreamReader

from hutch.api.wire import Request
from hutch.errors import Invalid
from hutch.schema.base import decode
from hutch.schema.image import AliasPost, ImagePost
from hutch.service import image_form, image_import
from hutch.work.operations import Operation

_DOCUMENT = 4 << 20
_YES = ("1", "true", "yes", "on")


async def wish(request: Request) -> ImagePost | bytes:
    """The wish when the body is JSON, whatever its type is said to be; of an image the bytes that had to be read."""
    kind = request.http.content_type
    if kind == "application/json":
        return await request.read(ImagePost)
    if kind.startswith("multipart/"):
        return b""
    content = request.http.content
    first = await content.read(1)
    if first != b"{":
        return first
    body = first + await content.read(_DOCUMENT)
    while more := await content.read(_DOCUMENT - len(body)):
        body += more
    return decode(body, ImagePost)


async def receive(
    request: Request, first: bytes, promised: ImagePost | None = None, metadata: Mapping[str, str] | None = None
) -> Operation:
    """Write the upload to disk while it comes, then start the operation that makes an image of it, with this metadata.

    What was `promised` for the image goes over what its sender says."""
    wanted = _wished(request, promised)
    image_import.check_wish(request.parts, request.project, wanted)
    async with image_import.uploading(request.parts) as upload:
        if request.http.content_type == "multipart/form-data":
            filename = await image_form.receive(await _form(request), upload)
            wanted.filename = wanted.filename or filename
        else:
            source = _body(first, request.http.content)
            await upload.digest.receive(source, upload.arrived.main)
        if not upload.digest.size:
            raise Invalid("the image file is empty")
        return image_import.accept(request.parts, request.project, upload, wanted, metadata)


def _wished(request: Request, promised: ImagePost | None) -> ImagePost:
    wanted = _headers(request)
    if promised is None:
        return wanted
    promised.filename = promised.filename or wanted.filename
    promised.properties = {**(wanted.properties or {}), **(promised.properties or {})}
    return promised


def _headers(request: Request) -> ImagePost:
    properties = parse_qs(request.header("properties") or "", keep_blank_values=True)
    profiles = parse_qs(request.header("profiles") or "").get("profile")
    aliases = parse_qs(request.header("aliases") or "").get("alias", [])
    return ImagePost(
        filename=request.header("filename") or "",
        fingerprint=request.header("fingerprint") or "",
        public=(request.header("public") or "").lower() in _YES,
        properties={key: values[0] for key, values in properties.items()},
        profiles=profiles,
        aliases=[AliasPost(name=name) for name in aliases],
    )


async def _body(first: bytes, content: StreamReader) -> AsyncIterator[bytes]:
    yield first
    async for chunk in content.iter_any():
        yield chunk


async def _form(request: Request) -> MultipartReader:
    try:
        return await request.http.multipart()
    except (ValueError, AssertionError) as error:
        raise Invalid(f"Invalid multipart image: {error}") from error
