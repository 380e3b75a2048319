"""Network ACLs, as the API shows them."""

from hutch.schema.answers.base import Answer
from hutch.schema.base import Config


class Rule(Answer):
    action: str
    source: str
    destination: str
    protocol: str
    source_port: str
    destination_port: str
    icmp_type: str
    icmp_code: str
    description: str
    state: str


class Acl(Answer):
    """Rules for what may come to guests and leave them; `used_by` are the networks, nics' owners and ACLs that name it."""

    name: str
    description: str
    config: Config
    ingress: list[Rule]
    egress: list[Rule]
    used_by: list[str]
    project: str
