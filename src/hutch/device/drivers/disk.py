"""A disk: the root filesystem (made by whoever starts the instance), a custom volume, or a path of the host."""

import asyncio
import contextlib
import errno
import os
import stat
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from hutch.device.base import Device
from hutch.errors import Forbidden, Invalid, NotFound, Unsupported
from hutch.kernel import mount, namespaces
from hutch.kernel.openat2 import open_in_root
from hutch.kernel.run import run
from hutch.runtime.base import Running
from hutch.runtime.plan import LaunchPlan, Mount
from hutch.schema.keys.base import as_bool
from hutch.schema.keys.devices import DISK, inside
from hutch.storage.base import Volume

_HELPER = Path(__file__).parents[2] / "helper" / "mount_into.py"


class Driver(Device):
    """The mount is made here, with its id map, at DIR/instances/PROJECT/NAME/devices/DEVICE; the runtime binds it from there."""

    keys = DISK
    tunable = frozenset({"limits.read", "limits.write", "limits.max", "size"})

    @property
    def moves(self) -> bool:
        return self.is_root

    def check(self) -> None:
        if self.is_root:
            self._check_root()
        elif self.config.get("size"):
            raise Invalid(f"device {self.name!r}: size is for the root disk only")
        elif not self.config.get("source"):
            raise Invalid(f'device {self.name!r}: Disk entry is missing the required "source" property')
        elif self.config.get("pool"):
            self._check_volume()
        elif not self.config["source"].startswith("/"):
            raise Invalid(f"device {self.name!r}: source must be an absolute path of the host")

    @property
    def is_root(self) -> bool:
        return self._target == ""

    async def plan(self, plan: LaunchPlan) -> None:
        if self.is_root or (tree := await self._tree()) is None:
            return
        with mount.closing(tree):
            is_folder = await asyncio.to_thread(self._attach, tree)
        words = ["rbind", f"create={'dir' if is_folder else 'file'}"]
        words += [self.config["propagation"]] if self.config.get("propagation") else []
        plan.mounts.append(Mount(str(self._point), self._target, options=",".join(words)))

    async def release(self) -> None:
        if not self.is_root:
            await asyncio.to_thread(self._detach)

    async def plug(self, running: Running) -> None:
        if self.is_root:
            raise Invalid(f"device {self.name!r}: the root disk cannot be added to a running instance")
        if (tree := await self._tree()) is None:
            return
        with mount.closing(tree):
            if self.config.get("pool"):  # What is attached out here as well tells the pool that the volume is in use.
                await asyncio.to_thread(self._attach, tree)
                with mount.closing(await asyncio.to_thread(mount.open_tree, self._point)) as inner:
                    await self._helper(running, "attach", pass_fd=inner)
            else:
                await self._helper(running, "attach", pass_fd=tree)

    async def unplug(self, running: Running) -> None:
        if self.is_root:
            raise Invalid(f"device {self.name!r}: the root disk cannot be taken from a running instance")
        await self._helper(running, "detach")
        await self.release()

    @property
    def _target(self) -> str:
        """The path inside, relative to the root."""
        return inside(self.config["path"]).strip("/")

    @property
    def _point(self) -> Path:
        return self.context.directory / "devices" / quote(self.name, safe="")

    def _check_root(self) -> None:
        if not self.config.get("pool"):
            raise Invalid(f'device {self.name!r}: Root disk entry must have a "pool" property set')
        if self.config.get("source"):
            raise Invalid(f'device {self.name!r}: Root disk entry may not have a "source" property set')
        if as_bool(self.config.get("recursive")) or as_bool(self.config.get("shift")):
            raise Invalid(f"device {self.name!r}: recursive and shift are not for the root disk")
        self.context.pool(self.config["pool"])

    def _check_volume(self) -> None:
        volume = self.context.volume(self.config["pool"], self.config["source"])
        if volume.content_type != "filesystem":
            raise Invalid(f"device {self.name!r}: Custom {volume.content_type} volumes cannot be used on containers")
        if any(as_bool(self.config.get(key)) for key in ("recursive", "shift")):
            raise Invalid(f"device {self.name!r}: recursive and shift are for paths of the host")
        self.context.pool(self.config["pool"])

    @property
    def _required(self) -> bool:
        return as_bool(self.config.get("required"), not as_bool(self.config.get("optional")))

    async def _tree(self) -> int | None:
        """The detached mount; None when its source is absent and need not be there."""
        try:
            return await (self._volume() if self.config.get("pool") else self._host_path())
        except NotFound:
            if self._required:
                raise
            return None

    async def _volume(self) -> int:
        record = self.context.volume(self.config["pool"], self.config["source"])
        idmap = [] if as_bool(record.config.get("security.unmapped")) else self.context.idmap
        return await self.context.pool(record.pool).share(
            Volume("custom", record.project, record.name), idmap, readonly=as_bool(self.config.get("readonly"))
        )

    async def _host_path(self) -> int:
        shifted = as_bool(self.config.get("shift"))
        userns = await namespaces.user(self.context.idmap) if shifted else None
        try:
            return await asyncio.to_thread(self._clone, userns)
        finally:
            if userns is not None:
                os.close(userns)

    def _clone(self, userns: int | None) -> int:
        source = self.config["source"]
        attributes = mount.MOUNT_ATTR_RDONLY if as_bool(self.config.get("readonly")) else 0
        try:
            with mount.closing(self._opened(source)) as found:
                if stat.S_ISBLK(os.fstat(found).st_mode):
                    raise Invalid(
                        f"device {self.name!r}: source {source} is a block device: mount it on the host first"
                    )
                recursive = as_bool(self.config.get("recursive"))
                return mount.idmapped(found, userns, attributes=attributes, recursive=recursive)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise NotFound(f'device {self.name!r}: Missing source path "{source}"') from error
            if error.errno == errno.EINVAL and userns is not None:
                raise Unsupported(f"device {self.name!r}: the filesystem of {source} cannot shift owners") from error
            raise

    def _opened(self, source: str) -> int:
        """The source as a descriptor. Where the project names folders that disks may come from, a link in it leads to
        nothing outside of that folder, also when a guest that has the folder changes it meanwhile."""
        if not self.context.folders:
            return os.open(source, os.O_PATH | os.O_CLOEXEC)
        path = PurePosixPath(source)
        for folder in self.context.folders:
            if path.is_relative_to(folder):
                with mount.closing(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
                    return open_in_root(root, str(path.relative_to(folder)), os.O_PATH)
        raise Forbidden(
            f"device {self.name!r}: Disk source path {source!r} not allowed by restricted.devices.disk.paths"
        )

    def _attach(self, tree: int) -> bool:
        """Put the mount at its place; whether it is a directory."""
        self._detach()
        self._point.parent.mkdir(parents=True, exist_ok=True)
        is_folder = stat.S_ISDIR(os.fstat(tree).st_mode)
        if is_folder:
            self._point.mkdir()
        else:
            self._point.touch()
        mount.attach(tree, self._point)
        return is_folder

    def _detach(self) -> None:
        mount.detach(self._point)
        with contextlib.suppress(FileNotFoundError):
            if self._point.is_dir():
                self._point.rmdir()
            else:
                self._point.unlink()
            self._point.parent.rmdir()

    async def _helper(self, running: Running, action: str, *, pass_fd: int = -1) -> None:
        descriptors = [pass_fd] if pass_fd >= 0 else []
        words = [str(running.init), action, self._target, *map(str, descriptors)]
        await run([sys.executable, "-I", "-S", _HELPER, *words], pass_fds=descriptors)
