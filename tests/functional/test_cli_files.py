"""`hutch file`: what goes in comes out, with its owner, mode and kind."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.terminal import HUTCH, Terminal
from tests.hosts import Host

Guest = Callable[..., str]


@pytest.fixture(scope="module")
def name(host: Host) -> str:
    """One running guest for all tests here."""
    if not host.api.exists("/1.0/instances/files-cli"):
        host.create("files-cli", "busybox")
    return "files-cli"


@pytest.fixture(scope="module", autouse=True)
def _gone(host: Host) -> object:
    yield
    host.delete("files-cli")


def listed(host: Host, name: str, path: str) -> list[str]:
    return host.hutch("exec", name, "--", "stat", "-c", "%F %a %u %g", path).stdout.split()


def test_a_file_keeps_its_content_and_gets_what_is_asked(host: Host, name: str, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(bytes(range(256)) * 1000)
    host.hutch("file", "push", str(source), f"{name}/root/data", "--mode", "0640", "--uid", "5", "--gid", "6")
    assert listed(host, name, "/root/data") == ["regular", "file", "640", "5", "6"]
    host.hutch("file", "pull", f"{name}/root/data", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o640


def test_into_a_folder_it_keeps_its_name(host: Host, name: str, tmp_path: Path) -> None:
    for stem in ("a", "b"):
        (tmp_path / stem).write_text(stem)
    host.hutch("file", "push", str(tmp_path / "a"), f"{name}/tmp")
    host.hutch("file", "push", str(tmp_path / "a"), str(tmp_path / "b"), f"{name}/srv/deep/er/", "-p")
    assert host.hutch("exec", name, "--", "cat", "/tmp/a", "/srv/deep/er/a", "/srv/deep/er/b").stdout == "aab"
    (tmp_path / "out").mkdir()
    host.hutch("file", "pull", f"{name}/tmp/a", f"{name}/srv/deep/er/b", str(tmp_path / "out"))
    assert (tmp_path / "out/b").read_text() == "b"


def test_an_empty_file_and_a_pipe(host: Host, name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    host.hutch("file", "push", str(tmp_path / "empty"), f"{name}/root/empty")
    assert host.hutch("file", "pull", f"{name}/root/empty", "-").stdout == ""
    host.hutch("file", "push", "-", f"{name}/root/piped", input="x" * 3_000_000)
    assert host.hutch("file", "pull", f"{name}/root/piped", "-").stdout == "x" * 3_000_000


def test_a_tree_keeps_folders_links_modes_and_names(host: Host, name: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "sub").chmod(0o750)
    (tree / "sub" / "naïve & spaced.txt").write_text("text")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("run.sh")
    (tree / "dangling").symlink_to("/no/such/thing")
    host.hutch("file", "push", "-r", str(tree), f"{name}/srv")
    assert listed(host, name, "/srv/tree/sub") == ["directory", "750", "0", "0"]
    assert listed(host, name, "/srv/tree/link")[:2] == ["symbolic", "link"]
    host.hutch("file", "pull", "-r", f"{name}/srv/tree", str(tmp_path / "back"))
    done = subprocess.run(["diff", "-r", "--no-dereference", tree, tmp_path / "back"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)
    assert (tmp_path / "back/run.sh").stat().st_mode & 0o777 == 0o755
    host.hutch("file", "push", "-r", str(tree), f"{name}/srv")


def test_a_link_is_followed_unless_in_a_tree(host: Host, name: str) -> None:
    host.hutch("exec", name, "--", "sh", "-c", "cd /root && echo t > target && ln -s target l1 && ln -s /root/l1 l2")
    assert host.hutch("file", "pull", f"{name}/root/l2", "-").stdout == "t\n"
    host.hutch("exec", name, "--", "ln", "-s", "loop", "/root/loop")
    assert "too many links" in host.hutch("file", "pull", f"{name}/root/loop", "-", check=False).stderr


def test_pulling_never_leaves_the_target_through_a_link(host: Host, name: str, tmp_path: Path) -> None:
    host.hutch("exec", name, "--", "sh", "-c", "mkdir -p /srv/evil && echo bad > /srv/evil/file")
    (tmp_path / "back").mkdir()
    outside = tmp_path / "outside"
    outside.write_text("good")
    (tmp_path / "back" / "evil").mkdir()
    (tmp_path / "back" / "evil" / "file").symlink_to(outside)
    done = host.hutch("file", "pull", "-r", f"{name}/srv/evil", str(tmp_path / "back"), check=False)
    assert done.returncode == 1
    assert outside.read_text() == "good"


def test_make_and_delete(host: Host, name: str) -> None:
    host.hutch("file", "mkdir", f"{name}/srv/new/folder", "-p", "--mode", "0700", "--uid", "7")
    assert listed(host, name, "/srv/new/folder") == ["directory", "700", "7", "0"]
    host.hutch("file", "create", f"{name}/srv/new/empty")
    assert listed(host, name, "/srv/new/empty")[:3] == ["regular", "empty", "file"]
    host.hutch("file", "create", "--type", "symlink", f"{name}/srv/new/link", "empty")
    assert "exists" in host.hutch("file", "create", f"{name}/srv/new/link", check=False).stderr
    host.hutch("file", "delete", f"{name}/srv/new/empty", f"{name}/srv/new/link", f"{name}/srv/new/folder")
    assert host.hutch("exec", name, "--", "ls", "/srv/new").stdout == ""


def test_edit(host: Host, name: str, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "added" >> "$1"\n')
    editor.chmod(0o755)
    host.hutch("file", "push", "-", f"{name}/root/edited", "--mode", "0600", input="first\n")
    env = {"HUTCH_DIR": str(host.directory), "EDITOR": str(editor)}
    with Terminal("file", "edit", f"{name}/root/edited", env=env) as terminal:
        assert terminal.end() == 0
    assert host.hutch("file", "pull", f"{name}/root/edited", "-").stdout == "first\nadded\n"
    assert listed(host, name, "/root/edited")[2] == "600"


def test_a_stopped_instance_has_files_too(host: Host, guest: Guest) -> None:
    stopped = guest(start=False)
    host.hutch("file", "push", "-", f"{stopped}/root/x", input="x")
    assert host.hutch("file", "pull", f"{stopped}/root/x", "-").stdout == "x"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["pull", "{name}/no/such", "-"], "no/such"),
        (["pull", "{name}", "-"], "not of the form INSTANCE/PATH"),
        (["pull", "{name}/etc", "/tmp"], "is a folder; give -r"),
        (["pull", "{name}/etc/hostname", "/no/such/folder/file"], "/no/such/folder"),
        (["push", "/no/such/file", "{name}/tmp/"], "no such file: /no/such/file"),
        (["push", "/etc", "{name}/tmp/"], "is a folder; give -r"),
        (["push", "/etc/hostname", "{name}/no/such/dir/x"], ""),
        (["push", "/etc/hostname", "{name}/tmp/x", "--mode", "9"], "not an octal number"),
        (["push", "-", "{name}/tmp/"], "needs the name of a file"),
        (["delete", "{name}/no/such"], ""),
        (["pull", "no-such-instance/etc/hostname", "-"], "not found"),
    ],
)
def test_mistakes_are_one_line(host: Host, name: str, words: list[str], part: str) -> None:
    done = host.hutch("file", *(word.format(name=name) for word in words), check=False, input="")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr


def _peak(pid: int) -> int:
    """KiB, of the program alone: what wait4 tells includes the memory of the test that started it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def test_a_gigabyte_needs_little_memory(host: Host, name: str, tmp_path: Path) -> None:
    """Both ways; the peak of the client stays under 64 MiB. The file is sparse here, its bytes all travel."""
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(1 << 30)
    env = {**os.environ, "HUTCH_DIR": str(host.directory)}
    for words in (["push", str(big), f"{name}/root/big"], ["pull", f"{name}/root/big", str(tmp_path / "back")]):
        started = time.monotonic()
        process = subprocess.Popen([HUTCH, "file", *words], env=env, stdin=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            time.sleep(0.02)
        assert process.returncode == 0
        assert 0 < peak < 64 << 10, f"{peak >> 10} MiB"
        print(f"{words[0]}: {1024 / (time.monotonic() - started):.0f} MiB/s, peak {peak >> 10} MiB")
    assert (tmp_path / "back").stat().st_size == 1 << 30
    host.hutch("file", "delete", f"{name}/root/big")
