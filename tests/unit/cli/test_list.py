import json
from typing import Any

import pytest

from tests.unit.cli.conftest import Hutch
from tests.unit.cli.fake import Fake


def instance(name: str, **members: Any) -> dict[str, Any]:
    return {
        "name": name,
        "status": "Running",
        "type": "container",
        "project": "default",
        "architecture": "x86_64",
        "created_at": "2026-11-23T10:20:30.5Z",
        "last_used_at": "0001-01-01T00:00:00Z",
        "ephemeral": False,
        "profiles": ["default"],
        "config": {},
        "expanded_config": {},
        "expanded_devices": {},
        "snapshots": None,
        "state": None,
        **members,
    }


def address(text: str, family: str = "inet", scope: str = "global") -> dict[str, str]:
    return {"address": text, "family": family, "netmask": "24", "scope": scope}


NETWORK = {
    "eth0": {
        "addresses": [
            address("10.0.0.5"),
            address("fd42::5", "inet6"),
            address("fe80::1", "inet6", "link"),
        ]
    },
    "lo": {"addresses": [address("127.0.0.1", scope="local")]},
}


@pytest.fixture
def three(daemon: Fake) -> Fake:
    daemon.answers["GET", "/1.0/instances"] = [
        instance("web", state={"network": NETWORK, "pid": 7, "processes": 3}, snapshots=[{}, {}]),
        instance("db", status="Stopped", ephemeral=True, expanded_config={"user.role": "data", "limits.cpu": "2"}),
        instance("web-2", status="Frozen", config={"user.role": "front"}),
    ]
    return daemon


def test_the_table_shows_names_states_and_addresses(three: Fake, hutch: Hutch) -> None:
    assert hutch("list").out.splitlines() == [
        "+-------+---------+-----------------+----------------+-----------------------+-----------+",
        "| NAME  | STATE   | IPV4            | IPV6           | TYPE                  | SNAPSHOTS |",
        "+-------+---------+-----------------+----------------+-----------------------+-----------+",
        "| db    | STOPPED |                 |                | CONTAINER (EPHEMERAL) | 0         |",
        "+-------+---------+-----------------+----------------+-----------------------+-----------+",
        "| web   | RUNNING | 10.0.0.5 (eth0) | fd42::5 (eth0) | CONTAINER             | 2         |",
        "+-------+---------+-----------------+----------------+-----------------------+-----------+",
        "| web-2 | FROZEN  |                 |                | CONTAINER             | 0         |",
        "+-------+---------+-----------------+----------------+-----------------------+-----------+",
    ]


def test_one_request_is_enough(three: Fake, hutch: Hutch) -> None:
    hutch("list")
    assert [(asked.path, asked.query) for asked in three.asked] == [("/1.0/instances", {"recursion": "2"})]


def test_what_needs_no_state_does_not_ask_for_it(three: Fake, hutch: Hutch) -> None:
    for words in (["--fast"], ["--fast", "-f", "json"], ["-c", "nsP"]):
        hutch("list", *words)
        assert three.last("GET").query == {"recursion": "1"}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["web"], ["web", "web-2"]),
        (["^web$"], ["web"]),
        ([".*b"], ["db", "web"]),
        (["status=running"], ["web"]),
        (["status=running,frozen"], ["web", "web-2"]),
        (["type=container", "web"], ["web", "web-2"]),
        (["user.role=data"], ["db"]),
        (["u.role=.*t"], ["web-2"]),
        (["u.r=data"], ["db"]),
        (["l.c=2"], ["db"]),
        (["limits.cpu=1"], []),
        (["ipv4=10.0.0.0/24"], ["web"]),
        (["ipv6=fd42::5"], ["web"]),
    ],
)
def test_filters(three: Fake, hutch: Hutch, words: list[str], names: list[str]) -> None:
    assert hutch("list", *words, "-c", "n", "-f", "csv").out.split() == names


def test_columns_of_configuration(three: Fake, hutch: Hutch) -> None:
    out = hutch("list", "db", "-c", "n,user.role:ROLE:2,limits.cpu", "-f", "compact").out
    assert out.split() == ["NAME", "ROLE", "LIMITS.CPU", "db", "da", "2"]


def test_columns_of_devices(daemon: Fake, hutch: Hutch) -> None:
    devices = {"root": {"type": "disk", "path": "/", "pool": "fast"}, "eth0": {"type": "nic", "network": "lan"}}
    daemon.answers["GET", "/1.0/instances"] = [instance("c1", expanded_devices=devices)]
    assert hutch("list", "-c", "n,devices:eth0.network:NET,b", "-f", "csv").out == "c1,lan,fast\n"


def test_json_is_what_the_daemon_said(three: Fake, hutch: Hutch) -> None:
    found = json.loads(hutch("list", "db", "--format", "json").out)
    assert found == [three.answers["GET", "/1.0/instances"][1]]


def test_every_known_column_makes_a_cell(three: Fake, hutch: Hutch) -> None:
    outcome = hutch("list", "-c", "46abcdDefFlLmMnNpPsStu", "-f", "csv")
    assert outcome.code == 0
    assert "2026/11/23 10:20 UTC" in outcome.out
    assert "0001" not in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-c", "nz"], "Error: unknown column 'z' in 'nz'"),
        (["-c", "n,,s"], "Error: an empty column"),
        (["-c", "user.a:A:x"], "Error: the width 'x' of the column 'A' is not a number"),
        (["*bad"], "Error: the filter '*bad' is not a regular expression"),
        (["ipv4=nonsense"], "Error: the filter 'nonsense' is no address or subnet"),
    ],
)
def test_mistakes_are_named(three: Fake, hutch: Hutch, words: list[str], message: str) -> None:
    outcome = hutch("list", *words)
    assert outcome.code == 1
    assert outcome.err.startswith(message)
    assert outcome.err.count("\n") == 1


def test_instances_of_all_projects(daemon: Fake, hutch: Hutch) -> None:
    daemon.answers["GET", "/1.0/instances"] = [instance("a", project="two"), instance("b", project="one")]
    assert hutch("list", "--all-projects", "-c", "en", "-f", "csv").out == "one,b\ntwo,a\n"
    assert daemon.last("GET").query["all-projects"] == "true"
