"""A client that a public generator makes from our OpenAPI document drives instances."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.hosts import Host
from tests.hosts.host import BIN
from tests.hosts.relay import relay

NAME = "made-by-generated-client"


@pytest.fixture(scope="module")
def package(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of the generated package, which can be imported."""
    folder = tmp_path_factory.mktemp("generated")
    document, made = folder / "openapi.json", folder / "hutch_generated"
    document.write_bytes(host.api.raw("GET", "/1.0/openapi.json")[2])
    words = [BIN / "openapi-python-client", "generate", "--path", document, "--output-path", made, "--meta", "none"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield made.name
    sys.path.remove(str(folder))


def test_a_generated_client_lists_launches_stops_and_deletes(host: Host, package: str) -> None:
    def module(path: str) -> ModuleType:
        return importlib.import_module(f"{package}.{path}")

    def done(answer: Any) -> None:
        operation = Path(answer.operation).name
        ended = module("api.operations.get_operations_id_wait").sync(operation, client=client).metadata
        assert (ended.status_code, ended.err) == (200, "")

    with relay(host.api.path) as port:
        client = module("client").Client(base_url=f"http://127.0.0.1:{port}")
        source = module("models").Source(type_="image", alias="busybox")
        wanted = module("models").InstancePost(name=NAME, source=source, start=True)
        done(module("api.instances.post_instances").sync(client=client, body=wanted))

        listed = module("api.instances.get_instances").sync(client=client, recursion="1").metadata
        (found,) = [each for each in listed if each.name == NAME]
        assert (found.status, found.status_code) == ("Running", 103)
        assert found.config["image.os"]

        stop = module("models").StatePut(action="stop", force=True)
        done(module("api.instances.put_instances_name_state").sync(NAME, client=client, body=stop))
        done(module("api.instances.delete_instances_name").sync(NAME, client=client))
        refused = module("api.instances.get_instances_name").sync(NAME, client=client)
        assert refused.error_code == 404
