"""Debian's real LXD 5.0.2 as a host on a segment: unpacked beside the system, in namespaces of its own."""

import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from bench import lxdpackage
from tests.hosts import run_folder
from tests.hosts.api import Api
from tests.hosts.groups import groups_beginning, removed
from tests.hosts.namespace import Namespace
from tests.hosts.segment import Segment
from tests.hosts.waiting import wait_until

PASSWORD = "secret"
_GROUPS = ("lxc.payload.", "lxc.monitor.", "lxc.pivot")


class Lxd:
    """Made with a running daemon that has a pool `default` (dir), no network, and serves HTTPS on its `address`."""

    def __init__(self, segment: Segment) -> None:
        self.root = lxdpackage.unpacked()
        self.folder = Path(tempfile.mkdtemp(prefix="lxd-", dir=run_folder.folder()))
        self.folder.chmod(0o711)
        self.directory = self.folder / "lxd"
        self.directory.mkdir(mode=0o711)
        self.api = Api(self.directory / "unix.socket")
        self.daemon: subprocess.Popen[bytes] | None = None
        self._others = groups_beginning(*_GROUPS)
        self.namespace = Namespace()
        try:
            self.address = segment.join(self.namespace)
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/usr/bin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{self.root}/usr/lib/{os.uname().machine}-linux-gnu",
            "LXD_DIR": str(self.directory),
            "LXD_CONF": str(self.folder / "lxc-client"),
        }

    def _start(self) -> None:
        (self.folder / "subids").write_text("root:1000000:1000000000\n")
        for name in ("/etc/subuid", "/etc/subgid"):
            self.namespace.run("mount", "--bind", self.folder / "subids", name)
        words = self.namespace.command("setpriv", "--pdeathsig", "KILL", self.root / "usr/bin/lxd", "--group", "root")
        with (self.folder / "lxd.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                words,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: self.lxc("list", check=False).returncode == 0, 60, every=0.2, what="LXD answers")
        self.lxc("storage", "create", "default", "dir")
        self.lxc("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default")
        self.lxc("config", "set", "core.https_address", f"{self.address}:8443")
        self.lxc("config", "set", "core.trust_password", PASSWORD)

    def lxc(self, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return self.namespace.run(self.root / "usr/bin/lxc", *words, env=self.environment, **how)

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
        self.namespace.close()
        ours = groups_beginning(*_GROUPS) - self._others
        wait_until(lambda: removed(ours), what="the control groups of LXD's guests are empty")
        run_folder.remove_tree(self.folder)

    def __enter__(self) -> "Lxd":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
