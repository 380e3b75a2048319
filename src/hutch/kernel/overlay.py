"""Overlay mounts from layers given by descriptor, usable by a guest whose ids are shifted."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hutch.errors import HutchError
from hutch.kernel import mount
from hutch.kernel.mount import MOUNT_ATTR_RDONLY, closing

MOST_LAYERS = 500
"""OVL_MAX_STACK of the kernel."""

# The upper must stay a plain tree that can be copied, rotated and read with another lower: nothing may refer to inodes.
# `nofollow` also disarms redirects that an image brings along.
_OPTIONS: mount.Options = (("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off"))
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


UPPER, WORK = "tree", "work"
"""The folders of a writable layer."""


def overlay(lowers: Sequence[int], writable: int | None, *, attributes: int = 0) -> int:
    """A detached overlay of detached trees: `lowers`, topmost last, and over them the `tree` of `writable`, a folder
    that also holds an empty `work`. Without `writable` at least two lowers are needed and nothing can be written.

    Must run in a thread that is the guest's root for the filesystem (credentials.as_root_of): overlay keeps the
    mounter's identity for its own work, and the kernel mounts it silently read-only when that has no id in the upper's
    map; this is checked. The descriptors are the caller's to close, and of no other use afterwards.
    """
    try:
        made = _by_descriptor(lowers, writable, attributes)
    except OSError as error:
        # The second before Linux 6.5, whose overlay takes no descriptors at all.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        made = by_path(lowers, writable, attributes=attributes)
    if writable is not None and os.fstatvfs(made).f_flag & os.ST_RDONLY and not attributes & MOUNT_ATTR_RDONLY:
        os.close(made)
        raise HutchError("the kernel mounted the overlay read-only: it could not use the work folder (see dmesg)")
    return made


def _by_descriptor(lowers: Sequence[int], writable: int | None, attributes: int) -> int:
    # Descriptors as layers came with Linux 6.13. Each "lowerdir+" goes below those before it.
    options: list[tuple[str, str | int | None]] = [*_OPTIONS, *(("lowerdir+", lower) for lower in reversed(lowers))]
    if writable is None:
        return mount.new("overlay", "overlay", options, attributes)
    with (
        closing(os.open(UPPER, _FOLDER, dir_fd=writable)) as upper,
        closing(os.open(WORK, _FOLDER, dir_fd=writable)) as work,
    ):
        return mount.new("overlay", "overlay", [*options, ("upperdir", upper), ("workdir", work)], attributes)


def by_path(lowers: Sequence[int], writable: int | None, *, attributes: int = 0) -> int:
    """The same on a kernel that takes layers by path only (Debian 12's).

    The trees are attached for a moment in a temporary folder. mount(2) takes 4095 bytes of options, so the layers are
    named relative to the thread's own working directory.
    """
    with contextlib.ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix="hutch-overlay-"))
        undo.callback(folder.rmdir)
        for number, tree in enumerate(lowers):
            mount.attach(tree, _place(undo, folder / str(number)))
        if writable is not None:
            mount.attach(writable, _place(undo, folder / "w"))
        target = _place(undo, folder / "m")
        undo.callback(os.chdir, "/")
        os.chdir(folder)
        layers = ":".join(str(number) for number in reversed(range(len(lowers))))
        plain = ",".join(f"{key}={value}" for key, value in _OPTIONS)
        upper = "" if writable is None else f",upperdir=w/{UPPER},workdir=w/{WORK}"
        mount.classic("overlay", "overlay", target, 0, f"{plain},lowerdir={layers}{upper}")
        return mount.idmapped(target, None, attributes=attributes)


def _place(undo: contextlib.ExitStack, path: Path) -> Path:
    path.mkdir()
    undo.callback(path.rmdir)
    undo.callback(mount.detach, path)
    return path


def in_use(upper: Path, beside: Path) -> bool:
    """Whether `upper` is the writable layer of a live overlay mount, in whatever mount namespace.

    Asked by a mount that must fail: the kernel looks at the upper before it sees that the work folder `beside`, on
    another mount of the same tree, cannot go with it.
    """
    with closing(mount.open_tree(beside)) as other, closing(os.open(upper, _FOLDER)) as tree:
        places = f"lowerdir=/proc/self/fd/{tree},upperdir=/proc/self/fd/{tree},workdir=/proc/self/fd/{other}"
        try:
            mount.classic("overlay", "overlay", beside, 0, f"index=on,{places}")
        except OSError as error:
            if error.errno == errno.EBUSY:
                return True
            if error.errno == errno.EINVAL:
                return False
            raise
    raise HutchError(f"the kernel mounted an overlay at {beside} that it should have refused")
