"""Backups on the wire: sent while they are packed, and taken in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from aiohttp import web

from hutch.api.wire import Request
from hutch.errors import Invalid
from hutch.schema.backup import BackupPost
from hutch.service.backups import keep, pack, restore
from hutch.service.backups.keep import Owner
from hutch.work.operations import Operation


async def send(request: Request, owner: Owner, wanted: BackupPost) -> web.StreamResponse:
    """The backup as the answer's body (Incus's direct_backup): no copy of it is ever on the server's disk.

    A failure after the first bytes breaks the connection, so that nobody takes half a backup for a whole one.
    """
    keep.check(request.parts, owner, wanted)
    compression = pack.algorithm(request.parts, owner.project, wanted.compression_algorithm).compression
    response = web.StreamResponse()
    response.content_type = "application/octet-stream"
    response.headers["Content-Disposition"] = f"attachment;filename={owner.name}{compression.suffix}"
    async with AsyncExitStack() as stack:
        chunks = await stack.enter_async_context(owner.packed(request.parts, wanted))
        try:
            async for chunk in chunks:
                if not response.prepared:
                    await response.prepare(request.http)
                await response.write(chunk)
            await stack.aclose()  # Only now is it known that the packing went well.
        except BaseException:
            if response.prepared and request.http.transport is not None:
                request.http.transport.abort()
            raise
    await response.write_eof()
    return response


async def receive_instance(request: Request) -> Operation:
    """The body is a backup: the instance that it is of is made again."""
    async with restore.uploading(request.parts, _body(request)) as upload:
        name, pool = request.header("name") or "", request.header("pool") or ""
        return restore.instance(request.parts, request.project, upload, name, pool)


async def receive_volume(request: Request, pool: str, project: str) -> Operation:
    """The body is the backup of a volume, or with the type iso what a volume is to hold."""
    kind, name = request.header("type") or "backup", request.header("name") or ""
    if kind not in ("backup", "iso"):
        raise Invalid(f"Volumes cannot be made of a file of type {kind!r} here: backup and iso are known")
    async with restore.uploading(request.parts, _body(request)) as upload:
        if kind == "iso":
            return restore.iso(request.parts, pool, project, upload, name)
        return restore.custom(request.parts, pool, project, upload, name)


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.http.content.iter_chunked(pack.CHUNK):
        yield chunk
        await asyncio.sleep(0)
