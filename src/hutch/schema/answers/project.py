"""Projects, as the API shows them."""

import msgspec

from hutch.schema.answers.base import Answer
from hutch.schema.base import Config


class Project(Answer):
    name: str
    description: str
    config: Config
    used_by: list[str]


class ProjectResource(Answer):
    """`Limit` is -1 where there is none; both in bytes for memory and disk."""

    limit: int = msgspec.field(name="Limit")
    usage: int = msgspec.field(name="Usage")


class ProjectState(Answer):
    resources: dict[str, ProjectResource]
