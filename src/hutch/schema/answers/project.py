"""Projects, as the API shows them."""

from hutch.schema.answers.base import Answer
from hutch.schema.base import Config


class Project(Answer):
    name: str
    description: str
    config: Config
    used_by: list[str]
