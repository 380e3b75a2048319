"""A split image as the parts of a form, as it travels between clients and servers: metadata, then rootfs."""

from collections.abc import AsyncIterator

from aiohttp import BodyPartReader, MultipartReader

from hutch.errors import Invalid, Unsupported
from hutch.service.image_import import Upload

_CHUNK = 1 << 18


async def receive(reader: MultipartReader, upload: Upload) -> str:
    """Write the two parts to disk while they come; the file name that the second one has."""
    try:
        await upload.digest.receive(_part(await reader.next(), "metadata"), upload.arrived.main)
        rootfs = await reader.next()
        await upload.digest.receive(_part(rootfs, "rootfs"), upload.arrived.rootfs)
    except (ValueError, AssertionError) as error:
        raise Invalid(f"Invalid multipart image: {error}") from error
    return (rootfs.filename if isinstance(rootfs, BodyPartReader) else "") or ""


async def _part(part: object, name: str) -> AsyncIterator[bytes]:
    if not isinstance(part, BodyPartReader):
        raise Invalid(f"Invalid multipart image: the part {name!r} is missing")
    if part.name == "rootfs.img":
        raise Unsupported("Images of virtual machines cannot be used here: this server runs containers")
    if part.name != name:
        raise Invalid(f"Invalid multipart image: {part.name!r} is where {name!r} is expected")
    while chunk := await part.read_chunk(_CHUNK):
        yield chunk
