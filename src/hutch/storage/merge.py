"""Makes one layer of several, so that a volume that was snapshotted a thousand times does not sit on a thousand layers.

Files are shared with the layers they come from as hard links: layers that are not on top are never written to.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from hutch.kernel import tree

_OPAQUE = "trusted.overlay.opaque"


def merge(layers: Sequence[Path], target: Path) -> None:
    """Put what the trees of `layers`, lowest first, amount to into the empty folder `target`; what they hide stays hidden."""
    for layer in layers:
        _lay_over(layer, target)


def _lay_over(layer: Path, target: Path) -> None:
    for entry in os.scandir(layer):
        place = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            _folder(Path(entry.path), place)
        else:
            _clear(place)
            os.link(entry.path, place, follow_symlinks=False)
    tree.like(layer, target)


def _folder(folder: Path, place: Path) -> None:
    hides = _is_opaque(folder)
    if place.is_symlink() or not place.is_dir():
        hides = hides or os.path.lexists(place)
        _clear(place)
    elif hides:
        _clear(place)
    else:
        hides = _is_opaque(place)
    place.mkdir(exist_ok=True)
    if hides:
        os.setxattr(place, _OPAQUE, b"y")
    _lay_over(folder, place)


def _is_opaque(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.getxattr(folder, _OPAQUE) == b"y"
    return False


def _clear(place: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(place.lstat().st_mode):
            shutil.rmtree(place)
        else:
            place.unlink()
