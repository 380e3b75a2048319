"""Ansible's modules and connection for LXD drive hutch: its own copy, in a virtual environment that is kept between runs."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts import Host

VERSION = "11.13.0"
KEPT = Path("/var/cache/hutch-tests")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ansible() -> Path:
    """The folder of Ansible's programs."""
    place = KEPT / f"ansible-{VERSION}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
            pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run([*pip, f"ansible=={VERSION}"], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"ansible cannot be had: {done.stderr.strip().splitlines()[-1]}")
            (place / "complete").touch()
    return place / "bin"


@pytest.fixture(autouse=True)
def nothing_stays(host: Host) -> Iterator[None]:
    yield
    if host.api.exists("/1.0/instances/ansible1"):
        host.delete("ansible1")
    for path in ("profiles/ansible", "profiles/ansible2", "projects/ansible", "projects/ansible2"):
        if host.api.exists(f"/1.0/{path}"):
            host.call("DELETE", f"/1.0/{path}")


def played(host: Host, ansible: Path, folder: Path, tasks: list[dict[str, Any]], **play: Any) -> str:
    """What the playbook printed; every task must do what it says."""
    book = folder / "play.yaml"
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks} | play
    book.write_text(yaml.safe_dump([play]))
    environment = {
        "LXD_DIR": str(host.directory),
        "LXD_CONF": str(host.folder / "lxc-client"),
        "HOME": str(folder),
        "SSL_CERT_FILE": str(host.directory / "server.crt"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": str(ansible / "python"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    words = [ansible / "ansible-playbook", "-i", "localhost,ansible1,", book]
    done = host.run(*words, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def task(module: str, changes: bool, **settings: Any) -> list[dict[str, Any]]:
    """A task of a module, and that it says whether it changed something."""
    wanted = "found is changed" if changes else "found is not changed"
    return [
        {f"community.general.{module}": settings, "register": "found"},
        {"ansible.builtin.assert": {"that": wanted, "fail_msg": f"{module} {settings}: {{{{ found }}}}"}},
    ]


def test_projects_profiles_and_instances_are_as_they_are_wished(host: Host, ansible: Path, tmp_path: Path) -> None:
    url = {"url": f"unix:{host.directory}/unix.socket"}
    # the module compares the whole config, and so sees a change where one was completed by the server
    features = {f"features.{kind}": "true" for kind in ("profiles", "storage.buckets", "storage.volumes")}
    features["features.images"] = "false"
    project = {"name": "ansible", "description": "made by Ansible", "config": features} | url
    profile = {"name": "ansible", "config": {"limits.memory": "64MiB"}, "devices": {}} | url
    source = {"type": "image", "mode": "pull", "alias": "busybox"}
    instance = {"name": "ansible1", "source": source, "profiles": ["default", "ansible"], "timeout": 60} | url
    tasks = [
        *task("lxd_project", True, **project),
        *task("lxd_project", False, **project),
        *task("lxd_project", True, name="ansible", new_name="ansible2", **url),
        *task("lxd_project", True, name="ansible2", state="absent", **url),
        *task("lxd_profile", True, **profile),
        *task("lxd_profile", False, **profile),
        *task("lxd_profile", True, **profile | {"config": {"limits.memory": "96MiB"}}),
        *task("lxd_container", True, **instance, state="started", config={"user.by": "ansible"}),
        *task("lxd_container", False, **instance, state="started", config={"user.by": "ansible"}),
        *task("lxd_container", True, **instance, state="started", config={"user.by": "me"}),
        *task("lxd_container", True, **instance, state="frozen"),
        *task("lxd_container", True, **instance, state="restarted", force_stop=True),
    ]
    played(host, ansible, tmp_path, tasks)

    found = host.get("/1.0/instances/ansible1")
    assert (found["status"], found["expanded_config"]["limits.memory"]) == ("Running", "96MiB")
    tasks = [
        *task("lxd_container", True, **instance, state="stopped", force_stop=True),
        *task("lxd_container", False, **instance, state="stopped", force_stop=True),
        *task("lxd_container", True, **instance, state="absent"),
        *task("lxd_container", False, **instance, state="absent"),
        *task("lxd_profile", True, name="ansible", new_name="ansible2", **url),
        *task("lxd_profile", True, name="ansible2", state="absent", **url),
    ]
    played(host, ansible, tmp_path, tasks)
    assert not host.api.exists("/1.0/instances/ansible1")


def test_a_trust_password_lets_it_in_again_and_again(host: Host, ansible: Path, tmp_path: Path) -> None:
    host.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
             "/CN=ansible", "-keyout", tmp_path / "key", "-out", tmp_path / "crt")  # fmt: skip
    host.call("PATCH", "/1.0", {"config": {"core.https_address": "127.0.0.1:8447", "core.trust_password": "secret"}})
    try:
        remote = {
            "url": "https://127.0.0.1:8447",
            "client_key": str(tmp_path / "key"),
            "client_cert": str(tmp_path / "crt"),
            "trust_password": "secret",
        }
        tasks = [
            *task("lxd_profile", True, name="ansible", config={"user.a": "1"}, **remote),
            *task("lxd_profile", False, name="ansible", config={"user.a": "1"}, **remote),
        ]
        played(host, ansible, tmp_path, tasks)
        assert host.get("/1.0/profiles/ansible")["config"] == {"user.a": "1"}
    finally:
        host.call("PATCH", "/1.0", {"config": {"core.https_address": "", "core.trust_password": ""}})
        for path in host.get("/1.0/certificates"):
            host.call("DELETE", path)


def test_the_connection_reaches_into_a_guest(host: Host, ansible: Path, tmp_path: Path) -> None:
    host.create("ansible1", "busybox")
    (tmp_path / "here").write_text("carried over\n")
    tasks = [
        {"ansible.builtin.raw": "hostname; id -u", "register": "found", "changed_when": False},
        {"ansible.builtin.assert": {"that": "found.stdout_lines == ['ansible1', '0']"}},
        {"ansible.builtin.raw": "exit 7", "register": "failed", "failed_when": "failed.rc != 7"},
    ]

    play = {"hosts": "ansible1", "connection": "community.general.lxd"}
    assert "failed=0" in played(host, ansible, tmp_path, tasks, **play)
