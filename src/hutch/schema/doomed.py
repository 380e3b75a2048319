"""Volumes in the middle of being made, renamed or removed: what start-up must finish after a crash."""

import msgspec


class DoomedRecord(msgspec.Struct, kw_only=True, frozen=True):
    """Whatever is found of this volume (or snapshot) at start-up goes, unless `renamed_from` says that it is
    that volume half renamed: then it gets its old name back, from another that has taken it if `replaced`."""

    pool: str
    type: str
    project: str
    name: str
    snapshot: str = ""
    renamed_from: str = ""
    replaced: bool = False
