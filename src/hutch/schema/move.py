"""Guests that move to another host while they run: what is stored of one, and what the two servers say to each other."""

import msgspec

from hutch.schema.instance import InstanceRecord

LIVE = 1
"""The version of this way of moving a running guest; both servers must have the same."""


class MoveRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A guest between two hosts, under the same `id` on both. What the phases mean is in docs/decisions/016-live-move.md.

    On the target `record` is the instance that it becomes, `addresses` its own by nic, `peer` the source's operation as a URL and
    `certificate` (PEM) the source's.
    """

    id: str
    secret: str
    project: str
    instance: str
    phase: str
    pool: str = ""
    peer: str = ""
    certificate: str = ""
    record: InstanceRecord | None = None
    addresses: dict[str, list[str]] = {}


FROZEN, MOVED, ARRIVED = "frozen", "moved", "arrived"
"""Phases of the source."""
RECEIVING, PREPARED, RUNNING, FAILED = "receiving", "prepared", "running", "failed"
"""Phases of the target; the last two are also what it reports."""
UNDECIDED = "undecided"


class PieceOffer(msgspec.Struct):
    name: str
    image: str = ""


class Host(msgspec.Struct, frozen=True):
    """What must be the same for a guest to go on elsewhere."""

    kernel: str
    criu: str
    cpu: list[str]


class Offer(msgspec.Struct, kw_only=True):
    """The source's first word. `files` are the instance's own (metadata.yaml and templates), `links` volatile values of nics."""

    id: str
    secret: str
    host: Host
    idmap: list[tuple[str, int, int, int]]
    lxcfs: bool
    pieces: list[PieceOffer]
    snapshots: dict[str, list[PieceOffer]]
    config: dict[str, str]
    addresses: dict[str, list[str]]
    files: dict[str, bytes]
    version: int = LIVE


class Word(msgspec.Struct, omit_defaults=True):
    """Every other word: `step`, and what belongs to it. Seconds in `times`."""

    step: str
    reason: str = ""
    wanted: list[str] = []
    times: dict[str, float] = {}


class Pass(msgspec.Struct):
    """What begins a pass over one tree on `fs`: the bytes that follow. `last`: no other comes."""

    piece: str
    size: int
    last: bool = False


class MoveReport(msgspec.Struct, kw_only=True):
    """What the target tells the source of a move when the line between them broke: `running` or `failed`."""

    outcome: str
    reason: str = ""
