"""Reading and changing the configuration maps of things: what `get`, `set`, `unset` and `edit` of every kind share.

Changes are read, applied and put back with the ETag that was read, so that two people never undo each other's work.
"""

from collections.abc import Callable

from hutch import errors
from hutch.cli.session import Session, pairs
from hutch.client.connection import Document


def assignments(words: list[str]) -> dict[str, str]:
    """`KEY=VALUE...`, or LXD's older `KEY VALUE`; `-` as a value reads the standard input."""
    if len(words) == 2 and "=" not in words[0]:
        words = [f"{words[0]}={words[1]}"]
    found = pairs(words, "KEY=VALUE")
    if "-" in found.values():
        import sys

        found = {key: sys.stdin.read() if value == "-" else value for key, value in found.items()}
    return found


def change(session: Session, path: str, members: tuple[str, ...], apply: Callable[[Document], None]) -> None:
    """Read what is at `path`, let `apply` change its `members`, and put them back."""
    reply = session.client.request("GET", path)
    document = {name: reply.metadata[name] for name in members if name in reply.metadata}
    apply(document)
    session.finish(session.client.request("PUT", path, document, etag=reply.etag))


def set_keys(session: Session, path: str, members: tuple[str, ...], words: list[str]) -> None:
    values = assignments(words)

    def apply(document: Document) -> None:
        document["config"] = (document.get("config") or {}) | values

    change(session, path, members, apply)


def unset_key(session: Session, path: str, members: tuple[str, ...], key: str, owner: str) -> None:
    def apply(document: Document) -> None:
        config = dict(document.get("config") or {})
        if key not in config:
            raise errors.NotFound(f"{key} is not set on {owner}")
        del config[key]
        document["config"] = config

    change(session, path, members, apply)


def get_key(session: Session, path: str, key: str) -> None:
    print((session.client.get(path).get("config") or {}).get(key, ""))


def show(document: Document, members: tuple[str, ...] = ()) -> None:
    """Print a document, or some members of it, as YAML."""
    from hutch.cli.yamltext import dump

    shown = {name: document[name] for name in members if name in document} if members else document
    print(dump(shown), end="")
