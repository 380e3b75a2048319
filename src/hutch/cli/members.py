"""What of each kind of document may be edited: the members of its PUT request."""

from hutch.cli.devices import Owner
from hutch.cli.session import Session
from hutch.client.connection import url

INSTANCE = ("architecture", "config", "devices", "ephemeral", "profiles", "stateful", "description")
SNAPSHOT = ("expires_at",)
PROFILE = ("config", "description", "devices")
NETWORK = ("config", "description")
ACL = ("config", "description", "egress", "ingress")
FORWARD = ("config", "description", "ports")
ZONE = ("config", "description")
ZONE_RECORD = ("config", "description", "entries")
POOL = ("config", "description")
VOLUME = ("config", "description")
PROJECT = ("config", "description")
SERVER = ("config",)
IMAGE = ("auto_update", "expires_at", "profiles", "properties", "public")


def instance(session: Session, name: str) -> Owner:
    return Owner(session, "instance", name, url("instances", name), INSTANCE)


def profile(session: Session, name: str) -> Owner:
    return Owner(session, "profile", name, url("profiles", name), PROFILE)
