"""Finds the image that a word means: an alias first, then the beginning of a fingerprint."""

from hutch import errors
from hutch.cli.session import Session
from hutch.client.connection import url


def fingerprint(session: Session, word: str) -> str:
    """The fingerprint, or its beginning, which the daemon completes."""
    try:
        return str(session.client.get(url("images", "aliases", word))["target"])
    except errors.NotFound:
        if not word or set(word.lower()) - set("0123456789abcdef"):
            raise errors.NotFound(f"no image has the alias {word!r}; `hutch image list` shows the images") from None
        return word.lower()


def path(session: Session, word: str) -> str:
    return url("images", fingerprint(session, word))
