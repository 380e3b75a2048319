"""Device nodes: root of an unprivileged guest makes none, and those it has are harmless."""

from collections.abc import Callable

from tests.hosts import Host

Guest = Callable[..., str]


def test_no_node_is_made_from_inside(host: Host, guest: Guest) -> None:
    name = guest()
    for words in (("b", "8", "0"), ("c", "1", "1"), ("b", "7", "0")):
        assert host.exec(name, "mknod", "/root/node", *words, check=False).returncode != 0
    assert host.exec(name, "sh", "-c", "find / -xdev -type b | head", check=False).stdout == ""


def test_a_filesystem_of_a_node_is_not_mounted(host: Host, guest: Guest) -> None:
    name = guest()
    attempt = (
        "mkdir -p /tmp/m; for f in ext4 xfs btrfs squashfs; do mount -t $f /dev/loop0 /tmp/m && echo mounted; done"
    )
    assert "mounted" not in host.exec(name, "sh", "-c", attempt, check=False).stdout


def test_a_filesystem_of_the_guests_own_takes_no_nodes(host: Host, guest: Guest) -> None:
    name = guest()
    attempt = "mount -t tmpfs none /mnt && mknod /mnt/null c 1 3 && echo made"
    assert "made" not in host.exec(name, "sh", "-c", attempt, check=False).stdout
