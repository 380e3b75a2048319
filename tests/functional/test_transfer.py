"""Instances copied between servers: whole or not at all, with all that belongs to their files."""

from collections.abc import Callable

import pytest

from tests.functional import transfers
from tests.hosts import Host, Segment

Pair = tuple[Host, Host]


@pytest.fixture
def pair(hosts: Callable[..., Host], segment: Segment) -> Pair:
    return transfers.connected(hosts, segment), transfers.connected(hosts, segment)


_TREE = r"""
set -e
mkdir -p /data/empty /data/sub
cd /data
head -c 300000 /dev/urandom > random; ln random sub/linked
truncate -s 50M sparse; echo end >> sparse
chmod 4755 random; chown 12:34 sub; ln -s ../nowhere link; mkfifo pipe
touch "$(printf '%0.sn' $(seq 255))"
chmod 1777 empty; touch -d '2001-02-03 04:05:06' sub
"""

_SHOWN = r"""
cd /data; find . | sort | while read -r f; do stat -c '%n %f %u %g %h %s %Y' "$f"; done; md5sum random sparse; readlink link
du -k sparse | awk '{print ($1 < 1000) ? "sparse" : "full"}'
"""


def test_a_copy_has_all_that_belongs_to_its_files(pair: Pair) -> None:
    source, sink = pair
    source.create("one", "busybox")
    source.exec("one", "sh", "-c", _TREE)
    shown = source.exec("one", "sh", "-c", _SHOWN).stdout
    source.power("one", "stop", force=True)

    transfers.pull(source, sink, "one")
    transfers.push(source, sink, "one", "two")

    for name in ("one", "two"):
        sink.power(name, "start")
        assert sink.exec(name, "sh", "-c", _SHOWN).stdout == shown
    assert sink.exec("one", "hostname").stdout == "one\n"
    source.power("one", "start")
    assert source.exec("one", "sh", "-c", _SHOWN).stdout == shown
