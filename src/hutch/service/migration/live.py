"""Where moving a running guest with its memory plugs in.

`VERSION` goes into the header (`Header.live`) of a source that wants it and of a sink that takes it; both then have the third
websocket, `criu`. After `agree` the two sides have the streams for themselves, until the sink says on `control` how it ended:
`source.start` and `sink.start` do that, and tell the other side what either of these raises.
"""

from hutch.errors import Unsupported
from hutch.schema.instance import InstanceRecord
from hutch.service.migration.receiving import Receiving
from hutch.service.migration.sending import Sending
from hutch.service.parts import Parts

VERSION = 0
"""0: running guests are not moved."""


def check_source(parts: Parts, record: InstanceRecord) -> None:
    """Refuse now what cannot be moved while it runs."""
    raise Unsupported(
        f"Instance {record.name!r} is running and cannot be moved with its memory by this server: "
        "stop it first, or copy its disk alone with --stateless"
    )


async def send(sending: Sending) -> None:
    """Offer with `agree(..., live=VERSION)`, then send disk and state; the sink's last word is awaited by the caller."""
    raise Unsupported("running guests are not moved by this server")


async def receive(receiving: Receiving) -> None:
    """Receive disk and state and let the guest run on; the instance is recorded when this returns."""
    raise Unsupported("running guests are not moved by this server")
