"""What stands before CRIU at a stateful stop and start: `front` is the `criu` that liblxc finds, `hook` CRIU's action script.

liblxc writes arguments that CRIU cannot take in a user namespace, or that name what this guest does not have; the front
rewrites them and becomes CRIU: without a fork between, for the restored init is to be the child of liblxc's monitor.
What it must know is in the JSON file that HUTCH_CRIU names. Standard library only.
"""

import json
import os
import sys
from typing import Any

KEPT = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control")


def front(plan: dict[str, Any], arguments: list[str]) -> None:
    criu = plan["criu"]
    if arguments[:1] == ["restore"]:
        with open(plan["monitor_pid"], "w") as file:  # noqa: PTH123
            file.write(f"{os.getppid()}\n")
        make_groups(plan["group"], plan["groups"])
        arguments = rewritten(arguments, plan)
        if plan["console"]:
            terminal = os.open(plan["console"], os.O_RDWR | os.O_NOCTTY)
            os.set_inheritable(terminal, True)
            arguments += ["--inherit-fd", f"fd[{terminal}]:{plan['terminal']}"]
    os.execv(criu, [criu, *arguments])


def rewritten(arguments: list[str], plan: dict[str, Any]) -> list[str]:
    """A prepared device for each nic, and the control group that there is for those of the controllers."""
    words, left = [], iter(arguments)
    for word in left:
        if word.startswith("--manage-cgroups"):
            words.append("--manage-cgroups=soft")
        elif word == "--cgroup-root":
            next(left)
        elif word == "--external" and (value := next(left)).startswith("veth["):
            words += ["--external", netdev(value[5:].partition("]")[0], plan)]
        elif word == "--external":
            words += ["--external", value]
        elif word == "--veth-pair":
            words += ["--external", netdev(next(left).partition("=")[0], plan)]
        elif word == "-vvvvvv":
            words.append("-v2")
        else:
            words.append(word)
    return [*words, "--cgroup-root", f"/{plan['group_name']}", "--network-lock", "nftables", *plan["more"]]


def netdev(name: str, plan: dict[str, Any]) -> str:
    return f"netdev[{name}]:{plan['links'][name]}"


def hook(plan: dict[str, Any], action: str) -> None:
    if action == "post-dump":
        save_groups(plan["group"], plan["groups"])
    elif action == "post-restore":
        for path, value in plan["settings"]:
            with open(path, "w") as file:  # noqa: PTH123
                file.write(value)


def save_groups(top: str, target: str) -> None:
    """The guest's folders below `top` with modes and owners. Written last, and whole: the sign that the images are complete."""
    found = []
    for folder, names, _ in os.walk(top):
        if folder == top and ".lxc" in names:
            names.remove(".lxc")
        files = [[name, *facts(f"{folder}/{name}")] for name in KEPT]
        found.append([os.path.relpath(folder, top), *facts(folder), files])
    with open(f"{target}.new", "w") as file:  # noqa: PTH123
        json.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{target}.new", target)  # noqa: PTH104


def facts(path: str) -> tuple[int, int, int]:
    found = os.stat(path)  # noqa: PTH116
    return found.st_mode & 0o7777, found.st_uid, found.st_gid


def make_groups(top: str, source: str) -> None:
    """CRIU makes only those that hold processes, and systemd watches the others too."""
    with open(source) as file:  # noqa: PTH123
        groups = json.load(file)
    for name, mode, uid, gid, files in sorted(groups):
        folder = os.path.normpath(f"{top}/{name}")
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        put(folder, mode, uid, gid)
        for file_name, *owner in files:
            put(f"{folder}/{file_name}", *owner)


def put(path: str, mode: int, uid: int, gid: int) -> None:
    os.chmod(path, mode)  # noqa: PTH101
    os.chown(path, uid, gid)


def main() -> None:
    with open(os.environ["HUTCH_CRIU"]) as file:  # noqa: PTH123
        plan = json.load(file)
    if sys.argv[1] == "hook":
        hook(plan, os.environ["CRTOOLS_SCRIPT_ACTION"])
    else:
        front(plan, sys.argv[2:])


if __name__ == "__main__":
    main()
