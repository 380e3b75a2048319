"""Network ACLs: rules for what may come to guests (ingress) and leave them (egress)."""

from typing import Any

import msgspec

from hutch.schema.base import Config


class AclRule(msgspec.Struct, kw_only=True, frozen=True):
    """`source` and `destination` are addresses, subnets, ranges, names of ACLs, @internal or @external, comma separated."""

    action: str = ""
    source: str = ""
    destination: str = ""
    protocol: str = ""
    source_port: str = ""
    destination_port: str = ""
    icmp_type: str = ""
    icmp_code: str = ""
    description: str = ""
    state: str = "enabled"


class AclRecord(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    project: str = "default"
    description: str = ""
    config: Config = {}
    ingress: list[AclRule] = []
    egress: list[AclRule] = []


class AclPut(msgspec.Struct, kw_only=True):
    name: str = ""
    description: str | None = None
    config: dict[str, Any] | None = None
    ingress: list[AclRule] | None = None
    egress: list[AclRule] | None = None
