"""What an image is made of: the built-in recipes and those that people write in YAML.

    distribution: debian          # debian or ubuntu
    suite: bookworm
    name: web                     # the alias, unless aliases are given
    description: nginx on Debian 12
    packages: [nginx, curl]
    files:
      /etc/motd: Welcome.
      /usr/local/bin/hello: {content: "#!/bin/sh\\necho hello\\n", mode: "0755"}
    commands:
      - systemctl enable nginx

Optional: release, variant, aliases, mirror, security_mirror, network (commands may use the network; off by default).
"""

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from hutch.errors import Invalid, NotFound
from hutch.imagebuild import sources

# Raised whenever the same recipe would give another image.
BUILDER_VERSION = 8
# The same for what is laid over a system with cloud-init.
CLOUD_INIT_VERSION = 1

DEBIAN_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "riscv64": "riscv64",
    "s390x": "s390x",
}

# What a person expects of a machine they log in to, and what gives it an address and names.
SYSTEM_PACKAGES = (
    "apt",
    "systemd-sysv",
    "systemd-resolved",
    "libnss-resolve",
    "libnss-myhostname",
    "libpam-systemd",
    "dbus",
    "iproute2",
    "iputils-ping",
    "ca-certificates",
    "netbase",
    "procps",
    "less",
    "nano",
    "sudo",
    "tzdata",
)
RELEASES = {"bookworm": "12", "trixie": "13", "jammy": "22.04", "noble": "24.04", "sid": "sid"}
# systemd-resolved is a package of its own from Debian 12 on.
WITHOUT_RESOLVED_PACKAGE = {"jammy"}


@dataclass(frozen=True)
class File:
    """A file that the recipe adds."""

    content: str
    mode: int = 0o644


