"""Bringing image files to the daemon and naming them, for `image import` and `image build`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from hutch import errors
from hutch.cli.progress import Line, counter
from hutch.cli.session import Session
from hutch.client import images
from hutch.client.connection import Document, url


def import_files(
    session: Session,
    metadata: Path,
    rootfs: Path | None,
    *,
    public: bool = False,
    properties: Mapping[str, str] | None = None,
) -> str:
    """Upload an image; its fingerprint when the daemon has taken it in."""
    with Line(session.shows_progress) as line:
        advance = counter(line, f"Uploading {metadata.name}", images.size(metadata, rootfs))
        reply = images.upload(session.client, metadata, rootfs, public=public, properties=properties, moved=advance)
    done = session.finish(reply, "Importing")
    return str((done.get("metadata") or {}).get("fingerprint") or "")


def name_image(session: Session, fingerprint: str, aliases: Iterable[str], *, reuse: bool = False) -> None:
    """Give the image its aliases; with `reuse` those that another image has are moved."""
    for alias in aliases:
        path = url("images", "aliases", alias)
        found = existing_alias(session, alias)
        if found is None:
            session.client.request("POST", "/1.0/images/aliases", {"name": alias, "target": fingerprint})
        elif found["target"] == fingerprint:
            continue
        elif reuse:
            session.client.request("PUT", path, {"target": fingerprint, "description": found.get("description") or ""})
        else:
            raise errors.AlreadyExists(f"the alias {alias} names another image; give --reuse to move it")


def existing_alias(session: Session, alias: str) -> Document | None:
    try:
        found: Document = session.client.get(url("images", "aliases", alias))
    except errors.NotFound:
        return None
    return found


def is_known(session: Session, fingerprint: str) -> bool:
    """Whether the daemon has this image already."""
    try:
        session.client.get(url("images", fingerprint))
    except errors.NotFound:
        return False
    return True
