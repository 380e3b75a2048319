"""Send a request of your own to the daemon's API.

Prints the answer's metadata, or with --raw the whole answer. With --wait an operation is followed to its end.
"""

import json
import sys

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import blocks


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
    method = options.request or ("GET" if text is None else "POST")
    if options.raw or "/files" in options.path or options.path.endswith("/export"):
        _raw(session, method, options.path, text)
        return
    try:
        document = None if text is None else json.loads(text)
    except ValueError as error:
        raise errors.Invalid(f"the data is not JSON: {error}") from error
    reply = session.client.request(method, options.path, document)
    found = session.finish(reply) if options.wait and reply.is_async else reply.metadata
    if found not in (None, {}, ""):
        print(json.dumps(found, indent="\t", ensure_ascii=False))


def _raw(session: Session, method: str, path: str, text: str | None) -> None:
    body = None if text is None else text.encode()
    response = session.client.stream(method, path, body, headers={"Content-Type": "application/json"})
    for block in blocks(response):
        sys.stdout.buffer.write(block)
