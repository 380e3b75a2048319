"""`hutch config` and `hutch profile`, editors included."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.functional.terminal import Terminal
from tests.hosts import Host

Guest = Callable[..., str]
Editor = Callable[[str], dict[str, str]]


@pytest.fixture
def name(guest: Guest) -> str:
    return guest(start=False)


@pytest.fixture
def editor(host: Host, tmp_path: Path) -> Editor:
    """An editor that is the shell script given, with the file as $1; the environment to run hutch with."""

    def make(script: str) -> dict[str, str]:
        path = tmp_path / "editor"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return {"HUTCH_DIR": str(host.directory), "EDITOR": str(path)}

    return make


@pytest.fixture
def profile(host: Host) -> Iterator[str]:
    host.hutch("profile", "create", "cli-test", "--description", "for a test")
    yield "cli-test"
    host.hutch("profile", "delete", "cli-test", check=False)


def test_set_get_unset(host: Host, name: str) -> None:
    host.hutch("config", "set", name, "limits.cpu=1", "user.note=a=b c")
    host.hutch("config", "set", name, "user.old", "style")
    host.hutch("config", "set", name, "user.text=-", input="from\nstdin\n")
    assert host.hutch("config", "get", name, "user.note").stdout == "a=b c\n"
    assert host.hutch("config", "get", name, "user.old").stdout == "style\n"
    assert host.hutch("config", "get", name, "user.text").stdout == "from\nstdin\n\n"
    host.hutch("config", "unset", name, "user.note")
    assert host.hutch("config", "get", name, "user.note").stdout == "\n"
    done = host.hutch("config", "unset", name, "user.note", check=False)
    assert done.stderr == f"Error: user.note is not set on {name}\n"
    done = host.hutch("config", "set", name, "limits.nonsense=1", check=False)
    assert done.returncode == 1
    assert "limits.nonsense" in done.stderr


def test_show_is_yaml_that_edit_takes_back(host: Host, name: str) -> None:
    shown = host.hutch("config", "show", name).stdout
    document = yaml.safe_load(shown)
    document["config"]["limits.cpu"] = 2
    document["description"] = "changed"
    host.hutch("config", "edit", name, input=yaml.safe_dump(document))
    found = host.get(f"/1.0/instances/{name}")
    assert found["config"]["limits.cpu"] == "2"
    assert found["description"] == "changed"
    expanded = yaml.safe_load(host.hutch("config", "show", name, "--expanded").stdout)
    assert sorted(expanded["devices"]) == ["eth0", "root"]


def test_edit_in_an_editor(host: Host, name: str, editor: Editor) -> None:
    with Terminal(
        "config", "edit", name, env=editor('sed -i "s/^description:.*/description: edited/" "$1"')
    ) as terminal:
        assert terminal.end() == 0
    assert host.get(f"/1.0/instances/{name}")["description"] == "edited"
    with Terminal("config", "edit", name, env=editor("true")) as terminal:
        terminal.expect("Nothing was changed")
        assert terminal.end() == 0


def test_a_bad_edit_can_be_mended(host: Host, name: str, editor: Editor, tmp_path: Path) -> None:
    script = f"""
if [ -e {tmp_path}/again ]; then sed -i "s/^  limits.cpu:.*/  limits.cpu: 1/" "$1"; exit; fi
touch {tmp_path}/again
sed -i "s/^config:/config:\\n  limits.cpu: many/" "$1"
"""
    with Terminal("config", "edit", name, env=editor(script)) as terminal:
        terminal.expect("Error: ")
        terminal.expect("Press Enter to edit it again")
        terminal.keys("\n")
        assert terminal.end() == 0
    assert host.get(f"/1.0/instances/{name}")["config"]["limits.cpu"] == "1"


def test_two_editors_do_not_undo_each_other(host: Host, name: str, editor: Editor, tmp_path: Path) -> None:
    script = f"""
