"""The API over a Unix socket, with the standard library alone."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class ApiError(Exception):
    """The server answered with an error, or an operation failed. `code` is the HTTP status or the operation's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("hutch", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    def __init__(self, path: Path) -> None:
        self.path = path

    def raw(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 120
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one exchange; a body that is not bytes or a file goes as JSON."""
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes | bytearray) and not hasattr(body, "read"):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = _Connection(self.path, timeout)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def begin(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """The whole answer, an operation not waited for. Raises ApiError."""
        status, _, text = self.raw(method, path, body, headers)
        answer: dict[str, Any] = json.loads(text)
        if answer["type"] == "error":
            raise ApiError(answer["error_code"], answer["error"])
        assert status < 400, answer
        return answer

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 120
    ) -> Any:
        """The metadata; of an operation, once it has succeeded, its own (a document with `metadata`). Raises ApiError."""
        answer = self.begin(method, path, body, headers)
        if answer["type"] == "sync":
            return answer["metadata"]
        return self.wait(answer["operation"], timeout)

    def wait(self, operation: str, timeout: float = 120) -> dict[str, Any]:
        """The operation's document once it has ended well. Raises ApiError."""
        status, _, text = self.raw("GET", f"{operation}/wait?timeout={timeout:.0f}", timeout=timeout + 5)
        answer = json.loads(text)
        assert status == 200, answer
        done: dict[str, Any] = answer["metadata"]
        if done["status"] != "Success":
            raise ApiError(done["status_code"], done["err"] or done["status"])
        return done

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def exists(self, path: str) -> bool:
        return self.raw("GET", path)[0] == 200
