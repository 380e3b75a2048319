"""The mirrors are those that the machine's own apt uses."""

from pathlib import Path

import pytest

from hutch.errors import Invalid, NotFound
from hutch.imagebuild import sources
from hutch.imagebuild.sources import Mirror

DEB822 = """\
Types: deb
URIs: https://other.example/node
Suites: nodistro

# comment
Types: deb deb-src
URIs:
 https://mirror.example/pub/debian/
 https://second.example/debian
Suites: bookworm bookworm-updates
Components: main

Enabled: no
Types: deb
URIs: https://off.example/debian-security
Suites: bookworm-security

Types: deb
URIs: https://mirror.example/debian-security
Suites: bookworm-security
"""

ONE_LINE = """\
# deb https://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] https://mirror.example/debian bookworm main
deb-src https://src.example/debian bookworm main
deb https://mirror.example/debian-security bookworm-security main
"""


def apt(folder: Path, name: str, text: str) -> Path:
    (folder / "sources.list.d").mkdir()
    (folder / name).write_text(text)
    return folder


def test_deb822_sources_are_read_but_not_what_is_disabled(tmp_path: Path) -> None:
    folder = apt(tmp_path, "sources.list.d/debian.sources", DEB822)

    found = sources.machine_mirror("debian", folder)

    assert found == Mirror("https://mirror.example/pub/debian/", "https://mirror.example/debian-security")


def test_one_line_sources_are_read_but_not_comments_and_source_packages(tmp_path: Path) -> None:
    folder = apt(tmp_path, "sources.list", ONE_LINE)

    found = sources.machine_mirror("debian", folder)

    assert found == Mirror("https://mirror.example/debian", "https://mirror.example/debian-security")


def test_a_machine_without_a_mirror_of_the_distribution_says_so(tmp_path: Path) -> None:
    folder = apt(tmp_path, "sources.list", ONE_LINE)

    with pytest.raises(NotFound, match=r"no mirror of ubuntu .*mirror: URL"):
        sources.machine_mirror("ubuntu", folder)


def test_a_release_consists_of_its_updates_and_its_security_archive() -> None:
    mirror = Mirror("https://m.example/debian", "https://m.example/debian-security")

    assert sources.lines("debian", "bookworm", mirror) == [
        ("https://m.example/debian", "bookworm"),
        ("https://m.example/debian", "bookworm-updates"),
        ("https://m.example/debian-security", "bookworm-security"),
    ]
    for alone in ("sid", "bookworm-backports"):
        assert sources.lines("debian", alone, mirror) == [("https://m.example/debian", alone)]
    assert sources.lines("ubuntu", "noble", Mirror("https://m.example/ubuntu"))[-1] == (
        "https://m.example/ubuntu",
        "noble-security",
    )


def test_a_mirror_without_a_known_security_archive_is_used_without_it() -> None:
    assert [suite for _, suite in sources.lines("debian", "trixie", Mirror("https://m.example/debian"))] == [
        "trixie",
        "trixie-updates",
    ]


def test_keys_of_an_unknown_distribution_are_refused() -> None:
    with pytest.raises(Invalid, match="unknown distribution 'plan9'; known are debian, ubuntu"):
        sources.keyring("plan9")