@dataclass(frozen=True)
class Recipe:
    """All that decides what an image contains; `name` is its first alias."""

    name: str
    distribution: str
    suite: str
    release: str
    description: str
    variant: str = "default"
    aliases: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    files: Mapping[str, File] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    mirror: str | None = None
    security_mirror: str | None = None
    network: bool = False
    architecture: str = field(default_factory=platform.machine)

    @property
    def os(self) -> str:
        """The value of the image's `os` property."""
        return "busybox" if self.variant == "busybox" else self.distribution

    @property
    def has_cloud_init(self) -> bool:
        return "cloud-init" in self.packages

    @property
    def debian_architecture(self) -> str:
        if self.architecture not in DEBIAN_ARCHITECTURES:
            raise Invalid(f"no Debian architecture is known for {self.architecture}")
        return DEBIAN_ARCHITECTURES[self.architecture]

    @property
    def all_packages(self) -> list[str]:
        """The base system's and the recipe's own packages, in order and once each."""
        absent = {"systemd-resolved"} if self.suite in WITHOUT_RESOLVED_PACKAGE else set()
        return list(dict.fromkeys([*(p for p in SYSTEM_PACKAGES if p not in absent), *self.packages]))

    @property
    def stem(self) -> str:
        """The file name of finished images without its ending."""
        return self.name.replace("/", "-")

    def found_mirror(self) -> sources.Mirror:
        """Where its packages come from: what it names, else what this machine uses."""
        if self.mirror:
            return sources.Mirror(self.mirror, self.security_mirror)
        return sources.machine_mirror(self.distribution)

    def key(self) -> str:
        """Changes with everything that the recipe and the builder decide about the image."""
        cloud = [CLOUD_INIT_VERSION] if self.has_cloud_init else []
        text = json.dumps([BUILDER_VERSION, SYSTEM_PACKAGES, asdict(self), *cloud], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def _debian(release: str, suite: str, variant: str = "default", packages: tuple[str, ...] = ()) -> Recipe:
    end = "" if variant == "default" else f"/{variant}"
    return Recipe(
        name=f"debian/{release}{end}",
        distribution="debian",
        suite=suite,
        release=release,
        variant=variant,
        description=f"Debian {release} ({suite})" + (f" with {' '.join(packages)}" if packages else ""),
        aliases=(f"debian/{release}{end}", f"debian/{suite}{end}"),
        packages=packages,
    )


def _busybox() -> Recipe:
    return Recipe(
        name="busybox",
        distribution="debian",
        suite="bookworm",
        release="1",
        variant="busybox",
        description="Busybox: one static program, an init and a shell",
        aliases=("busybox",),
    )


def builtin() -> dict[str, Recipe]:
    """The recipes that need no file."""
    plain = (_debian("12", "bookworm"), _debian("13", "trixie"), _busybox())
    cloud = (_debian(*each, "cloud", ("cloud-init",)) for each in (("12", "bookworm"), ("13", "trixie")))
    return {recipe.name: recipe for recipe in (*plain, *cloud)}


def named(name: str) -> Recipe:
    """A built-in recipe by its name or alias."""
    for recipe in builtin().values():
        if name == recipe.name or name in recipe.aliases:
            return recipe
    raise NotFound(f"no recipe {name!r}; built in are {', '.join(builtin())}, or give a recipe file")


def load(path: Path) -> Recipe:
    """Read a recipe file; every mistake in it is said with the key that holds it."""
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise NotFound(f"no recipe file {path}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid(f"cannot read the recipe {path}: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise Invalid(f"the recipe {path} must be a mapping with at least distribution and suite")
    return parse(document, path.stem)


KEYS = {
    "name", "distribution", "suite", "release", "variant", "description", "aliases", "packages", "files",
    "commands", "mirror", "security_mirror", "network", "architecture",
}  # fmt: skip


def parse(document: Mapping[str, Any], name: str) -> Recipe:
    """A recipe from its document; `name` is used when it has none of its own."""
    unknown = sorted(str(key) for key in document if key not in KEYS)
    if unknown:
        raise Invalid(f"unknown key {unknown[0]!r} in the recipe; known are {', '.join(sorted(KEYS))}")
    text = {key: _text(document, key) for key in KEYS - {"aliases", "packages", "files", "commands", "network"}}
    name = text["name"] or name
    distribution, suite = text["distribution"] or "debian", text["suite"]
    if not suite:
        raise Invalid("the recipe lacks its suite (for example bookworm)")
    if distribution not in sources.COMPONENTS:
        known = ", ".join(sorted(sources.COMPONENTS))
        raise Invalid(f"the recipe's distribution {distribution!r} is not known; known are {known}")
    _check_sources(suite, text["mirror"], text["security_mirror"])
    network = document.get("network", False)
    if not isinstance(network, bool):
        raise Invalid("the recipe's network must be true or false")
    release = text["release"] or RELEASES.get(suite, suite)
    return Recipe(
        name=_alias(name),
        distribution=distribution,
        suite=suite,
        release=release,
        description=text["description"] or f"{distribution.capitalize()} {release} ({name})",
        variant=text["variant"] or "default",
        aliases=tuple(_alias(alias) for alias in _texts(document, "aliases")) or (name,),
        packages=_texts(document, "packages"),
        files=_files(document.get("files")),
        commands=_texts(document, "commands"),
        mirror=text["mirror"],
        security_mirror=text["security_mirror"],
        network=network,
        architecture=text["architecture"] or platform.machine(),
    )


def _check_sources(suite: str, *mirrors: str | None) -> None:
    """They become words of apt's sources."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9./_-]*", suite):
        raise Invalid(f"the recipe's suite {suite!r} is not a word")
    for mirror in mirrors:
        if mirror is not None and not re.fullmatch(r"(https?|file|copy)://[^\s\[\]]+", mirror):
            raise Invalid(f"the recipe's mirror {mirror!r} is not an address")


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise Invalid(f"the recipe's {key} must be a text")


def _texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = document.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise Invalid(f"the recipe's {key} must be a list of texts")
    if key == "packages":
        for item in value:
            _package(item)
    return tuple(value)


def _package(name: str) -> None:
    if not all(c.isascii() and (c.isalnum() or c in "+-.:") for c in name) or not name[0].isalnum():
        raise Invalid(f"the recipe's package {name!r} is not a package name")


def _alias(name: str) -> str:
    if not name or name.startswith(("/", ".", "-")) or any(c.isspace() or c in "\\:\0" for c in name) or ".." in name:
        raise Invalid(f"the recipe's name {name!r} cannot be an alias")
    return name


def _files(value: Any) -> dict[str, File]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid("the recipe's files must map paths to contents")
    return {_path(path): _file(str(path), entry) for path, entry in value.items()}


def _path(path: Any) -> str:
    if not isinstance(path, str) or not path.startswith("/") or ".." in PurePosixPath(path).parts or path == "/":
        raise Invalid(f"the recipe's file {path!r} must be an absolute path without '..'")
    return path


def _file(path: str, entry: Any) -> File:
    if isinstance(entry, str):
        return File(entry)
    if not isinstance(entry, dict) or set(entry) - {"content", "mode"} or not isinstance(entry.get("content"), str):
        raise Invalid(f"the recipe's file {path} must be a text or have content and mode")
    return File(entry["content"], _mode(path, entry.get("mode", "0644")))


def _mode(path: str, mode: Any) -> int:
    # YAML reads 0755 without quotes as the octal number that is meant.
    try:
        number = int(mode, 8) if isinstance(mode, str) else int(mode)
    except (TypeError, ValueError) as error:
        raise Invalid(f"the mode {mode!r} of the recipe's file {path} is not octal") from error
    if not 0 <= number <= 0o7777:
        raise Invalid(f"the mode {mode!r} of the recipe's file {path} is out of range")
    return number
