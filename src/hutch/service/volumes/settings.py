"""What a volume's settings must be like, and what follows from them."""

import logging
import re

from hutch.errors import AlreadyExists, Invalid, Unsupported
from hutch.kernel.idmap import IdMap
from hutch.schema.base import Config, strings
from hutch.schema.keys import pool as keys
from hutch.schema.keys.base import as_bytes, check_all
from hutch.schema.storage import VolumeRecord, VolumeSnapshotRecord
from hutch.service.parts import Parts
from hutch.storage.base import StorageDriver, Volume

log = logging.getLogger(__name__)

CONTENT = ("filesystem", "block", "iso")
BLOCK_SIZE = "10GiB"
"""The size of a block volume for which neither its settings nor its pool name one."""

AS_STORED: list[IdMap] = []


def lock(pool: str, project: str, name: str) -> str:
    """What a volume's lock is called."""
    return f"volume/{pool}/{project}/{name}"


def of(record: VolumeRecord | VolumeSnapshotRecord) -> Volume:
    """The record's volume on its pool."""
    if isinstance(record, VolumeSnapshotRecord):
        return Volume("custom", record.project, record.volume, record.name)
    return Volume("custom", record.project, record.name)


def check_name(name: str) -> None:
    if not name or not re.fullmatch(r"[^\s/\\'\"\0]{1,128}", name) or name.startswith((".", "-")):
        raise Invalid(
            f"Invalid storage volume name {name!r}: 1 to 128 letters without slashes, spaces and quotes, not beginning "
            "with a dot or hyphen"
        )


def check_free(parts: Parts, pool: str, project: str, name: str) -> None:
    if parts.state.volumes.find(pool, project, name) is not None:
        raise AlreadyExists("A volume by that name already exists")


def complete(parts: Parts, pool: str, config: Config, content: str) -> Config:
    """The settings of a new volume: as wanted, else as the pool's `volume.*` has them. Checked."""
    usual = {
        key.removeprefix("volume."): value
        for key, value in parts.state.pools.get(pool).config.items()
        if key.startswith("volume.") and value
    }
    whole = usual | config
    if content == "block" and not whole.get("size"):
        whole["size"] = BLOCK_SIZE
    whole = {key: value for key, value in whole.items() if value != ""}
    check(whole)
    return whole


def check(config: Config) -> None:
    check_all("storage volume", config, keys.VOLUME, free=keys.FREE)
    if all(config.get(f"security.{key}", "false") in ("true", "1", "yes", "on") for key in ("shifted", "unmapped")):
        raise Invalid("security.shifted and security.unmapped exclude each other")


def given(config: dict[str, object] | None) -> Config:
    return {key: value for key, value in strings(config).items() if value != ""}


async def limit(pool: StorageDriver, record: VolumeRecord) -> None:
    """Hold the volume to its size. As with LXD, a filesystem that cannot is worth a warning, not a failure."""
    size = as_bytes(record.config.get("size") or "0")
    try:
        await pool.set_quota(of(record), size if record.content_type == "filesystem" else 0)
    except Unsupported as error:
        log.warning("the size of the volume %s is not limited: %s", record.name, error)
