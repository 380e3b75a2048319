"""A wire that several hosts share: a bridge in a namespace between them."""

from types import TracebackType

from tests.hosts.namespace import Namespace


class Segment:
    """Hosts on it get eth0 with an address of 10.123.0.0/24 and fd42:123::/64, in the order they join."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self._joined = 0
        self.namespace.run("ip", "link", "add", "wire", "type", "bridge")
        self.namespace.run("ip", "link", "set", "wire", "up")

    def join(self, other: Namespace) -> str:
        """Plug a host in and return its IPv4 address."""
        self._joined += 1
        port, address = f"port{self._joined}", f"10.123.0.{self._joined}"
        self.namespace.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(other.pid))
        self.namespace.run("ip", "link", "set", port, "master", "wire", "up")
        other.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        other.run("ip", "address", "add", f"fd42:123::{self._joined}/64", "dev", "eth0", "nodad")
        other.run("ip", "link", "set", "eth0", "up")
        return address

    def close(self) -> None:
        self.namespace.close()

    def __enter__(self) -> "Segment":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
