"""The server, as the API shows it."""

from typing import Any

import msgspec

from hutch.schema.base import Config


class Server(msgspec.Struct, kw_only=True):
    """The last two members are shown to trusted callers only."""

    api_extensions: list[str]
    api_status: str
    api_version: str
    auth: str
    public: bool
    auth_methods: list[str]
    auth_user_name: str = ""
    auth_user_method: str = ""
    config: Config = {}
    environment: dict[str, Any] = {}


class Cluster(msgspec.Struct, kw_only=True):
    server_name: str
    enabled: bool
    member_config: list[dict[str, str]]
