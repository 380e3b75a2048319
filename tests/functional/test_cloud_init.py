"""cloud-init in a guest does what the instance's config asks for, by the guest's own API or by templates."""

import pytest

from tests.hosts import Host, images, wait_until

USER_DATA = """\
#cloud-config
write_files:
  - {path: /root/written, content: "by user-data\\n"}
runcmd:
  - echo "$(hostname) $(cat /root/by-vendor)" > /root/ran
"""
VENDOR_DATA = """\
#cloud-config
bootcmd:
  - echo "by vendor-data" > /root/by-vendor
"""
NETWORK = "{version: 2, ethernets: {eth0: {dhcp4: true, addresses: [192.0.2.17/24]}}}"


def _done(host: Host, name: str) -> str:
    return wait_until(
        lambda: host.exec(name, "cloud-init", "status", "--wait", "--long", check=False).stdout,
        90,
        what="cloud-init ends",
    )


@pytest.fixture(scope="module")
def cloud(host: Host) -> str:
    host.import_image(images.built("debian/12/cloud"), "cloud")
    return "cloud"


@pytest.mark.slow
@pytest.mark.parametrize(("api", "source"), [("true", "LXD"), ("false", "NoCloud")])
def test_user_vendor_and_network_data_are_applied(host: Host, cloud: str, api: str, source: str) -> None:
    name = f"cloud-{source}".lower()
    data = {"user-data": USER_DATA, "vendor-data": VENDOR_DATA, "network-config": NETWORK}
    config = {f"cloud-init.{key}": value for key, value in data.items()} | {"security.devlxd": api}
    host.create(name, cloud, config=config)
    try:
        status = _done(host, name)
        assert "status: done" in status
        assert f"DataSource{source}" in host.exec(name, "cat", "/run/cloud-init/result.json").stdout
        assert host.exec(name, "cat", "/root/written").stdout == "by user-data\n"
        assert host.exec(name, "cat", "/root/ran").stdout == f"{name} by vendor-data\n"
        assert "192.0.2.17" in host.exec(name, "ip", "-4", "address", "show", "eth0").stdout
        assert host.address_of(name)
    finally:
        host.delete(name)


@pytest.mark.slow
def test_changed_data_are_applied_at_the_next_start(host: Host, cloud: str) -> None:
    host.create("cloud-changed", cloud, config={"user.user-data": USER_DATA})
    try:
        _done(host, "cloud-changed")
        assert host.exec("cloud-changed", "cat", "/root/written").stdout == "by user-data\n"
        changed = {"user.user-data": USER_DATA.replace("by user-data", "anew")}
        host.call("PATCH", "/1.0/instances/cloud-changed", {"config": changed})
        host.power("cloud-changed", "restart")
        _done(host, "cloud-changed")
        assert host.exec("cloud-changed", "cat", "/root/written").stdout == "anew\n"
    finally:
        host.delete("cloud-changed")
