"""Where moving a running guest with its memory meets the rest of migrations: live_source.py and live_sink.py do it."""

from hutch.schema.instance import InstanceRecord
from hutch.schema.move import LIVE as VERSION
from hutch.service.instances import snapshot
from hutch.service.migration import live_sink, live_source
from hutch.service.migration.receiving import Receiving
from hutch.service.migration.sending import Sending
from hutch.service.parts import Parts


def check_source(parts: Parts, record: InstanceRecord) -> None:
    """Refuse now what cannot be moved while it runs."""
    live_source.check(parts, record)


async def send(sending: Sending) -> None:
    """Move the guest; it runs on the target when this returns, and the sink says so once more."""
    only = sending.wanted.instance_only or sending.wanted.container_only
    history = await sending.agree([] if only else snapshot.history(sending.parts, sending.record), live=VERSION)
    await live_source.send(sending, history)


async def receive(receiving: Receiving) -> None:
    """Take the guest in; it runs here, and is recorded, when this returns."""
    await live_sink.receive(receiving, await receiving.agree(live=VERSION))
