"""Shows on a terminal how far long work is, in one line that is written over."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

from hutch import errors
from hutch.cli.command import terminal_width
from hutch.cli.session import Session
from hutch.client.connection import Document
from hutch.client.operations import progress, wait

PATIENCE = 0.5
"""Seconds before a line without progress is shown: short work stays silent."""

KILOBYTE = 1000.0


class Line:
    """The last line of the terminal; nothing is shown when `visible` is false."""

    def __init__(self, visible: bool) -> None:
        self.visible, self.shown = visible, ""

    def show(self, text: str) -> None:
        if not self.visible or text == self.shown:
            return
        self.shown = text
        sys.stderr.write(f"\r\x1b[K{text[: terminal_width() - 1]}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self.shown:
            self.shown = ""
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()


def follow(session: Session, operation: str, doing: str = "") -> Document:
    """Wait for an operation. Ctrl-C cancels it when it can be cancelled, a second one leaves it running."""
    with Line(session.shows_progress) as line:
        started = time.monotonic()

        def watch(document: Document) -> None:
            text = progress(document)
            label = doing or str(document.get("description") or "Working")
            if text:
                line.show(f"{label}: {text}{_drawn(text)}")
            elif time.monotonic() - started > PATIENCE:
                line.show(f"{label} {'.' * (1 + int(time.monotonic() - started) % 3)}")

        try:
            return wait(session.client, operation, watch if line.visible else None)
        except KeyboardInterrupt:
            line.clear()
            return _interrupted(session, operation)


def _interrupted(session: Session, operation: str) -> Document:
    session.client.close()  # an answer may be half read
    try:
        session.client.request("DELETE", operation)
        print("Cancelling; press Ctrl-C again to leave it behind", file=sys.stderr)
    except errors.HutchError:
        print("This cannot be cancelled; press Ctrl-C again to leave it running", file=sys.stderr)
    return wait(session.client, operation)


def counter(line: Line, label: str, total: int | None) -> Callable[[int], None]:
    """A function to be told of bytes that moved, which keeps `line` up to date."""
    moved, shown, started = 0, 0.0, time.monotonic()

    def advance(size: int) -> None:
        nonlocal moved, shown
        moved += size
        now = time.monotonic()
        if now - shown < 0.1:
            return
        shown = now
        speed = f"{amount(moved / max(now - started, 0.001))}/s"
        done = f"{100 * moved // total}% {_bar(moved, total)}" if total else amount(moved)
        line.show(f"{label}: {done} {speed}")

    return advance


def _drawn(text: str) -> str:
    """A bar for the percentage that the text tells."""
    before, percent, _ = text.partition("%")
    number = before.rpartition(" ")[2]
    return f" {_bar(int(number), 100)}" if percent and number.isdigit() and int(number) <= 100 else ""


def _bar(moved: int, total: int, width: int = 24) -> str:
    filled = min(width, width * moved // total)
    return f"[{'#' * filled}{' ' * (width - filled)}]"


def amount(size: float) -> str:
    """A size as people read it, in powers of a thousand as LXD shows them."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < KILOBYTE or unit == "TB":
            return f"{size:.0f}{unit}" if unit == "B" else f"{size:.2f}{unit}"
        size /= KILOBYTE
    raise AssertionError


def binary_amount(size: float) -> str:
    """A size in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f}{unit}" if unit == "B" else f"{size:.2f}{unit}"
        size /= 1024
    raise AssertionError
