"""Requests to a daemon over its Unix socket, and its answers as plain JSON documents or as streams."""

import http.client
import json
import os
import select
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any
from urllib.parse import quote, unquote, urlencode

from hutch import errors

Document = dict[str, Any]
TYPE_CHECKING = False  # typing's own would cost every command its import of ssl
if TYPE_CHECKING:
    from hutch.client.remotes import Remote

Body = bytes | IO[bytes] | Iterable[bytes] | None

BLOCK = 1 << 20
LONGEST_ADDRESS = 107


def url(*parts: str) -> str:
    """A path below /1.0 with each part escaped."""
    return "/1.0/" + "/".join(quote(part, safe="") for part in parts)


class SocketConnection(http.client.HTTPConnection):
    """HTTP/1.1 over a Unix socket, sending bodies in large blocks."""

    def __init__(self, path: str) -> None:
        super().__init__("hutch", blocksize=BLOCK)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if len(self.path) <= LONGEST_ADDRESS:
            self.sock.connect(self.path)
            return
        folder, name = self.path.rsplit("/", 1)
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{descriptor}/{name}")
        finally:
            os.close(descriptor)


class Reply:
    """A decoded envelope. `metadata` is the answer, or the operation of an asynchronous one."""

    def __init__(self, envelope: Document, headers: http.client.HTTPMessage) -> None:
        self.metadata: Any = envelope.get("metadata")
        self.operation: str = envelope.get("operation") or ""
        self.etag = headers.get("ETag") or ""
        self.location = headers.get("Location") or ""

    @property
    def is_async(self) -> bool:
        return bool(self.operation)


class Client:
    """One daemon, seen from one project; a connection is kept open between requests."""

    def __init__(self, socket_path: str, project: str = "default", remote: "Remote | None" = None) -> None:
        self.socket_path, self.project, self.remote = socket_path, project, remote
        self._connection: http.client.HTTPConnection | None = None

    @classmethod
    def to(cls, remote: "Remote", project: str = "default") -> "Client":
        """A daemon on another host, over HTTPS."""
        return cls(remote.address, project, remote)

    def connection(self) -> http.client.HTTPConnection:
        """A connection of its own, not opened yet."""
        return SocketConnection(self.socket_path) if self.remote is None else self.remote.connection()

    def get(self, path: str, **query: str | int) -> Any:
        return self.request("GET", path, query=query).metadata

    def request(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        query: Mapping[str, str | int] | None = None,
        etag: str = "",
    ) -> Reply:
        """Send a JSON document and decode the envelope; an error envelope is raised as the error it tells."""
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if etag:
            headers["If-Match"] = etag
        response = self._send(self._kept(), method, self.target(path, query), body, headers)
        try:
            return decoded(response)
        except errors.NotFound as error:
            raise errors.NotFound(_naming(str(error), path)) from None

    def stream(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Send on a connection of its own and leave the answer's body to be read; error envelopes are raised."""
        connection = self.connection()
        response = self._send(connection, method, self.target(path, query), body, dict(headers or {}))
        if response.status >= 400:
            decoded(response)
        return response

    def target(self, path: str, query: Mapping[str, str | int] | None = None) -> str:
        """The path with its query and the project, unless it has a query or is not the API's."""
        words = dict(query or {})
        if self.project != "default" and "all-projects" not in words and path.startswith("/1.0/"):
            words.setdefault("project", self.project)
        if not words:
            return path
        return f"{path}{'&' if '?' in path else '?'}{urlencode(words)}"

    def send_ahead(self, path: str) -> http.client.HTTPConnection:
        """Ask on a connection of its own without waiting for the answer; its socket becomes readable with it."""
        connection = self.connection()
        self._request(connection, "GET", self.target(path), None, {})
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _kept(self) -> http.client.HTTPConnection:
        # The daemon closes connections that idle, as while a person edits: then there is an end to be read.
        kept = self._connection.sock if self._connection is not None else None
        if kept is not None and select.select([kept], [], [], 0)[0]:
            self.close()
        if self._connection is None:
            self._connection = self.connection()
        return self._connection

    def _send(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: Body, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        self._request(connection, method, target, body, headers)
        return self.answer(connection)

    def answer(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        """The answer to what was sent, its body still to be read."""
        try:
            return connection.getresponse()
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            raise errors.Unavailable(f"the daemon at {self.socket_path} went away: {reason(error)}") from error

    def _request(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: Body, headers: dict[str, str]
    ) -> None:
        if connection.sock is None:
            self._connect(connection)
        chunked = body is not None and not isinstance(body, bytes) and "Content-Length" not in headers
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        try:
            connection.request(method, target, body=body, headers=headers, encode_chunked=chunked)
        except (BrokenPipeError, ConnectionResetError):
            # A refusal is answered before the whole body is read: the answer tells more than the broken pipe.
            return

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        path = self.socket_path
        try:
            connection.connect()
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            if self.remote is not None:
                raise errors.Unavailable(f"no server answers at {path}: {reason(error)}") from error
            raise errors.Unavailable(
                f"no daemon answers at {path}; start one with `systemctl start hutchd` or `hutchd --dir "
                f"{os.path.dirname(path) or '.'}`, or name its directory with --dir or HUTCH_DIR"  # noqa: PTH120
            ) from error
        except PermissionError as error:
            raise errors.Forbidden(f"you may not use {path}; be root or a member of the group hutch") from error
        except OSError as error:
            raise errors.Unavailable(f"cannot connect to {path}: {reason(error)}") from error


def blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body of an answer, piece by piece; Unavailable when it breaks off."""
    try:
        while block := response.read(BLOCK):
            yield block
    except (http.client.HTTPException, OSError) as error:
        raise errors.Unavailable("the daemon broke off in the middle of its answer") from error
    if response.length:
        raise errors.Unavailable("the daemon broke off in the middle of its answer")


def decoded(response: http.client.HTTPResponse) -> Reply:
    """Read an envelope to its end."""
    text = response.read()
    try:
        envelope = json.loads(text)
    except ValueError:
        envelope = {"type": "error", "error": text.decode(errors="replace").strip()}
        if response.status < 400:
            raise errors.HutchError("the daemon's answer is not JSON") from None
    if response.status >= 400 or (isinstance(envelope, dict) and envelope.get("type") == "error"):
        code = int(envelope.get("error_code") or response.status)
        raise failure(code, envelope.get("error") or f"the daemon answered {response.status} {response.reason}")
    return Reply(envelope, response.headers)


def _naming(text: str, path: str) -> str:
    """What was not found, with its name: the daemon says only "Instance not found", as LXD does."""
    parts = [unquote(part) for part in path.removeprefix("/1.0/").split("/")]
    names = parts[2:] if parts[:2] == ["images", "aliases"] else parts[1::2]
    name = "/".join(names)
    return text if not name or names[-1] in text else f"{text}: {name}"


def failure(status: int, text: str) -> errors.HutchError:
    """The error class that stands for an HTTP status."""
    for kind in errors.HutchError.__subclasses__():
        if kind.status == status and kind is not errors.Cancelled and kind is not errors.ToolFailed:
            return kind(text)
    return errors.HutchError(text)


def reason(error: BaseException) -> str:
    """What the system says of an error, without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
