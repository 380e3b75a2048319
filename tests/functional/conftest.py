"""Fixtures of the functional tests."""

from collections.abc import Callable, Iterator

import pytest

from tests.hosts import Host


@pytest.fixture
def project(host: Host) -> Iterator[Callable[..., str]]:
    """Makes projects on the shared host and answers their names; emptied and deleted after the test.

    Config keys are given with underscores for dots, two for a hyphen: features_images="false".
    """
    names: list[str] = []

    def make(name: str, **config: str) -> str:
        settings = {key.replace("__", "-").replace("_", "."): value for key, value in config.items()}
        host.call("POST", "/1.0/projects", {"name": name, "config": settings})
        names.append(name)
        return name

    yield make
    for name in names:
        _empty(host, name)
        host.call("DELETE", f"/1.0/projects/{name}")


def _empty(host: Host, name: str) -> None:
    for instance in host.get(f"/1.0/instances?project={name}&recursion=1"):
        path = f"/1.0/instances/{instance['name']}"
        if instance["status"] == "Running":
            host.call("PUT", f"{path}/state?project={name}", {"action": "stop", "force": True})
        host.call("DELETE", f"{path}?project={name}")
    for url in host.get(f"/1.0/projects/{name}")["used_by"]:
        if not url.startswith("/1.0/profiles/default?"):
            host.call("DELETE", url)