touch {tmp_path}/open
while [ ! -e {tmp_path}/go ]; do sleep 0.05; done
sed -i "s/^description:.*/description: mine/" "$1"
"""
    with Terminal("config", "edit", name, env=editor(script)) as terminal:
        while not (tmp_path / "open").exists():
            assert terminal.process.poll() is None
        host.hutch("config", "set", name, "user.theirs=1")
        (tmp_path / "go").touch()
        terminal.expect("Error: ETag doesn't match")
        terminal.expect("Ctrl-C to give up: ")
        time.sleep(0.5)
        terminal.keys("\x03")
        assert terminal.end() == 130
    assert host.get(f"/1.0/instances/{name}")["config"]["user.theirs"] == "1"


def test_an_editor_that_fails_saves_nothing(host: Host, name: str, editor: Editor) -> None:
    with Terminal("config", "edit", name, env=editor('echo "description: bad" > "$1"; exit 1')) as terminal:
        terminal.expect("ended with status 1; nothing was saved")
        assert terminal.end() == 1


def test_devices(host: Host, name: str, tmp_path: Path) -> None:
    assert host.hutch("config", "device", "list", name).stdout == ""
    host.hutch("config", "device", "add", name, "data", "disk", f"source={tmp_path}", "path=/data")
    assert host.hutch("config", "device", "list", name).stdout == "data\n"
    host.hutch("config", "device", "set", name, "data", "readonly=true")
    assert host.hutch("config", "device", "get", name, "data", "readonly").stdout == "true\n"
    host.hutch("config", "device", "unset", name, "data", "readonly")
    host.hutch("config", "device", "override", name, "root", "size=50MiB")
    shown = yaml.safe_load(host.hutch("config", "device", "show", name).stdout)
    assert shown["root"] == {"type": "disk", "path": "/", "pool": "default", "size": "50MiB"}
    assert shown["data"] == {"type": "disk", "path": "/data", "source": str(tmp_path)}
    host.hutch("config", "device", "remove", name, "data", "root")
    assert host.hutch("config", "device", "show", name).stdout == "{}\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["set", "{name}", "root", "size=1GiB"], "has no device root of its own; its profiles may have one"),
        (["add", "{name}", "x", "no-such-type"], "no-such-type"),
        (["remove", "{name}", "x"], "has no device x"),
        (["override", "{name}", "x"], "no profile of {name} has a device x"),
        (["unset", "{name}", "eth9", "mtu"], "has no device eth9"),
    ],
)
def test_mistakes_with_devices(host: Host, name: str, words: list[str], part: str) -> None:
    done = host.hutch("config", "device", *(word.format(name=name) for word in words), check=False)
    assert done.returncode == 1
    assert part.format(name=name) in done.stderr


def test_profiles(host: Host, name: str, profile: str) -> None:
    host.hutch("profile", "set", profile, "limits.cpu=1", "user.a=1")
    host.hutch("profile", "unset", profile, "user.a")
    assert host.hutch("profile", "get", profile, "limits.cpu").stdout == "1\n"
    host.hutch("profile", "device", "add", profile, "data", "disk", "source=/var/tmp", "path=/data")
    assert host.hutch("profile", "device", "list", profile).stdout == "data\n"
    host.hutch("profile", "device", "remove", profile, "data")
    host.hutch("profile", "add", name, profile)
    assert host.hutch("config", "get", name, "limits.cpu", "--expanded").stdout == "1\n"
    assert f"| {profile} " in host.hutch("profile", "list").stdout
    refused = host.hutch("profile", "delete", profile, check=False)
    assert refused.returncode == 1
    host.hutch("profile", "remove", name, profile)
    host.hutch("profile", "assign", name, f"{profile},default")
    assert host.get(f"/1.0/instances/{name}")["profiles"] == [profile, "default"]
    host.hutch("profile", "assign", name, "default")
    host.hutch("profile", "copy", profile, "cli-copy")
    host.hutch("profile", "rename", "cli-copy", "cli-other")
    shown = yaml.safe_load(host.hutch("profile", "show", "cli-other").stdout)
    assert shown["config"] == {"limits.cpu": "1"}
    host.hutch("profile", "edit", "cli-other", input="config: {user.x: true}\ndescription: new\n")
    assert host.get("/1.0/profiles/cli-other")["config"] == {"user.x": "true"}
    host.hutch("profile", "delete", "cli-other")


def test_a_profile_from_yaml(host: Host) -> None:
    host.hutch("profile", "create", "cli-yaml", input="config: {limits.cpu: 1}\ndescription: from yaml\n")
    found = host.get("/1.0/profiles/cli-yaml")
    assert (found["config"], found["description"]) == ({"limits.cpu": "1"}, "from yaml")
    host.hutch("profile", "delete", "cli-yaml")


def test_the_servers_configuration(host: Host) -> None:
    host.hutch("config", "set", "user.cli=1")
    assert host.hutch("config", "get", "user.cli").stdout == "1\n"
    assert yaml.safe_load(host.hutch("config", "show").stdout)["config"]["user.cli"] == "1"
    host.hutch("config", "unset", "user.cli")
    assert host.hutch("config", "set", "core.nonsense=1", check=False).returncode == 1


def test_metadata_and_templates(host: Host, name: str) -> None:
    assert yaml.safe_load(host.hutch("config", "metadata", "show", name).stdout)["properties"]["os"] == "busybox"
    assert "hostname.tpl" in host.hutch("config", "template", "list", name).stdout
    assert host.hutch("config", "template", "show", name, "hostname.tpl").stdout == "{{ container.name }}\n"
    host.hutch("config", "template", "create", name, "new.tpl", input="hello\n")
    host.hutch("config", "template", "edit", name, "new.tpl", input="changed\n")
    assert host.hutch("config", "template", "show", name, "new.tpl").stdout == "changed\n"
    host.hutch("config", "template", "delete", name, "new.tpl")
    assert "new.tpl" not in host.hutch("config", "template", "list", name).stdout


EDITED = {
    "config": ("config", "edit", "{name}"),
    "profile": ("profile", "edit", "cli-test"),
    "network": ("network", "edit", "hutchbr0"),
    "pool": ("storage", "edit", "default"),
    "volume": ("storage", "volume", "edit", "default", "cli-edit"),
    "project": ("project", "edit", "default"),
    "server": ("config", "edit"),
}
"""Every kind that is edited as YAML and has a config."""


@pytest.mark.parametrize("kind", EDITED)
def test_a_bad_edit_of_any_kind_is_not_lost(
    host: Host, name: str, profile: str, editor: Editor, tmp_path: Path, kind: str
) -> None:
    host.call("POST", "/1.0/storage-pools/default/volumes/custom", {"name": "cli-edit"})
    script = f"""
if [ -e {tmp_path}/second ]; then sed -i "/no.such.key/d" "$1"; exit; fi
if [ -e {tmp_path}/first ]; then touch {tmp_path}/second; sed -i "s/^broken: .*//" "$1"; exit; fi
touch {tmp_path}/first
sed -i "s/^config:.*/config:\\n  no.such.key: x\\n  user.edited: kept/" "$1"
echo 'broken: [' >> "$1"
"""
    words = [word.format(name=name) for word in EDITED[kind]]
    try:
        with Terminal(*words, env=editor(script)) as terminal:
            terminal.expect("Error: the text is not YAML")
            terminal.keys("\n")
            terminal.expect("Unknown configuration key: no.such.key")
            terminal.keys("\n")
            assert terminal.end() == 0
        get = ["get" if word == "edit" else word for word in words]
        assert host.hutch(*get, "user.edited").stdout == "kept\n"
    finally:
        unset = ["unset" if word == "edit" else word for word in words]
        host.hutch(*unset, "user.edited", check=False)
        host.call("DELETE", "/1.0/storage-pools/default/volumes/custom/cli-edit")
