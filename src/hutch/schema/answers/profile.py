"""Profiles, as the API shows them."""

from hutch.schema.answers.base import Answer
from hutch.schema.base import Config, Devices


class Profile(Answer):
    """Config and devices that instances share; `used_by` are the URLs of those that do."""

    name: str
    description: str
    config: Config
    devices: Devices
    used_by: list[str]
    project: str
