"""lxc and incus with a simplestreams remote: hutch fetches what they name there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hutch.access import x509
from hutch.imagebuild.build import build
from hutch.imagebuild.recipe import named
from tests.catalogue import Catalogue
from tests.functional.test_image_remotes import ADDRESS, served
from tests.hosts import Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_they_list_launch_copy_and_refresh(
    hosts: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "served").mkdir()
    certificate, key = x509.server(tmp_path / "keys")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("HOME", str(tmp_path))  # incus keeps what it read of a catalogue there.
    host = hosts(lxcfs=False)
    host.prepare()
    catalogue = Catalogue(tmp_path / "served")
    built = build(named("busybox"), form="squashfs", split=True)
    fingerprint = catalogue.add("box", "20250101_05:00", built.path, built.rootfs)
    with served(host.namespace, catalogue.folder, certificate, key):
        for client in (host.lxc, host.incus):
            client("remote", "add", "streams", ADDRESS, "--protocol", "simplestreams")
            assert fingerprint[:12] in client("image", "list", "streams:", "--format", "csv").stdout
            client("launch", "streams:box", "one")
            assert client("exec", "one", "--", "hostname").stdout == "one\n"
            assert host.get(f"/1.0/images/{fingerprint}")["cached"]
            client("delete", "--force", "one")
            host.call("DELETE", f"/1.0/images/{fingerprint}")
            client("image", "copy", "streams:box", "local:", "--alias", "kept", "--auto-update")
            assert host.get(f"/1.0/images/{fingerprint}")["auto_update"]
            client("image", "refresh", "kept")
            client("image", "delete", "kept")
