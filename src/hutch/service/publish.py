"""Makes an image of an instance, or of a snapshot, that is at rest."""

import asyncio
import time
from pathlib import Path

from msgspec.structs import replace

from hutch.errors import Invalid
from hutch.image import formats, templates
from hutch.image.metadata import Metadata
from hutch.image.pack import pack
from hutch.schema.base import ZERO_TIME, strings
from hutch.schema.image import ImagePost
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.service import image_import
from hutch.service.instances import volume
from hutch.service.parts import Parts, instance_lock
from hutch.work.operations import Operation

_PROGRESS = "create_image_from_container_pack_progress"


def publish(parts: Parts, project: str, wanted: ImagePost) -> Operation:
    """Accept the wish or refuse it now; do the work in an operation."""
    found = _source(parts, project, wanted.source.type, wanted.source.name)
    image_import.check_wish(parts, project, wanted)
    packer = formats.packer(wanted.compression_algorithm or _usual_compression(parts, project))
    instance = found.instance if isinstance(found, SnapshotRecord) else found.name

    async def work(operation: Operation) -> None:
        async with image_import.uploading(parts) as upload:
            async with parts.locks.hold(instance_lock(project, instance)):
                source = _source(parts, project, wanted.source.type, wanted.source.name)
                directory = parts.instance_directory(project, instance)
                about = await asyncio.to_thread(_about, source, directory, wanted)
                began = time.monotonic()

                def written(size: int) -> None:
                    speed = int(size / max(time.monotonic() - began, 0.001))
                    text = f"{size / 1e6:.2f}MB ({speed / 1e6:.2f}MB/s)"
                    operation.progress(_PROGRESS, "Image pack", 0, speed, text)

                async with volume.root(parts, source, [], readonly=True) as root:
                    folder = directory / templates.FOLDER
                    upload.digest = await pack(root, upload.arrived, about, folder, packer, written)
            await image_import.record(parts, project, upload, wanted, operation)

    return parts.operations.start("Downloading image", work, project=project, may_cancel=True)


def _usual_compression(parts: Parts, project: str) -> str:
    """What the project says, or else the server."""
    key = "images.compression_algorithm"
    server = parts.state.server.find("config")
    return parts.state.projects.get(project).config.get(key) or (server.config.get(key, "") if server else "")


def _source(parts: Parts, project: str, kind: str, name: str) -> InstanceRecord | SnapshotRecord:
    if kind == "snapshot":
        instance, _, snapshot = name.partition("/")
        return parts.state.snapshots.get(project, instance, snapshot)
    record = parts.state.instances.get(project, name)
    if parts.runtime.running(project, name) is not None:
        raise Invalid(f"Cannot export a running instance as an image: stop {name!r}, or publish a snapshot of it")
    return record


def _about(source: InstanceRecord | SnapshotRecord, directory: Path, wanted: ImagePost) -> Metadata:
    about = templates.load(directory) or Metadata(architecture=source.architecture)
    expires = wanted.expires_at
    return replace(
        about,
        creation_date=int(time.time()),
        expiry_date=int(expires.timestamp()) if expires is not None and expires != ZERO_TIME else 0,
        properties=about.properties | strings(wanted.properties),
    )
