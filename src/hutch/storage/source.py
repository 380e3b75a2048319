"""The `source` of a pool that is kept in a folder."""

from pathlib import Path

from hutch.errors import Invalid
from hutch.schema.base import Config
from hutch.schema.keys import pool as keys
from hutch.schema.keys.base import check_all


def folder(driver: str, config: Config, path: Path) -> Config:
    """The settings with the folder filled in: the daemon's own `path`, or an existing empty one. Blocks."""
    check_all(f"storage pool {path.name}", config, keys.pool(driver), free=keys.FREE)
    wanted = Path(config.get("source") or path)
    if wanted != path:
        empty(wanted)
    return config | {"source": str(wanted)}


def empty(wanted: Path) -> None:
    """Invalid unless `wanted` is an existing empty folder."""
    if not wanted.is_absolute():
        raise Invalid(f"the source {wanted} of a storage pool must be an absolute path")
    if not wanted.is_dir():
        raise Invalid(f"the source {wanted} of a storage pool is not an existing folder: make it first")
    if any(wanted.iterdir()):
        raise Invalid(f"the source {wanted} of a storage pool is not empty: give an empty folder")
