"""hutchd: the program, in the foreground, until SIGTERM."""

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import sys
from pathlib import Path

from hutch import __version__
from hutch.daemon import startup
from hutch.daemon.config import Options
from hutch.daemon.logs import set_up as set_up_logs
from hutch.errors import HutchError
from hutch.kernel import memory, namespaces, pidfd
from hutch.runtime.lxc import record
from hutch.work import stalls

log = logging.getLogger(__name__)


def options(argv: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="hutchd", description="The daemon of hutch: full machines in containers.")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(os.environ.get("HUTCH_DIR", "/var/lib/hutch")),
        help="where the state is (default %(default)s, or $HUTCH_DIR)",
    )
    parser.add_argument(
        "--group", default="hutch", help="the group whose members may use the socket (default %(default)s)"
    )
    parser.add_argument(
        "--user-group",
        default="hutch-users",
        help="the group whose members may each have a project of their own, by DIR/unix.socket.user (default %(default)s)",
    )
    parser.add_argument(
        "--lxcfs",
        type=Path,
        help="where lxcfs is mounted (default: DIR/lxcfs, then /var/lib/lxcfs, where it is mounted)",
    )
    parser.add_argument(
        "--tls-min", choices=("1.2", "1.3"), default="1.3", help="the oldest TLS to speak (default %(default)s)"
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="one line an event on stderr")
    parser.add_argument("--debug", action="store_true", help="log every program that is run")
    parser.add_argument("--boot-id", default="", help="name of the host's current boot (default: the kernel's boot id)")
    parser.add_argument("--version", action="version", version=f"hutchd {__version__}")
    words = parser.parse_args(argv)
    return Options(
        directory=words.dir.absolute(),
        group=words.group,
        lxcfs=words.lxcfs,
        boot=words.boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        debug=words.debug,
        tls=words.tls_min,
        users=words.user_group,
        json_logs=words.log_format == "json",
    )


def enter_mounts(directory: Path) -> None:
    """Join the mount namespace in which an earlier daemon left its guests' roots, or make one.

    A daemon that is killed leaves its namespace, with every mount it made, to the guests that run; when the last of
    them has gone, so have the mounts.
    """
    for path in directory.glob("instances/*/*"):
        found = record.read(path)
        if found is None or pidfd.start_time(found.monitor) != found.monitor_started:
            continue
        with contextlib.suppress(OSError):
            namespaces.join_mounts(found.monitor)
            return
    namespaces.own_mounts()


def main() -> int:
    wanted = options()
    set_up_logs(json=wanted.json_logs, debug=wanted.debug)
    if os.geteuid() != 0:
        print("hutchd: must be run as root", file=sys.stderr)
        return 1
    os.umask(0o022)
    wanted.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    with (wanted.directory / "hutchd.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"hutchd: another daemon runs in {wanted.directory}", file=sys.stderr)
            return 1
        # one heap arena for all threads: dozens of them would keep what they once used
        memory.single_arena()
        namespaces.keep_host_mounts()
        enter_mounts(wanted.directory)
        if sys.version_info < (3, 12):
            asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
        selector = stalls.Selector()
        try:
            with asyncio.Runner(loop_factory=lambda: _loop(selector)) as runner:
                runner.run(startup.serve(wanted, selector))
        except HutchError as error:
            log.error("%s", error)
            return 1
    return 0


def _loop(selector: stalls.Selector) -> asyncio.AbstractEventLoop:
    loop = asyncio.SelectorEventLoop(selector)
    # Before Python 3.12 this is how the watcher of children learns of the loop.
    asyncio.set_event_loop(loop)
    return loop


if __name__ == "__main__":
    sys.exit(main())
