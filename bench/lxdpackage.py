"""Debian's LXD and the libraries it alone needs, downloaded by apt and unpacked below /var/cache: nothing is installed."""

import subprocess
from pathlib import Path

CACHE = Path("/var/cache/hutch-bench/lxd")
_PACKAGES = ("lxd", "lxd-client", "libdqlite0", "libraft2")


class Missing(Exception):
    """This system's package sources have no LXD."""


def unpacked() -> Path:
    """The tree that holds usr/bin/lxd, made when it is not there yet."""
    root = CACHE / "root"
    if (root / "usr/bin/lxd").exists() and (root / "usr/bin/lxc").exists():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    options = ["-o", "APT::Sandbox::User=root", "-q"]
    done = subprocess.run(["apt-get", *options, "download", *_PACKAGES], cwd=CACHE, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"apt-get download {' '.join(_PACKAGES)}: {done.stderr.strip()}")
    for package in CACHE.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    return root
