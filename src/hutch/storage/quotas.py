"""Limits of volumes by project quotas: the file `quota` of a volume holds its project id, the filesystem the limit."""

import random
from collections.abc import Iterable
from pathlib import Path

from hutch.errors import Unsupported
from hutch.kernel import quota, tree

_IDS = range(1 << 20, 1 << 31)


def set_limit(folder: Path, trees: Iterable[Path], size: int) -> None:
    """Limit the volume at `folder`, whose files are in `trees`, to `size` bytes, 0 for no limit. Blocks."""
    project = _project(folder)
    if not size:
        if project:
            quota.limit(folder, project, 0)
        return
    if not quota.supported(folder):
        raise Unsupported(
            f"a size limit needs project quotas on the filesystem of {folder.parents[2]}: mount it with the option prjquota "
            "(ext4 needs `tune2fs -O project,quota` first), or use a btrfs pool"
        )
    if not project:
        project = _unused(folder)
        tree.write(folder / "quota", f"{project}\n")
        apply(folder, trees)
    quota.limit(folder, project, size)


def apply(folder: Path, trees: Iterable[Path]) -> None:
    """Count `trees` under the limit of the volume at `folder`, when it has one."""
    if project := _project(folder):
        for path in trees:
            quota.put(path, project)


def _project(folder: Path) -> int:
    try:
        return int((folder / "quota").read_text())
    except FileNotFoundError:
        return 0


def _unused(folder: Path) -> int:
    while True:
        project = random.choice(_IDS)
        if quota.get(folder, project) == quota.Limit(0, 0):
            return project
