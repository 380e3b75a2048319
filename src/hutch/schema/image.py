"""Images and their aliases."""

from datetime import datetime
from typing import Any

import msgspec

from hutch.schema.base import ZERO_TIME


class ImageRecord(msgspec.Struct, kw_only=True, frozen=True):
    """What is stored of an image. `fingerprint` is the hex SHA-256 of the file, or of metadata and rootfs files joined.

    Files: DIR/images/FINGERPRINT (unified or metadata) and DIR/images/FINGERPRINT.rootfs (split images only).
    """

    fingerprint: str
    project: str = "default"
    filename: str = ""
    size: int = 0
    architecture: str = "x86_64"
    type: str = "container"
    public: bool = False
    cached: bool = False
    auto_update: bool = False
    properties: dict[str, str] = {}
    profiles: list[str] = msgspec.field(default_factory=lambda: ["default"])
    update_source: dict[str, Any] | None = None
    created_at: datetime = ZERO_TIME
    expires_at: datetime = ZERO_TIME
    last_used_at: datetime = ZERO_TIME
    uploaded_at: datetime = ZERO_TIME


class AliasRecord(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    target: str
    project: str = "default"
    description: str = ""
    type: str = "container"


class AliasPost(msgspec.Struct, kw_only=True):
    """A new alias, or a new name or target of one; None stands for what stays as it is."""

    name: str = ""
    target: str | None = None
    description: str | None = None


class ImageSource(msgspec.Struct, kw_only=True):
    """Where a new image comes from: `type` is instance, container, snapshot, image or url."""

    type: str = ""
    name: str = ""
    alias: str = ""
    fingerprint: str = ""
    project: str = ""
    server: str = ""
    protocol: str = ""
    certificate: str = ""
    secret: str = ""
    mode: str = ""
    url: str = ""


class ImagePut(msgspec.Struct, kw_only=True):
    """What can be edited of an image; None stands for what stays as it is (PATCH) or goes back to its default (PUT)."""

    auto_update: bool | None = None
    public: bool | None = None
    properties: dict[str, Any] | None = None
    profiles: list[str] | None = None
    expires_at: datetime | None = None


class ImageExportPost(msgspec.Struct, kw_only=True):
    """Where an image is sent: `secret` is what the server at `target` (https://HOST:PORT) made for it."""

    target: str = ""
    secret: str = ""
    certificate: str = ""
    project: str = ""
    aliases: list[AliasPost] | None = None
    profiles: list[str] | None = None


class ImagePost(ImagePut, kw_only=True):
    """A wish for a new image, in JSON or, for an upload, gathered from headers. `fingerprint` is what it must have."""

    filename: str = ""
    fingerprint: str = ""
    compression_algorithm: str = ""
    aliases: list[AliasPost] | None = None
    source: ImageSource = msgspec.field(default_factory=ImageSource)
