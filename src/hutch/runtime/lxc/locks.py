"""The lock files that liblxc leaves below /run, one a container."""

import contextlib
from pathlib import Path

_ROOT = Path("/run/lxc/lock")
_OWN_FOLDERS = 3
"""How far up the folders are ours alone: DIR, instances, the project."""


def remove(directory: Path) -> None:
    """The lock of the guest in `directory`, which does not run. Its folder stays: another guest may be starting in it."""
    (_folder(directory.parent) / f".{directory.name}").unlink(missing_ok=True)


def remove_folders(parent: Path) -> None:
    """What is empty of the folders of the guests below `parent`, none of which is starting."""
    folder = _folder(parent)
    with contextlib.suppress(OSError):
        for each in [folder, *folder.parents][:_OWN_FOLDERS]:
            each.rmdir()


def _folder(path: Path) -> Path:
    return _ROOT / path.relative_to("/")
