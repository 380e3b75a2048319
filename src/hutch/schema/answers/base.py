"""What the answers share."""

import msgspec


class Answer(msgspec.Struct):
    """A document of which every member is always there."""


class Address(Answer):
    """`netmask` is the length of the prefix; `scope` is global, link or local."""

    family: str
    address: str
    netmask: str
    scope: str


class Space(Answer):
    used: int
    total: int
