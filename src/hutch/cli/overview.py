"""What `hutch --help` shows; reads the first lines of the commands' files and imports none of them."""

import os
from pathlib import Path

TOPICS = {
    "Instances": "launch init list info start stop restart pause resume delete exec shell console file "
    "snapshot restore copy move rename publish",
    "Configuration": "config profile project",
    "Resources": "image network storage",
    "Server": "admin import-from-lxd operation warning monitor query version completion",
}


def overview() -> str:
    purposes = {name: first_line(path) for name, path in _files()}
    shown = {topic: [name for name in names.split() if name in purposes] for topic, names in TOPICS.items()}
    listed = {name for names in shown.values() for name in names}
    if more := sorted(set(purposes) - listed):
        shown["More"] = more
    lines = ["Usage: hutch [--dir DIR] [--project PROJECT] [-q] COMMAND ...", "", "Full machines in containers."]
    for topic, names in shown.items():
        lines += ["", f"{topic}:", *(f"  {name:<17}{purposes[name]}" for name in names)]
    return "\n".join([*lines, "", "`hutch COMMAND --help` explains a command and shows an example."])


def _files() -> list[tuple[str, str]]:
    folder = str(Path(__file__).parent / "commands")
    found = []
    for name in os.listdir(folder):  # noqa: PTH208
        if name.startswith(("_", ".")):
            continue
        is_package = not name.endswith(".py")
        found.append(
            (
                name.removesuffix(".py").replace("_", "-"),
                f"{folder}/{name}/__init__.py" if is_package else f"{folder}/{name}",
            )
        )
    return found


def first_line(path: str) -> str:
    """The purpose of a command: the first sentence of its module."""
    with open(path) as stream:  # noqa: PTH123
        return stream.readline().strip().strip('"')
