"""The layers of an overlay pool and the stacks that volumes are made of.

    layers/ID/tree    the files; `layers/ID/work` beside it where the layer is or was writable
    layers/ID/coming  beside it while it comes from another host
    layers/ID/image   beside it, the fingerprint of the image whose tree it is, where it came from another host
    VOLUME/layers     a stack as text: one ID a line, lowest first; the writable layer last, with a + before it

A stack is replaced by one rename, and a layer that no stack names is garbage: that is all it takes to survive a crash.
"""

import contextlib
import re
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hutch.kernel import tree
from hutch.kernel.overlay import UPPER, WORK, in_use
from hutch.storage import quotas
from hutch.storage.trash import Trash

EMPTY = "empty"
"""A layer with nothing in it, for volumes that come from no image: an overlay needs a lower."""

DEEP = 64
"""Layers under a volume from which on those above the lowest are merged. The kernel takes 500."""

_FINGERPRINT, _UUID, _IMAGE, _COMING = r"[0-9a-f]{64}", r"[0-9a-f]{32}", "image", "coming"
_STACKS = ("volumes/*/*/layers", "volumes/*/*/snapshots/*/layers", "new/*/layers", "new/*/snapshots/*/layers")


@dataclass(frozen=True)
class Stack:
    """Layers by name: read-only ones, lowest first, and the writable one, which a snapshot or image has not."""

    lowers: tuple[str, ...]
    top: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.lowers, self.top) if self.top else self.lowers


def read(folder: Path) -> Stack:
    """The stack of a volume or snapshot."""
    names = (folder / "layers").read_text().split()
    if names[-1].startswith("+"):
        return Stack(tuple(names[:-1]), names[-1][1:])
    return Stack(tuple(names))


def write(folder: Path, stack: Stack) -> None:
    """Make the stack that of a volume or snapshot, durable on return."""
    lines = [*stack.lowers, *([f"+{stack.top}"] if stack.top else [])]
    tree.write(folder / "layers", "".join(f"{line}\n" for line in lines))


class Layers:
    """Every method blocks for a moment. `lock` is held from reading a stack until the one made from it is written.

    `sees_use`: this kernel was seen to tell a writable layer in use from one that is not.
    """

    def __init__(self, root: Path, trash: Trash) -> None:
        self.root, self.trash = root, trash
        self.folder = root / "layers"
        self.lock = threading.Lock()
        self.sees_use = False

    def path(self, name: str) -> Path:
        return self.folder / name

    def tree(self, name: str) -> Path:
        return self.folder / name / UPPER

    def make(self, folder: Path) -> Path:
        """An empty layer at `folder`; its tree."""
        folder.mkdir()
        for name in (UPPER, WORK):
            (folder / name).mkdir(mode=0o755)
            (folder / name).chmod(0o755)
        return folder / UPPER

    def add(self, like: str) -> str:
        """A new writable layer to go on top of layer `like`, whose root it takes over."""
        name = uuid.uuid4().hex
        tree.like(self.tree(like), self.make(self.path(name)))
        return name

    def adopt(self, built: Path, name: str = "") -> str:
        """Make a layer that was built elsewhere in the pool one of this store."""
        name = name or uuid.uuid4().hex
        tree.publish(built, self.path(name))
        return name

    def image(self, name: str) -> str:
        """The image that a layer is of, by its fingerprint; empty for any other."""
        if re.fullmatch(_FINGERPRINT, name):
            return name
        with contextlib.suppress(OSError):
            return (self.path(name) / _IMAGE).read_text()
        return ""

    def stand_in(self, name: str, image: str, wanted: dict[str, Path], *, fresh: bool = False) -> str:
        """The layer here for one of another host: the same one, or a new one that `wanted` then says where to write.

        A new one is never called by an image's fingerprint: others would take what came from elsewhere for the image.
        """
        if name in wanted:
            return wanted[name].parent.name
        is_image = bool(re.fullmatch(_FINGERPRINT, name))
        if not fresh:
            for known in (image, "" if is_image else name):
                if (
                    re.fullmatch(r"\w+", known)
                    and self.path(known).is_dir()
                    and not (self.path(known) / _COMING).exists()
                ):
                    return known
        taken = fresh or is_image or not re.fullmatch(_UUID, name) or self.path(name).exists()
        here = uuid.uuid4().hex if taken else name
        wanted[name] = self.make(self.path(here))
        (self.path(here) / _COMING).touch()
        if re.fullmatch(_FINGERPRINT, image):
            (self.path(here) / _IMAGE).write_text(image)
        return here

    def whole(self, trees: Iterable[Path]) -> None:
        """These trees that came from another host are written: they may be shared."""
        for each in trees:
            (each.parent / _COMING).unlink(missing_ok=True)

    def write_over(self, folder: Path, lowers: tuple[str, ...]) -> None:
        """Give `folder` a stack with a new writable layer over `lowers`."""
        top = self.add(lowers[-1])
        quotas.apply(folder, (self.path(top) / name for name in (UPPER, WORK)))
        write(folder, Stack(lowers, top))

    def settle(self, folder: Path) -> tuple[str, ...] | None:
        """Turn the writable layer of a volume into a read-only one under a new writable one.

        The layers that hold what the volume holds now, for others to share; None when its writable layer is in use.
        """
        stack = read(folder)
        if not stack.top:
            return stack.lowers
        if not self.sees_use or self.busy(stack):
            return None
        if self._adds_nothing(stack):
            return stack.lowers
        self.write_over(folder, stack.all)
        return stack.all

    def busy(self, stack: Stack) -> bool:
        """Whether the writable layer is that of a live mount, also of one that an earlier daemon made."""
        return in_use(self.tree(stack.top), self.path(stack.top) / WORK)

    def _adds_nothing(self, stack: Stack) -> bool:
        top = self.tree(stack.top)
        return not any(top.iterdir()) and tree.alike(top, self.tree(stack.lowers[-1]))

    def users(self) -> Iterator[tuple[Path, Stack]]:
        """Every stack of the pool, with its folder."""
        for pattern in _STACKS:
            for file in self.root.glob(pattern):
                try:
                    yield file.parent, read(file.parent)
                except FileNotFoundError:
                    continue

    def collect(self) -> None:
        """Throw away the layers that no stack names."""
        with self.lock:
            named = {name for _, stack in self.users() for name in stack.all} | {EMPTY}
            for path in list(self.folder.iterdir()):
                if path.name not in named:
                    self.trash.take(path)
