"""One catalogue of config keys: it validates, it is served, it is the reference."""

from pathlib import Path

import pytest

from hutch import registry
from hutch.errors import Invalid
from hutch.network import drivers as networks
from hutch.schema.keys.base import check_all
from hutch.service import catalogue

TABLES = list(catalogue.tables())
DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.entity}/{table.group}")
def test_every_key_says_what_it_is_for(table: catalogue.Table) -> None:
    for name, key in table.keys.items():
        assert key.help, name
        assert key.kind, name
        if key.kind == "bool" and key.default:
            assert key.default in ("true", "false"), name


def test_every_driver_of_networks_has_a_table() -> None:
    assert [name for name in registry.names(networks) if not registry.load(networks, name).keys] == []


def test_the_document_is_laid_out_as_lxds() -> None:
    configs = catalogue.document()["configs"]
    assert set(configs) >= {
        "instance",
        "device-disk",
        "device-nic-bridged",
        "network-bridge",
        "storage-btrfs",
        "project",
        "server",
    }
    assert set(configs["instance"]) >= {
        "boot",
        "cloud-init",
        "resource-limits",
        "security",
        "snapshots",
        "miscellaneous",
    }
    (autostart,) = [row for row in configs["instance"]["boot"]["keys"] if "boot.autostart" in row]
    assert set(autostart["boot.autostart"]) >= {"type", "defaultdesc", "scope", "liveupdate", "shortdesc", "longdesc"}
    assert autostart["boot.autostart"]["type"] == "bool"
    assert any("size" in row for row in configs["storage-btrfs"]["pool-conf"]["keys"])


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.entity}/{table.group}")
def test_a_mistyped_key_is_refused_with_the_one_that_was_meant(table: catalogue.Table) -> None:
    plain = [name for name in table.keys if not name.endswith("*") and len(name) > 6]
    for name in plain:
        mistyped = name[:-1] + ("x" if name[-1] != "x" else "y")
        if mistyped in table.keys:
            continue
        with pytest.raises(Invalid, match=r"Unknown configuration key: .* \(did you mean "):
            check_all("thing", {mistyped: "1"}, table.keys)


def test_the_reference_is_up_to_date() -> None:
    assert DOCS.read_text() == catalogue.markdown(), "make docs"
