"""Copies of volumes from one pool to another, by what both show of their files."""

import sys
from collections.abc import Sequence

from hutch.kernel import mount, run
from hutch.storage.base import StorageDriver, Volume

# Contents are compared: in what comes from a tar, files of one second and one size may differ.
# rsync walks by names and deletes: it sees the two trees and nothing else (helper.alone).
_RSYNC = (
    *("/usr/bin/rsync", "--archive", "--hard-links", "--acls", "--xattrs", "--sparse", "--numeric-ids", "--delete"),
    *("--one-file-system", "--checksum", "--inplace", "/source/", "/target/"),
)


async def copy(
    source_pool: StorageDriver,
    source: Volume,
    target_pool: StorageDriver,
    target: Volume,
    snapshots: Sequence[str] = (),
) -> None:
    """A volume on `target_pool` with what `source` holds, and the named snapshots with it.

    It grows through its snapshots from the first on, so that the target shares between them what it can. A failure
    half-way leaves what there is by then, which is the caller's to delete.
    """
    await target_pool.create_volume(target)
    for name in snapshots:
        await refresh(source_pool, source.at(name), target_pool, target)
        await target_pool.snapshot(target, name)
    await refresh(source_pool, source, target_pool, target)


async def refresh(source_pool: StorageDriver, source: Volume, target_pool: StorageDriver, target: Volume) -> None:
    """Make an existing volume hold what `source` holds; only what differs is written."""
    with (
        mount.closing(await source_pool.mount(source, [], readonly=True)) as old,
        mount.closing(await target_pool.mount(target, [])) as new,
    ):
        trees = (f"source={old}", f"target={new}")
        argv = [sys.executable, "-I", "-m", "hutch.helper.alone", *trees, "--", *_RSYNC]
        await run.run(argv, deadline=None, pass_fds=(old, new))
