"""Requests to a daemon over its Unix socket, and its answers as plain JSON documents or as streams."""

import http.client
import json
import os
import socket
from collections.abc import Iterable, Mapping
from typing import IO, Any
from urllib.parse import quote, urlencode

from hutch import errors

Document = dict[str, Any]
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

    def __init__(self, socket_path: str, project: str = "default") -> None:
        self.socket_path, self.project = socket_path, project
        self._connection: SocketConnection | None = None

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
        return decoded(response)

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
        connection = SocketConnection(self.socket_path)
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

    def send_ahead(self, path: str) -> SocketConnection:
        """Ask on a connection of its own without waiting for the answer; its socket becomes readable with it."""
        connection = SocketConnection(self.socket_path)
        self._request(connection, "GET", self.target(path), None, {})
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _kept(self) -> SocketConnection:
        if self._connection is None:
            self._connection = SocketConnection(self.socket_path)
        return self._connection

    def _send(
        self, connection: SocketConnection, method: str, target: str, body: Body, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        self._request(connection, method, target, body, headers)
        try:
            return connection.getresponse()
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            raise errors.Unavailable(f"the daemon at {self.socket_path} went away: {reason(error)}") from error

    def _request(
        self, connection: SocketConnection, method: str, target: str, body: Body, headers: dict[str, str]
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

    def _connect(self, connection: SocketConnection) -> None:
        path = self.socket_path
        try:
            connection.connect()
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise errors.Unavailable(
                f"no daemon answers at {path}; start one with `systemctl start hutchd` or `hutchd --dir "
                f"{os.path.dirname(path) or '.'}`, or name its directory with --dir or HUTCH_DIR"  # noqa: PTH120
            ) from error
        except PermissionError as error:
            raise errors.Forbidden(f"you may not use {path}; be root or a member of the group hutch") from error
        except OSError as error:
            raise errors.Unavailable(f"cannot connect to {path}: {reason(error)}") from error


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


def failure(status: int, text: str) -> errors.HutchError:
    """The error class that stands for an HTTP status."""
    for kind in errors.HutchError.__subclasses__():
        if kind.status == status and kind is not errors.Cancelled and kind is not errors.ToolFailed:
            return kind(text)
    return errors.HutchError(text)


def reason(error: BaseException) -> str:
    """What the system says of an error, without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
