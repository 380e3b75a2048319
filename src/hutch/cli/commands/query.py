"""Send a request of your own to the daemon's API.

Prints the answer's metadata, or with --raw the whole answer. With --wait an operation is followed to its end.
"""

import json
import sys
from collections.abc import Iterable

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import Reply, blocks


@command(
    arg("path", metavar="PATH", help="for example /1.0/instances?recursion=1"),
    arg("-X", "--request", default="", metavar="METHOD", help="GET, or POST when there is data"),
    arg("-d", "--data", metavar="JSON", help="the body; - reads it from the standard input"),
    arg("--raw", action="store_true", help="the answer as it came"),
    arg("--wait", action="store_true", help="wait for the operation that it begins"),
    example="""
    hutch query /1.0/instances
    hutch query -X PUT -d '{"action": "stop", "force": true}' --wait /1.0/instances/c1/state
    """,
)
def run(session: Session, options: Options) -> None:
    if not options.path.startswith("/"):
        raise errors.Invalid(f"the path {options.path!r} must begin with /")
    text = sys.stdin.read() if options.data == "-" else options.data
    try:
        body = None if text is None else json.dumps(json.loads(text)).encode()
    except ValueError as error:
        if not options.raw:
            raise errors.Invalid(f"the data is not JSON: {error}") from error
        body = (text or "").encode()
    method = options.request or ("GET" if body is None else "POST")
    headers = {"Content-Type": "application/json"} if body is not None else {}
    response = session.client.stream(method, options.path, body, headers=headers)
    if options.raw or response.headers.get_content_type() != "application/json":
        _copy(blocks(response))
        return
    found = response.read()
    answer = json.loads(found)
    if isinstance(answer, dict) and answer.get("type") in ("sync", "async"):
        reply = Reply(answer, response.headers)
        answer = session.finish(reply) if options.wait and reply.is_async else reply.metadata
    if answer not in (None, {}, ""):
        print(json.dumps(answer, indent="\t", ensure_ascii=False))


def _copy(content: Iterable[bytes]) -> None:
    for block in content:
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
