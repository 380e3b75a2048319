"""Forwards: addresses of the host, or of elsewhere, whose traffic goes to guests of a network."""

from typing import Any

import msgspec

from hutch.schema.base import Config


class ForwardPort(msgspec.Struct, kw_only=True, frozen=True):
    """`listen_port` and `target_port` are `80,90-92`; an empty `target_port` is the same, one port takes them all."""

    description: str = ""
    protocol: str = "tcp"
    listen_port: str = ""
    target_port: str = ""
    target_address: str = ""


class ForwardRecord(msgspec.Struct, kw_only=True, frozen=True):
    network: str
    listen_address: str
    project: str = "default"
    description: str = ""
    config: Config = {}
    ports: list[ForwardPort] = []


class ForwardPut(msgspec.Struct, kw_only=True):
    listen_address: str = ""
    description: str | None = None
    config: dict[str, Any] | None = None
    ports: list[ForwardPort] | None = None
