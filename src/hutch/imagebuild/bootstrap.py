"""Installs downloaded packages into a root filesystem with mmdebstrap, isolated from this machine.

Maintainer scripts and recipe commands are other people's programs that want to be root. sandbox.sh makes them root of a
user namespace whose ids are nobody's here, with mount, pid, ipc, uts and cgroup namespaces, and with no network at all
unless the recipe says `network: true`; /sys, /run, /home, the state of hutch and all but six harmless nodes of /dev
are covered. mmdebstrap runs wholly in there, in its mode "root" (its mode "unshare" makes no user namespace for root).
"""

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

from hutch.errors import Forbidden, Invalid, ToolFailed, Unsupported
from hutch.imagebuild import guest, pack, program
from hutch.imagebuild.packages import Download
from hutch.imagebuild.recipe import Recipe

# Ids that no user, guest (they begin at 1000000) or other builder has.
FIRST_ID, ID_COUNT = 1_900_000_000, 65536
HEAD = "set -e; export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMANDS_DONE = "hutch: recipe done"
SANDBOX = Path(__file__).with_name("sandbox.sh")


def build_root(recipe: Recipe, download: Download, work: Path, progress: Callable[[str], None]) -> Path:
    """Make the root filesystem of `recipe` in the folder `work`; the tar that holds it."""
    if os.geteuid() != 0:
        raise Forbidden("building an image from packages needs root")
    if recipe.architecture != platform.machine():
        raise Unsupported(f"an image for {recipe.architecture} cannot be built on {platform.machine()}")
    program.need("mmdebstrap", "mmdebstrap")
    program.need("nsenter", "util-linux")
    inside = work / "inside"
    _prepare(recipe, download, inside)
    watcher = Watcher(len(download.names), progress)
    progress(f"Installing {len(download.names)} packages")
    target = work / "rootfs.tar"
    try:
        program.run(
            [*_namespaces(recipe), *_sandbox(recipe, inside), *_mmdebstrap(recipe)], line=watcher, stdout=target
        )
    except ToolFailed as error:
        explain(error)
        raise
    return target


def _prepare(recipe: Recipe, download: Download, inside: Path) -> None:
    """Lay out what the sandbox sees as /mnt; it belongs to the sandbox's root and to nobody else."""
    repository, temporary = inside / "repository", inside / "tmp"
    for folder in (inside, repository, temporary):
        folder.mkdir(mode=0o755)
        os.chown(folder, FIRST_ID, FIRST_ID)
    inside.chmod(0o700)
    for path in download.repository.iterdir():
        (repository / path.name).hardlink_to(path)
        path.chmod(0o644)
    pack.write_tree(guest.systemd_files(), inside / "base.tar")
    own = [guest.file(path, item.content, item.mode) for path, item in recipe.files.items()]
    own = [*(guest.cloud_init_files() if recipe.has_cloud_init else []), *own]
    pack.write_tree(own, inside / "files.tar")
    sources = f"etc/apt/sources.list.d/{recipe.distribution}.sources"
    pack.write_tree([guest.file(sources, guest.sources_list(recipe))], inside / "apt.tar")
    (inside / "resolv.conf").write_text(_resolvers())
    (inside / "commands").write_text(_recipe_script(recipe.commands))
    (inside / "finish").write_text("\n".join([HEAD, *guest.SYSTEMD_COMMANDS, ""]))


def _resolvers() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""


def _recipe_script(commands: tuple[str, ...]) -> str:
    """Each command is announced, so that the one that fails can be named."""
    lines = [HEAD]
    for number, command in enumerate(commands, 1):
        lines += [f"echo 'hutch: recipe command {number}' >&2", command]
    return "\n".join([*lines, f"echo '{COMMANDS_DONE}' >&2", ""])


def _namespaces(recipe: Recipe) -> list[str]:
    # A killed client takes the build with it.
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return argv if recipe.network else [*argv, "--net"]


def _sandbox(recipe: Recipe, inside: Path) -> list[str]:
    network = "network" if recipe.network else "offline"
    return ["sh", str(SANDBOX), str(inside), str(FIRST_ID), str(ID_COUNT), network, "env", "TMPDIR=/mnt/tmp"]


def _mmdebstrap(recipe: Recipe) -> list[str]:
    inside = 'chroot "$1" /bin/sh'
    return [
        "mmdebstrap",
        "--mode=root",
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
        *(["--customize-hook=upload /mnt/resolv.conf /etc/resolv.conf"] if recipe.network else []),
        f"--customize-hook={inside} < /mnt/commands",
        f"--customize-hook={inside} < /mnt/finish",
        "",
        "-",
        "deb [trusted=yes] copy:///mnt/repository ./",
    ]


class Watcher:
    """Turns dpkg's lines into one line of progress for every fifth part."""

    def __init__(self, count: int, progress: Callable[[str], None]) -> None:
        self.count, self.progress, self.done, self.said = count, progress, 0, 0

    def __call__(self, line: str) -> None:
        if line.startswith(("Unpacking ", "Setting up ")):
            self.done += 1
            part = min(100, 100 * self.done // (2 * self.count))
            if part >= self.said + 10:
                self.said = part // 10 * 10
                self.progress(f"Installing {self.count} packages: {self.said}%")
        elif match := re.match(r"hutch: (recipe command \d+)", line):
            self.progress(f"Running {match[1]}")


def explain(error: ToolFailed) -> None:
    """Raise with the command's own words when it was one of the recipe's commands that failed."""
    lines = error.stderr.splitlines()
    for index in range(len(lines) - 1, -1, -1):
        if lines[index] == COMMANDS_DONE:
            return
        match = re.match(r"hutch: (recipe command \d+)", lines[index])
        if match:
            said = [line for line in lines[index + 1 :] if not line.startswith(("E: ", "I: ", "W: "))]
            raise Invalid(f"{match[1]} failed: {said[-1] if said else 'it printed nothing'}") from error
