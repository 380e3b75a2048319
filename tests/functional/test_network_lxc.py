"""Networks by Debian's `lxc` client."""

from collections.abc import Callable

from tests.functional.test_network import config_of, links
from tests.hosts import Host


def test_a_network_is_made_shown_changed_and_deleted(host: Host, guest: Callable[..., str]) -> None:
    made = guest(devices={})
    host.lxc("network", "create", "lxcnet", "ipv4.address=10.202.0.1/24", "ipv6.address=none", "--type=bridge")
    try:
        assert "10.202.0.1/24" in host.lxc("network", "show", "lxcnet").stdout
        listed = host.lxc("network", "list", "--format", "csv").stdout.splitlines()
        assert any(line.startswith("lxcnet,bridge,YES,10.202.0.1/24,none") for line in listed)
        host.lxc("network", "set", "lxcnet", "ipv4.dhcp.ranges=10.202.0.40-10.202.0.50")
        assert host.lxc("network", "get", "lxcnet", "ipv4.dhcp.ranges").stdout == "10.202.0.40-10.202.0.50\n"
        refused = host.lxc("network", "set", "lxcnet", "ipv4.dhcp.ranges=nonsense", check=False)
        assert "invalid address range" in refused.stderr

        host.lxc("network", "attach", "lxcnet", made, "extra", "eth5")
        host.exec(made, "sh", "-c", "ip link set eth5 up; udhcpc -n -q -i eth5")
        address = host.address_of(made, nic="eth5")
        assert 40 <= int(address.rpartition(".")[2]) <= 50
        leases = host.lxc("network", "list-leases", "lxcnet").stdout
        assert address in leases
        assert "lxcnet.gw" in leases
        info = host.lxc("network", "info", "lxcnet").stdout
        assert "10.202.0.1/24" in info
        assert "State: up" in info

        in_use = host.lxc("network", "delete", "lxcnet", check=False)
        assert "in use" in in_use.stderr
        host.lxc("network", "detach", "lxcnet", made, "extra")
        assert "eth5" not in host.exec(made, "ip", "link").stdout
        host.lxc("network", "rename", "lxcnet", "lxcnet2")
        assert config_of(host, "lxcnet2")["ipv4.address"] == "10.202.0.1/24"
        assert "lxcnet" not in links(host)
    finally:
        for name in ("lxcnet", "lxcnet2"):
            if host.api.exists(f"/1.0/networks/{name}"):
                host.lxc("network", "delete", name)
    assert not {"lxcnet", "lxcnet2"} & links(host)


def test_interfaces_of_the_host_are_listed_and_described(host: Host, guest: Callable[..., str]) -> None:
    guest()
    host.run("ip", "link", "add", "plain0", "type", "bridge")
    try:
        listed = host.lxc("network", "list", "--format", "csv").stdout.splitlines()
        assert any(line.startswith("plain0,bridge,NO") for line in listed)
        assert not [line for line in listed if line.startswith("veth")]
        assert "MAC address" in host.lxc("network", "info", "plain0").stdout
        refused = host.lxc("network", "delete", "plain0", check=False)
        assert refused.returncode != 0
        assert "plain0" in links(host)
    finally:
        host.run("ip", "link", "delete", "plain0")


def test_a_disk_is_added_and_removed(host: Host, guest: Callable[..., str]) -> None:
    made = guest()
    share = host.folder / "lxc-share"
    share.mkdir()
    (share / "note").write_text("hello\n")
    host.lxc("config", "device", "add", made, "share", "disk", f"source={share}", "path=/srv", "shift=true")
    assert host.exec(made, "cat", "/srv/note").stdout == "hello\n"
    host.lxc("config", "device", "remove", made, "share")
    assert host.exec(made, "ls", "/srv").stdout == ""
