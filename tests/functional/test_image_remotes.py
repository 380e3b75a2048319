"""Instances of images that are on other servers: fetched once, by the API's and by people's clients."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hutch.access import x509
from tests.catalogue import Catalogue
from tests.hosts import ApiError, Host, Segment, images
from tests.hosts.namespace import Namespace

PORT = 9443
ADDRESS = f"https://127.0.0.1:{PORT}"
Maker = Callable[..., str]


@dataclass
class Streams:
    """A catalogue of Busybox images, served inside the host."""

    catalogue: Catalogue
    certificate: Path
    server: subprocess.Popen[str]

    def source(self, **more: str) -> dict[str, str]:
        usual = {"type": "image", "mode": "pull", "server": ADDRESS, "protocol": "simplestreams"}
        return usual | {"alias": "box", "certificate": self.certificate.read_text()} | more


@contextmanager
def served(namespace: Namespace, folder: Path, certificate: Path, key: Path) -> Iterator[subprocess.Popen[str]]:
    program = Path(__file__).parents[1] / "hosts/https_folder.py"
    words = namespace.command("python3", program, folder, certificate, key, str(PORT))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def streams(host: Host, tmp_path: Path) -> Iterator[Streams]:
    (tmp_path / "keys").mkdir()
    (tmp_path / "served").mkdir()
    certificate, key = x509.server(tmp_path / "keys")
    catalogue = Catalogue(tmp_path / "served")
    catalogue.add("box", "20250101_05:00", images.built("busybox"))
    with served(host.namespace, catalogue.folder, certificate, key) as process:
        yield Streams(catalogue, certificate, process)


@pytest.fixture
def bare(host: Host) -> Iterator[Host]:
    """The shared host without its image, which is the one that the catalogue has."""
    fingerprint = host.get("/1.0/images/aliases/busybox")["target"]
    host.call("DELETE", f"/1.0/images/{fingerprint}")
    yield host
    for url in host.get("/1.0/images"):
        if host.get(url)["fingerprint"] == fingerprint:
            host.call("DELETE", url)
    host.import_image(images.built("busybox"), "busybox")


def test_an_image_is_fetched_once_and_kept(bare: Host, streams: Streams) -> None:
    bare.call("POST", "/1.0/instances", {"name": "one", "source": streams.source()})
    config = bare.get("/1.0/instances/one")["config"]
    image = bare.get(f"/1.0/images/{config['volatile.base_image']}")
    assert (image["cached"], image["auto_update"], image["aliases"]) == (True, True, [])
    assert image["update_source"]["alias"] == "box"
    assert config["image.release"] == "box"
    streams.catalogue.products.clear()
    streams.catalogue.write()
    with pytest.raises(ApiError, match="there is no image 'box'"):
        bare.call("POST", "/1.0/instances", {"name": "two", "source": streams.source()})
    bare.delete("one")


def test_a_server_that_is_away_is_made_up_for_by_what_is_kept(bare: Host, streams: Streams) -> None:
    bare.call("POST", "/1.0/instances", {"name": "one", "source": streams.source()})
    streams.server.kill()
    streams.server.wait()
    bare.call("POST", "/1.0/instances", {"name": "two", "source": streams.source()})
    with pytest.raises(ApiError, match=f"cannot be fetched from {ADDRESS}"):
        bare.call("POST", "/1.0/instances", {"name": "three", "source": streams.source(alias="other")})
    assert not bare.api.exists("/1.0/instances/three")
    bare.delete("one")
    bare.delete("two")


def test_an_instance_is_rebuilt_from_there(bare: Host, streams: Streams) -> None:
    bare.call("POST", "/1.0/instances", {"name": "one", "source": {"type": "none"}})
    bare.call("POST", "/1.0/instances/one/rebuild", {"source": streams.source()})
    bare.power("one", "start")
    assert bare.exec("one", "hostname").stdout == "one\n"
    bare.delete("one")


def test_people_launch_by_the_name_of_a_remote(bare: Host, streams: Streams, tmp_path: Path) -> None:
    def hutch(*words: str, check: bool = True) -> str:
        done = bare.hutch(*words, env={"HUTCH_CONF": str(tmp_path / "conf")}, check=check)
        return done.stdout + done.stderr

    hutch("remote", "add", "streams", ADDRESS, "--protocol", "simplestreams", "--accept-certificate")
    assert "simplestreams" in hutch("remote", "list", "--format", "csv")
    shown = hutch("image", "list", "streams:", "-c", "Lda", "--format", "csv")
    assert "box" in shown
    assert "20250101_05:00" in shown
    assert hutch("image", "list", "streams:other", "--format", "csv") == ""
    hutch("launch", "streams:box", "one")
    assert "one\n" in hutch("exec", "one", "hostname")
    hutch("rebuild", "streams:box", "one", "--force")
    assert "there is no image 'none'" in hutch("launch", "streams:none", "two", check=False)
    assert "only has images" in hutch("list", "streams:", check=False)
    fingerprint = bare.get("/1.0/instances/one")["config"]["volatile.base_image"]
    hutch("delete", "one", "--force")
    bare.call("DELETE", f"/1.0/images/{fingerprint}")
    hutch("image", "copy", "streams:box", "--alias", "kept", "--auto-update")
    assert bare.get(f"/1.0/images/{fingerprint}")["auto_update"]
    assert "nothing newer" in hutch("image", "refresh", "kept")
    hutch("remote", "rename", "streams", "other")
    hutch("remote", "remove", "other")


def test_an_image_of_another_hutch_is_launched_from_there(
    hosts: Callable[..., Host], segment: Segment, tmp_path: Path
) -> None:
    here, there = hosts(segment=segment, lxcfs=False), hosts(segment=segment, lxcfs=False)
    here.prepare()
    there.import_image(images.built("busybox"), "busybox")
    there.call("PATCH", "/1.0", {"config": {"core.https_address": "[::]:8443"}})
    token = there.hutch("config", "trust", "add", "--name", "here").stdout.split()[-1]
    conf, address = {"HUTCH_CONF": str(tmp_path / "conf")}, there.address.partition("/")[0]
    here.hutch("remote", "add", "far", address, "--token", token, "--accept-certificate", env=conf)
    here.hutch("launch", "far:busybox", "private", env=conf)
    assert here.exec("private", "hostname").stdout == "private\n"
    here.delete("private")
    for url in here.get("/1.0/images"):
        here.call("DELETE", url)
    there.call("PATCH", there.get("/1.0/images")[0], {"public": True})
    here.hutch("remote", "add", "open", address, "--public", "--accept-certificate", env=conf)
    assert "busybox" in here.hutch("image", "list", "open:", "--format", "csv", env=conf).stdout
    here.hutch("launch", "open:busybox", "public", env=conf)
    assert here.exec("public", "hostname").stdout == "public\n"
    image = here.get(here.get("/1.0/images")[0])
    assert (image["cached"], image["update_source"]["protocol"]) == (True, "lxd")
