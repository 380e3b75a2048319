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
