"""Whole test hosts: each a network and mount namespace with a daemon of its own, several side by side on one machine."""

from tests.hosts.api import Api, ApiError
from tests.hosts.host import Host
from tests.hosts.segment import Segment
from tests.hosts.waiting import wait_until

__all__ = ["Api", "ApiError", "Host", "Segment", "wait_until"]
