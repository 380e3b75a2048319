"""Sends image files: a unified image as it is, a split one as the two parts of a form."""

import asyncio
from pathlib import Path
from uuid import uuid4

from aiohttp import web

from hutch.image.formats import recognise_file

_CHUNK = 1 << 20


async def files(http: web.BaseRequest, paths: list[Path], fingerprint: str) -> web.StreamResponse:
    return await (unified(paths[0], fingerprint) if len(paths) == 1 else split(http, paths, fingerprint))


async def unified(path: Path, fingerprint: str) -> web.StreamResponse:
    compression = await asyncio.to_thread(recognise_file, path)
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment;filename={fingerprint}{compression.suffix}",
    }
    return web.FileResponse(path, chunk_size=_CHUNK, headers=headers)


async def split(http: web.BaseRequest, paths: list[Path], fingerprint: str) -> web.StreamResponse:
    """The form is written by hand, for its length must be known before: clients show how far they are by it."""
    boundary = uuid4().hex
    heads = [await asyncio.to_thread(_head, path, name, fingerprint, boundary) for path, name in _named(paths)]
    tail = f"\r\n--{boundary}--\r\n".encode()
    sizes = [(await asyncio.to_thread(path.stat)).st_size for path in paths]
    response = web.StreamResponse(headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
    response.content_length = sum(map(len, heads)) + sum(sizes) + len(tail)
    await response.prepare(http)
    for head, path in zip(heads, paths, strict=True):
        await response.write(head)
        await _send(response, path)
    await response.write(tail)
    await response.write_eof()
    return response


def _named(paths: list[Path]) -> list[tuple[Path, str]]:
    return list(zip(paths, ("metadata", "rootfs"), strict=True))


def _head(path: Path, name: str, fingerprint: str, boundary: str) -> bytes:
    filename = ("meta-" if name == "metadata" else "") + fingerprint + recognise_file(path).suffix
    first = "" if name == "metadata" else "\r\n"
    return (
        f"{first}--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


async def _send(response: web.StreamResponse, path: Path) -> None:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            await response.write(chunk)
