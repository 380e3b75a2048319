"""Installs downloaded packages into a root filesystem with mmdebstrap, isolated from this machine.

Maintainer scripts and recipe commands are other people's programs run as root. They run as root of a user namespace
whose ids are nobody's here (mmdebstrap's mode "unshare"), inside mount, pid, ipc and uts namespaces, and with no network
at all unless the recipe says `network: true`. sandbox.sh hides /sys, /run, /home, the state of hutch and all but the
six harmless nodes of /dev beforehand.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from hutch.errors import Forbidden, Invalid, ToolFailed
from hutch.imagebuild import guest, pack, program
from hutch.imagebuild.packages import Download
from hutch.imagebuild.recipe import Recipe

# Ids that no user, guest (they begin at 1000000) or other builder has.
FIRST_ID, ID_COUNT = 1_900_000_000, 65536
SANDBOX = Path(__file__).with_name("sandbox.sh")


def build_root(recipe: Recipe, download: Download, work: Path, progress: Callable[[str], None]) -> Path:
    """Make the root filesystem of `recipe` in the folder `work`; the tar that holds it."""
    if os.geteuid() != 0:
        raise Forbidden("building an image from packages needs root")
    program.need("mmdebstrap", "mmdebstrap")
    program.need("newuidmap", "uidmap")
    _prepare(recipe, download, work)
    watcher = _Watcher(len(download.names), progress)
    progress(f"Installing {len(download.names)} packages")
    target = work / "rootfs.tar"
    try:
        program.run([*_namespaces(recipe), *_sandbox(recipe, work), *_mmdebstrap(recipe)], line=watcher, stdout=target)
    except ToolFailed as error:
        _explain(error)
        raise
    return target


def _prepare(recipe: Recipe, download: Download, work: Path) -> None:
    for name in ("subuid", "subgid"):
        (work / name).write_text(f"root:{FIRST_ID}:{ID_COUNT}\n")
    temporary = work / "tmp"
    temporary.mkdir(mode=0o755)
    os.chown(temporary, FIRST_ID, FIRST_ID)
    repository = work / "repository"
    repository.mkdir(mode=0o755)
    for path in download.repository.iterdir():
        (repository / path.name).hardlink_to(path)
        path.chmod(0o644)
    pack.write_tree(guest.systemd_files(), work / "base.tar")
    own = [guest.file(path, item.content, item.mode) for path, item in recipe.files.items()]
    pack.write_tree(own, work / "files.tar")
    pack.write_tree(
        [guest.file(f"etc/apt/sources.list.d/{recipe.distribution}.sources", guest.sources_list(recipe))],
        work / "apt.tar",
    )
    (work / "commands").write_text(_script("recipe command", recipe.commands))
    (work / "finish").write_text(_script("", guest.SYSTEMD_COMMANDS))


def _script(what: str, commands: tuple[str, ...]) -> str:
    """A shell script that names the line it fails in and stops there."""
    lines = ["set -e", "export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    for number, command in enumerate(commands, 1):
        if what:
            lines.append(f"echo 'hutch: {what} {number} of {len(commands)}' >&2")
        lines.append(command)
    return "\n".join([*lines, ""])


def _namespaces(recipe: Recipe) -> list[str]:
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", "--uts"]
    return argv if recipe.network else [*argv, "--net"]


def _sandbox(recipe: Recipe, work: Path) -> list[str]:
    return ["sh", str(SANDBOX), str(work), "network" if recipe.network else "offline", "env", "TMPDIR=/mnt/tmp"]


def _mmdebstrap(recipe: Recipe) -> list[str]:
    inside = 'chroot "$1" /bin/sh'
    return [
        "mmdebstrap",
        "--mode=unshare",
        "--variant=minbase",
        "--format=tar",
        "--verbose",
        f"--architectures={recipe.debian_architecture}",
        f"--include={','.join(recipe.all_packages)}",
        "--dpkgopt=force-unsafe-io",
        # /sys is hidden by the sandbox, and the machine-id becomes empty instead of "uninitialized".
        "--skip=chroot/mount/sys,cleanup/reproducible",
        '--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
        "--customize-hook=tar-in /mnt/base.tar /",
        "--customize-hook=tar-in /mnt/apt.tar /",
        "--customize-hook=tar-in /mnt/files.tar /",
        f"--customize-hook={inside} < /mnt/commands",
        f"--customize-hook={inside} < /mnt/finish",
        "",
        "-",
        "deb [trusted=yes] copy:///mnt/repository ./",
    ]


class _Watcher:
    """Turns dpkg's lines into one line of progress for every fifth part."""

    def __init__(self, count: int, progress: Callable[[str], None]) -> None:
        self.count, self.progress, self.done, self.said = count, progress, 0, 0
        self.command = ""

    def __call__(self, line: str) -> None:
        if line.startswith(("Unpacking ", "Setting up ")):
            self.done += 1
            part = min(100, 100 * self.done // (2 * self.count))
            if part >= self.said + 10:
                self.said = part // 10 * 10
                self.progress(f"Installing {self.count} packages: {self.said}%")
        elif match := re.match(r"hutch: (recipe command \d+ of \d+)", line):
            self.progress(f"Running {match[1]}")


def _explain(error: ToolFailed) -> None:
    """Raise with the recipe's own words when it was one of its commands that failed."""
    lines = error.stderr.splitlines()
    for index in range(len(lines) - 1, -1, -1):
        match = re.match(r"hutch: (recipe command \d+) of", lines[index])
        if match:
            said = [line for line in lines[index + 1 :] if not line.startswith(("E: ", "I: ", "W: "))]
            raise Invalid(f"{match[1]} failed: {said[-1] if said else 'it printed nothing'}") from error
