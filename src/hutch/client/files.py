"""Files, folders and links inside instances, streamed."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from hutch import errors
from hutch.client.connection import Body, Client, decoded, url

DIRECTORY, FILE, SYMLINK = "directory", "file", "symlink"


class Facts(NamedTuple):
    """What a path in an instance is; `mode` holds permission bits, the ids are the guest's own."""

    type: str
    mode: int
    uid: int
    gid: int


class Entry:
    """An answer about one path: its facts, and its content to be read once."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.facts = facts(response)

    def names(self) -> list[str]:
        """What a folder holds."""
        found = decoded(self.response).metadata or []
        for name in found:
            if not name or "/" in name or name in (".", ".."):
                raise errors.Invalid(f"the daemon listed a file name that is none: {name!r}")
        return sorted(found)

    def target(self) -> str:
        """Where a link points."""
        return self.response.read().decode(errors="surrogateescape").rstrip("\n")


def facts(response: http.client.HTTPResponse) -> Facts:
    def header(name: str, default: str) -> str:
        return response.headers.get(f"X-LXD-{name}") or default

    mode = int(header("mode", "0644"), 8) & 0o7777
    return Facts(header("type", FILE), mode, int(header("uid", "0")), int(header("gid", "0")))


class Files:
    """The file system of one instance."""

    def __init__(self, client: Client, instance: str) -> None:
        self.client, self.instance, self.path = client, instance, url("instances", instance, "files")

    def open(self, path: str) -> Entry:
        with self._naming(path):
            return Entry(self.client.stream("GET", self.path, query={"path": path}))

    def look(self, path: str) -> Facts | None:
        """What the path is, None when there is nothing."""
        try:
            return facts(self.client.stream("HEAD", self.path, query={"path": path}))
        except errors.NotFound:
            return None

    def write(self, path: str, content: Body, wanted: Facts, *, size: int | None = None, append: bool = False) -> None:
        """Create or replace what is at `path`; for a link the content is its target."""
        headers = {
            "Content-Type": "application/octet-stream",
            "X-LXD-type": wanted.type,
            "X-LXD-mode": f"{wanted.mode:04o}",
            "X-LXD-uid": str(wanted.uid),
            "X-LXD-gid": str(wanted.gid),
            "X-LXD-write": "append" if append else "overwrite",
        }
        if size is not None:
            headers["Content-Length"] = str(size)
        response = self.client.stream("POST", self.path, content, query={"path": path}, headers=headers)
        decoded(response)

    def delete(self, path: str) -> None:
        with self._naming(path):
            self.client.request("DELETE", self.path, query={"path": path})

    @contextmanager
    def _naming(self, path: str) -> Iterator[None]:
        """The daemon says only "Not Found", as LXD does."""
        try:
            yield
        except errors.NotFound as error:
            if "nstance" in str(error):
                raise errors.NotFound(f"instance not found: {self.instance}") from None
            raise errors.NotFound(f"there is no {path} in {self.instance}") from None
