"""Finds the mirrors of a distribution in this machine's own apt sources, so that no host name is built in."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hutch.errors import Invalid, NotFound

APT = Path("/etc/apt")
KEYRINGS = {
    "debian": (
        Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
        Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    ),
    "ubuntu": (Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),),
}
KEYRING_PACKAGES = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-keyring"}
COMPONENTS = {"debian": "main", "ubuntu": "main universe"}


@dataclass(frozen=True)
class Mirror:
    """Where a distribution's packages are: its archive and, when known, its security updates."""

    archive: str
    security: str | None = None


def machine_mirror(distribution: str, apt: Path = APT) -> Mirror:
    """The mirror this machine itself uses, or can be told to use by a recipe's `mirror`."""
    archive = security = None
    for address in _addresses(apt):
        tail = urlsplit(address).path.rstrip("/").rsplit("/", 1)[-1]
        if tail == f"{distribution}-security":
            security = security or address
        elif tail == distribution:
            archive = archive or address
    if archive is None:
        raise NotFound(f"no mirror of {distribution} in {apt}; name one in the recipe (mirror: URL)")
    return Mirror(archive, security)


def keyring(distribution: str) -> Path:
    """The keys that the distribution signs its archive with."""
    for path in KEYRINGS.get(distribution, ()):
        if path.exists():
            return path
    if distribution not in KEYRINGS:
        raise Invalid(f"unknown distribution {distribution!r}; known are {', '.join(sorted(KEYRINGS))}")
    raise NotFound(f"the keys of {distribution} are missing; install the package {KEYRING_PACKAGES[distribution]}")


def suites(distribution: str, suite: str) -> list[tuple[str, bool]]:
    """The parts of a release as (suite, is in the security archive)."""
    if suite in ("sid", "unstable", "experimental", "testing") or suite.endswith("-backports"):
        return [(suite, False)]
    return [(suite, False), (f"{suite}-updates", False), (f"{suite}-security", True)]


def lines(distribution: str, suite: str, mirror: Mirror) -> list[tuple[str, str]]:
    """The (address, suite) pairs that make up a release on a mirror."""
    found = []
    for name, is_security in suites(distribution, suite):
        if not is_security:
            found.append((mirror.archive, name))
        elif mirror.security or distribution == "ubuntu":
            found.append((mirror.security or mirror.archive, name))
    return found


def _addresses(apt: Path) -> Iterator[str]:
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        yield from _deb822(path.read_text())
    for path in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))):
        if path.is_file():
            yield from _one_line(path.read_text().splitlines())


def _deb822(text: str) -> Iterator[str]:
    for stanza in re.split(r"\n\s*\n", text):
        if re.search(r"^Enabled:\s*(no|false|0)\s*$", stanza, re.MULTILINE | re.IGNORECASE):
            continue
        for match in re.finditer(r"^URIs:[ \t]*(.*(?:\n[ \t]+.*)*)", stanza, re.MULTILINE | re.IGNORECASE):
            yield from (word for word in match[1].split() if "://" in word)


def _one_line(text: Iterable[str]) -> Iterator[str]:
    for line in text:
        match = re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+://\S+)", line)
        if match:
            yield match[1]
