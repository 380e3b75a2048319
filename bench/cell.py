"""A network, mount and process namespace in which a daemon runs; whatever is in it ends with it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")

# A /sys that shows the cell's own links, with the machine's cgroups; lxcfs, as on any host of containers.
_INSIDE = """
set -e
mkdir -p "$0/sys"
mount --rbind /sys/fs/cgroup "$0/sys"
mount -t sysfs sysfs /sys
mount --move "$0/sys" /sys/fs/cgroup
for file in /etc/subuid /etc/subgid; do mount --bind "$0/subids" "$file"; done
ip link set lo up
mkdir -p /var/lib/lxcfs
lxcfs -p "$0/lxcfs.pid" /var/lib/lxcfs >"$0/lxcfs.log" 2>&1 </dev/null &
until [ -e /var/lib/lxcfs/proc/meminfo ]; do sleep 0.01; done
exec 3<&0
"$@" <&3 3<&- &
wait $!
"""


@contextlib.contextmanager
def cell(
    directory: Path, argv: Sequence[str | Path], environment: Mapping[str, str], *, talks: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """`argv` running in a cell; with `talks` through pipes, else it logs to DIRECTORY/log.

    The first process of the cell ends with this one, however that ends.
    """
    directory.mkdir(parents=True)
    (directory / "subids").write_text("root:1000000:1000000000\n")
    shut = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL"]
    words = [*shut, "--mount-proc", "sh", "-c", _INSIDE, str(directory), *(str(word) for word in argv)]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            words,
            env=dict(environment),
            text=True,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], bool], what: str, deadline: float = 60.0, interval: float = 0.02) -> None:
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline:.0f} s for {what}")
        time.sleep(interval)


def pivots() -> set[Path]:
    """The groups that liblxc's monitors leave, one below each group that one was started in."""
    return set(_tops(CGROUPS, ["lxc.pivot"]))


def remove_cgroups(prefixes: Sequence[str], others: Collection[Path] = ()) -> None:
    """The control groups whose names begin so, in every hierarchy, and `others`, when their processes have ended."""

    def gone() -> bool:
        tops = [*_tops(CGROUPS, prefixes), *others]
        for top in tops:
            _thaw(top)
            for group in sorted((group for group in [top, *top.rglob("*")] if group.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
        return not any(top.exists() for top in tops)

    until(gone, f"the end of the control groups {', '.join(prefixes)}", 10)


def _thaw(group: Path) -> None:
    """Let killed processes die that a daemon had frozen, for a snapshot or a stop."""
    for file, word in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
        if (group / file).exists():
            with contextlib.suppress(OSError):
                (group / file).write_text(word)


def _tops(hierarchy: Path, prefixes: Sequence[str]) -> list[Path]:
    """liblxc makes its groups below the one it was started in, which in version 1 differs by hierarchy."""
    found = []
    for folder, names, _ in os.walk(hierarchy):
        ours = [name for name in names if name.startswith(tuple(prefixes))]
        found += [Path(folder, name) for name in ours]
        names[:] = [name for name in names if name not in ours]
    return found


def remove_tree(directory: Path) -> None:
    """Delete what the cells left on the disk, when nothing is mounted there and no loop device uses it."""

    def unused() -> bool:
        loops = subprocess.run(["losetup", "-nO", "BACK-FILE"], capture_output=True, text=True, check=True).stdout
        return str(directory) not in loops + Path("/proc/self/mountinfo").read_text()

    until(unused, f"{directory} to be free of mounts and loop devices", 20)
    subprocess.run(["rm", "-rf", "--one-file-system", str(directory)], check=True)
