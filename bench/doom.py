"""`python -m bench.doom`: Doom moves between two hosts while it is played over one VNC connection; `--write` tells docs/doom.md.

Both hosts are whole ones, each with its own network and mount namespace, on one segment; the viewer sits outside of both.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hutch.imagebuild import recipe
from hutch.imagebuild.build import build
from tests.hosts import wait_until
from tests.migration.world import World

MOVES, AROUND = 5, 3.0
"""How often it moves, and the seconds of play before, between and after."""

_VIEWER = Path(__file__).parent / "rfb.py"
_RECIPE = Path(__file__).parent / "recipes" / "doom.yaml"
_DOCS = Path(__file__).parents[1] / "docs"
_MARK = "<!-- below this line: written by `make doom` -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.doom", description=__doc__)
    parser.add_argument("--moves", type=int, default=MOVES, metavar="N", help=f"how often it moves (default: {MOVES})")
    parser.add_argument("--write", action="store_true", help="put figures and pictures into docs/")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("must be run as root")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = _DOCS if options.write else Path.cwd()
    image = build(recipe.load(_RECIPE), progress=_say)
    with contextlib.closing(World()) as world:
        seen, pauses = _play(world, image.path, options.moves, folder)
    text = _report(seen, pauses)
    print(text)
    if options.write:
        page = _DOCS / "doom.md"
        page.write_text(f"{page.read_text().partition(_MARK)[0]}{_MARK}\n{text}")
    return int(bool(seen["wrong"]))


def _play(world: World, image: Path, moves: int, folder: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    for host in world.hosts:
        host.import_image(image, "doom")
    world.a.create("doom", "doom", config={"migration.stateful": "true"})
    address = world.a.address_of("doom", timeout=60)
    wait_until(lambda: _plays(world, address), 60, every=0.3, what="Doom can be seen")
    pauses, here = [], world.a
    with _viewer(world, address) as (viewer, seen):
        time.sleep(AROUND)
        _picture(viewer, folder / "doom-before.png")
        for number in range(moves):
            done = world.move("doom", here)
            here = world.other(here)
            pauses.append(done["metadata"].get("pause") or {})
            _say(f"move {number + 1} of {moves}: {pauses[-1]}")
            time.sleep(AROUND)
        _picture(viewer, folder / "doom-after.png")
    return seen, pauses


def _plays(world: World, address: str) -> bool:
    ready = world.a.exec("doom", "systemctl", "is-active", "screen", "doom", "vnc", check=False).stdout
    if ready != "active\n" * 3:
        return False
    probe = f"import socket; socket.create_connection(({address!r}, 5900), 2).recv(12)"
    return world.outside.run(sys.executable, "-c", probe, check=False).returncode == 0


@contextlib.contextmanager
def _viewer(world: World, address: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """Somebody who plays; what they saw is in the dictionary afterwards."""
    seen: dict[str, Any] = {}
    words = world.outside.command(sys.executable, "-I", "-S", _VIEWER, address, "5900")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as viewer:
        try:
            yield viewer, seen
        except BaseException:
            viewer.kill()
            raise
        out, _ = viewer.communicate(timeout=90)
    seen |= json.loads(out)


def _picture(viewer: "subprocess.Popen[str]", path: Path) -> None:
    path.unlink(missing_ok=True)
    assert viewer.stdin is not None
    viewer.stdin.write(f"{path}\n")
    viewer.stdin.flush()
    wait_until(path.exists, 30, what=f"{path.name} is there")


def _report(seen: dict[str, Any], pauses: list[dict[str, float]]) -> str:
    lines = [
        f"{len(pauses)} moves with one connection: {seen['frames']} frames, {seen['changed']} of them different from the one "
        f"before; longest gap between two frames {seen['gap'] * 1000:.0f} ms. "
        + (f"It failed: {seen['wrong']}." if seen["wrong"] else "The connection held."),
        "",
    ]
    parts = list(dict.fromkeys(part for pause in pauses for part in pause))
    if parts:
        lines += ["| part of the pause | median | longest |", "| --- | --- | --- |"]
        for part in parts:
            values = [pause[part] for pause in pauses if part in pause]
            lines.append(f"| {part} | {statistics.median(values):.3f} | {max(values):.3f} |")
    return "\n".join([*lines, ""])


def _say(text: str) -> None:
    print(f"    {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
