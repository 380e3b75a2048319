"""What a command works with: the connection, where it prints, and how it waits."""

import os
import sys
from copy import copy
from typing import IO, Any

from hutch import errors
from hutch.client.connection import Client, Document, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.client.remotes import Remote


class Session:
    """One run of the program. `remote` is the name of the server that it talks to, `project` the one it works in: as
    given, else the one that was switched to on that server."""

    def __init__(self, directory: str, project: str = "", *, quiet: bool = False) -> None:
        self.directory, self.given_project, self.quiet = directory, project, quiet
        self.project, self.remote = project or "default", "local"
        self.elsewhere = ""
        self.target: Session | None = None
        self.client = Client(os.environ.get("HUTCH_SOCKET") or _socket(directory.rstrip("/")), self.project)

    def connect(self, name: str, remote: "Remote | None", project: str) -> None:
        """Talk to the server `name`: on another host, or (None) this host's daemon; `project` is the one switched to there."""
        self.remote, self.project = name, self.given_project or project
        self.client.project = self.project
        if remote is not None:
            self.client = Client.to(remote, self.project)

    def beside(self) -> "Session":
        """A session like this one with this host's daemon, to be connected elsewhere."""
        other = copy(self)
        other.client = Client(self.client.socket_path, self.project)
        return other

    @property
    def is_interactive(self) -> bool:
        """A person sits in front of both ends."""
        return sys.stdin.isatty() and sys.stdout.isatty()

    @property
    def shows_progress(self) -> bool:
        return not self.quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """A line for people, left out with --quiet."""
        if not self.quiet:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        print(f"Warning: {text}", file=sys.stderr)

    def finish(self, reply: Reply, doing: str = "") -> Document:
        """Wait for the operation that a request began; its last document, empty for a request that was answered."""
        if not reply.is_async:
            return {}
        from hutch.cli.progress import follow

        return follow(self, reply.operation, doing)

    def ask(self, question: str) -> str:
        """A line typed by a person; Invalid when nobody is there."""
        try:
            return input(question).strip()
        except EOFError:
            raise errors.Invalid("no answer: the input ended") from None

    def confirm(self, question: str) -> bool:
        return self.ask(f"{question} (yes/no) [no]: ").lower() in ("y", "yes")


def _socket(directory: str) -> str:
    """The daemon's socket, or for one who may not use that the one for users, if there is one."""
    own, users = f"{directory}/unix.socket", f"{directory}/unix.socket.user"
    return users if not os.access(own, os.W_OK) and os.path.exists(users) else own  # noqa: PTH110


def standard_input() -> IO[bytes] | None:
    """What is redirected or piped into the program; None for terminals and devices."""
    import stat

    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return None
    return sys.stdin.buffer if stat.S_ISREG(mode) or stat.S_ISFIFO(mode) else None


def redirected_yaml() -> Document:
    """The YAML document piped into a command that takes one, as `hutch launch` does; empty when there is none."""
    stream = standard_input()
    text = stream.read().decode() if stream else ""
    if not text.strip():
        return {}
    from hutch.cli.yamltext import mapping

    return mapping(text, "the standard input")


def pairs(words: list[str] | None, what: str = "key=value") -> dict[str, str]:
    """`key=value` words as a map."""
    found: dict[str, Any] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise errors.Invalid(f"{word!r} is not of the form {what}")
        found[key] = value
    return found
