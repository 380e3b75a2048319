"""Images and their aliases, as the API shows them."""

from datetime import datetime
from typing import Any

from hutch.schema.answers.base import Answer


class ImageAliasOf(Answer):
    """A name of the image that it is shown with."""

    name: str
    description: str
    type: str


class Image(Answer):
    """An image: `size` is in bytes, `update_source` where it came from and is refreshed from."""

    fingerprint: str
    project: str
    filename: str
    size: int
    architecture: str
    type: str
    public: bool
    cached: bool
    auto_update: bool
    properties: dict[str, str]
    profiles: list[str] | None
    aliases: list[ImageAliasOf]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime
    uploaded_at: datetime
    update_source: dict[str, Any] | None = None


class ImageAlias(Answer):
    """A name for the image whose fingerprint is `target`."""

    name: str
    description: str
    target: str
    type: str
