"""Instances of images that are on other servers: fetched once, by the API's and by people's clients."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hutch.access import x509
from tests.catalogue import Catalogue
from tests.hosts import ApiError, Host, images
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
def _served(namespace: Namespace, folder: Path, certificate: Path, key: Path) -> Iterator[subprocess.Popen[str]]:
    program = Path(__file__).parents[1] / "hosts/https_folder.py"
    words = namespace.command("python3", program, folder, certificate, key, str(PORT))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        yield process
        process.kill()


@pytest.fixture
def streams(host: Host, tmp_path: Path) -> Iterator[Streams]:
    (tmp_path / "keys").mkdir()
    (tmp_path / "served").mkdir()
    certificate, key = x509.server(tmp_path / "keys")
    catalogue = Catalogue(tmp_path / "served")
    catalogue.add("box", "20250101_05:00", images.built("busybox"))
    with _served(host.namespace, catalogue.folder, certificate, key) as process:
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
