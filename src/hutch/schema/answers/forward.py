"""Forwards, as the API shows them."""

from hutch.schema.answers.base import Answer
from hutch.schema.base import Config


class Port(Answer):
    description: str
    protocol: str
    listen_port: str
    target_port: str
    target_address: str


class Forward(Answer):
    """An address whose traffic goes to guests; `config` has the `target_address` of what no port takes."""

    listen_address: str
    description: str
    config: Config
    ports: list[Port]
    location: str
