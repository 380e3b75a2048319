"""Recipes: what a file may say, and what is said about the mistakes in it."""

from pathlib import Path
from typing import Any

import pytest

from hutch.errors import Invalid, NotFound
from hutch.imagebuild import recipe
from hutch.imagebuild.recipe import File

WHOLE = """\
distribution: debian
suite: bookworm
name: web
release: 12
description: nginx on Debian 12
variant: server
aliases: [web, web/12]
packages: [nginx, libstdc++6]
files:
  /etc/motd: Welcome.
  /usr/local/bin/hello: {content: "#!/bin/sh", mode: "0755"}
  /usr/local/bin/octal: {content: "x", mode: 0700}
commands:
  - systemctl enable nginx
mirror: https://m.example/debian
network: true
"""


def test_a_whole_recipe_is_read(tmp_path: Path) -> None:
    file = tmp_path / "anything.yaml"
    file.write_text(WHOLE)

    found = recipe.load(file)

    assert (found.name, found.aliases, found.release, found.variant) == ("web", ("web", "web/12"), "12", "server")
    assert found.files == {
        "/etc/motd": File("Welcome."),
        "/usr/local/bin/hello": File("#!/bin/sh", 0o755),
        "/usr/local/bin/octal": File("x", 0o700),
    }
    assert found.all_packages[-2:] == ["nginx", "libstdc++6"]
    assert "systemd-sysv" in found.all_packages
    assert found.network is True
    assert found.found_mirror().archive == "https://m.example/debian"


def test_a_short_recipe_takes_its_name_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "plain.yaml"
    file.write_text("suite: trixie\n")

    found = recipe.load(file)

    assert (found.name, found.aliases, found.distribution, found.release) == ("plain", ("plain",), "debian", "13")
    assert found.network is False


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "lacks its suite"),
        ({"suite": "bookworm", "package": ["x"]}, "unknown key 'package'"),
        ({"suite": "bookworm", "distribution": "arch"}, "distribution 'arch' is not known; known are debian, ubuntu"),
        ({"suite": "bookworm", "packages": "nginx"}, "packages must be a list of texts"),
        ({"suite": "bookworm", "packages": ["nginx; reboot"]}, "'nginx; reboot' is not a package name"),
        ({"suite": "bookworm", "packages": ["-o=Dir=/"]}, "is not a package name"),
        ({"suite": "bookworm", "packages": ["?essential"]}, "is not a package name"),
        ({"suite": "bookworm", "commands": [True]}, "commands must be a list of texts"),
        ({"suite": "bookworm", "files": ["/etc/motd"]}, "files must map paths to contents"),
        ({"suite": "bookworm", "files": {"etc/motd": "x"}}, "must be an absolute path"),
        ({"suite": "bookworm", "files": {"/etc/../../x": "x"}}, "without '..'"),
        ({"suite": "bookworm", "files": {"/etc/motd": {"mode": "644"}}}, "/etc/motd must be a text or have content"),
        ({"suite": "bookworm", "files": {"/a": {"content": "x", "mode": "abc"}}}, "mode 'abc' .* is not octal"),
        ({"suite": "bookworm", "files": {"/a": {"content": "x", "mode": "77777"}}}, "out of range"),
        ({"suite": "bookworm", "name": "../escape"}, "cannot be an alias"),
        ({"suite": "bookworm", "name": "has space"}, "cannot be an alias"),
        ({"suite": "bookworm", "network": "yes"}, "network must be true or false"),
        ({"suite": ["bookworm"]}, "suite must be a text"),
        ({"suite": "bookworm\nnoble"}, "suite .* is not a word"),
        ({"suite": "bookworm", "mirror": "m.example/debian"}, "mirror .* is not an address"),
    ],
)
def test_mistakes_are_named(document: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        recipe.parse(document, "name")


@pytest.mark.parametrize(("text", "message"), [("[1]", "must be a mapping"), ("a: [", "cannot read the recipe")])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)

    with pytest.raises(Invalid, match=message):
        recipe.load(file)


def test_a_missing_file_and_an_unknown_name_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no recipe file"):
        recipe.load(tmp_path / "none.yaml")
    with pytest.raises(NotFound, match="no recipe 'debian/99'; built in are debian/12, debian/13, busybox"):
        recipe.named("debian/99")


def test_built_in_recipes_are_found_by_their_aliases() -> None:
    assert recipe.named("debian/bookworm") == recipe.named("debian/12")


def test_the_key_follows_everything_that_decides_about_the_image() -> None:
    plain = {"suite": "bookworm", "files": {"/a": "x"}}

    keys = {
        recipe.parse({**plain, **change}, "name").key()
        for change in ({}, {"packages": ["jq"]}, {"files": {"/a": "y"}}, {"commands": ["date"]}, {"suite": "trixie"})
    }

    assert len(keys) == 5
    assert recipe.parse(plain, "name").key() == recipe.parse(dict(plain), "name").key()
