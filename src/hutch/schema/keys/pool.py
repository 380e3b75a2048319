"""The keys of storage pools, by driver, and of volumes."""

from hutch.schema import schedule
from hutch.schema.keys.base import USER, Key, boolean, prefixes, size, text

FREE = prefixes(USER)
"""Prefixes under which any key is taken."""

VOLUME: dict[str, Key] = {
    "security.shifted": boolean("Shift the ids of this volume so that isolated guests can share it"),
    "security.unmapped": boolean("Do not shift the ids of this volume"),
    "size": size("Limit of the volume's size; empty for none"),
    "snapshots.expiry": Key("When snapshots are removed, as in 1M 2H 3d 4w 5m 6y", check=schedule.check_span),
    "snapshots.pattern": text("Name of automatic snapshots", default="snap%d"),
    "snapshots.schedule": Key("When snapshots are made, as cron has it, or @hourly, @daily ...", check=schedule.parse),
    "volatile.idmap.last": text("The map of ids that the volume was last used with"),
    "volatile.idmap.next": text("The map of ids that the volume is to be used with"),
    "volatile.uuid": text("The identity of the volume"),
}

_COMMON: dict[str, Key] = {
    "rsync.bwlimit": size("Limit of bytes per second when volumes are moved with rsync; 0 for none", default="0"),
    "rsync.compression": boolean("Compress what rsync moves", default="true"),
    "source": Key("Where the pool is kept: see the driver", live=False, scope="local"),
    "volatile.initial_source": text("The source as it was given when the pool was made"),
    "volatile.uuid": text("The identity of the filesystem that was made for the pool"),
} | {f"volume.{key}": row for key, row in VOLUME.items() if not key.startswith("volatile.")}

_DRIVERS: dict[str, dict[str, Key]] = {
    "overlay": {},
    "dir": {},
    "btrfs": {
        "btrfs.mount_options": text("Options of the mount", default="user_subvol_rm_allowed"),
        "size": size("Size of the loop file; by default a fifth of the free space, 5 GiB to 30 GiB"),
        "source.wipe": boolean("Erase the block device before the pool is made on it", live=False),
    },
}


def pool(driver: str) -> dict[str, Key]:
    """The keys of a pool with this driver."""
    return _COMMON | _DRIVERS.get(driver, {})
