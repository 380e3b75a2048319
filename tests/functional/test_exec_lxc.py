"""Debian's `lxc` client: commands, shells at a terminal, the console and files, as a person uses them."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.terminal import Terminal
from tests.hosts import Host, wait_until


@pytest.fixture(scope="module")
def box(host: Host) -> Iterator[str]:
    host.create("lxcbox", "busybox")
    yield "lxcbox"
    host.delete("lxcbox")


def terminal(host: Host, *words: str, **how: int) -> Terminal:
    env = {"LXD_DIR": str(host.directory), "LXD_CONF": str(host.folder / "lxc-client")}
    return Terminal(*words, env=env, program="/usr/bin/lxc", **how)


def running(host: Host, name: str, word: str) -> bool:
    return word in host.exec(name, "ps", "-o", "args").stdout


def test_a_command_with_input_output_and_exit_code(host: Host, box: str) -> None:
    done = host.lxc("exec", box, "--", "sh", "-c", "tr a-z A-Z; echo oops >&2; exit 42", input="shout\n", check=False)
    assert (done.returncode, done.stdout) == (42, "SHOUT\n")
    assert "oops\n" in done.stderr
    assert host.lxc("exec", box, "--", "no-such-program", check=False).returncode == 127
    assert host.lxc("exec", box, "--", "sh", "-c", "kill -9 $$", check=False).returncode == 137


def test_options_for_user_folder_and_environment(host: Host, box: str) -> None:
    options = ("--user", "1000", "--group", "1000", "--cwd", "/tmp", "--env", "WHO=me")
    done = host.lxc("exec", box, *options, "--", "sh", "-c", "echo $(id -u) $(id -g) $(pwd) $WHO")
    assert done.stdout == "1000 1000 /tmp me\n"


def test_much_input_and_output_pass_unchanged(host: Host, box: str, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(os.urandom(32 << 20))
    with source.open("rb") as stream:
        environment = {**os.environ, "LXD_DIR": str(host.directory), "LXD_CONF": str(host.folder / "lxc-client")}
        done = subprocess.run(
            ["lxc", "exec", box, "--", "cat"],
            stdin=stream,
            capture_output=True,
            env=environment,
            timeout=60,
            check=True,
        )
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(source.read_bytes()).digest()


def test_a_shell_at_a_terminal(host: Host, box: str) -> None:
    with terminal(host, "exec", box, "--", "sh", columns=111, lines=33) as shell:
        shell.keys("stty size; tty\n")
        shell.expect("33 111\n")
        shell.expect("/dev/pts/")
        shell.resize(140, 50)
        os.kill(shell.process.pid, signal.SIGWINCH)
        shell.keys("sleep 1; stty size\n")
        shell.expect("50 140\n")
        shell.keys("sleep 4801\n")
        wait_until(lambda: running(host, box, "sleep 4801"), 10, what="sleep runs")
        shell.keys("\x03")
        shell.keys("echo code-$?\n")
        shell.expect("code-130\n")
        shell.keys("exit 9\n")
        assert shell.end() == 9


def test_a_client_that_is_killed_takes_its_command_along(host: Host, box: str) -> None:
    with terminal(host, "exec", box, "--", "sleep", "4802") as client:
        wait_until(lambda: running(host, box, "sleep 4802"), 10, what="sleep runs")
        client.process.kill()
        wait_until(lambda: not running(host, box, "sleep 4802"), 10, what="sleep has ended")


def test_a_signal_to_the_client_reaches_the_command(host: Host, box: str) -> None:
    with terminal(
        host, "exec", "-T", box, "--", "sh", "-c", "trap 'exit 77' TERM; echo ready; while :; do sleep 0.1; done"
    ) as client:
        client.expect("ready")
        client.process.send_signal(signal.SIGTERM)
        assert client.end() == 77


def test_the_console_shows_the_guest_and_detaches(host: Host, box: str) -> None:
    with terminal(host, "console", box) as console:
        console.expect("detach from the console")
        console.keys("\n")
        console.expect(f"{box} login: ")
        console.keys("somebody\n")
        console.expect("Password: ")
        # As fingers do it: the client looks at the first byte of what it reads at once.
        console.keys("\x01")
        time.sleep(0.3)
        console.keys("q")
        assert console.end() == 0
    log = host.lxc("console", "--show-log", box).stdout
    assert f"{box} login: somebody" in log


def test_files_and_folders_go_in_and_come_out(host: Host, box: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner" / "deep").mkdir(parents=True)
    (tree / "one").write_text("first\n")
    (tree / "inner" / "run").write_text("#!/bin/sh\n")
    (tree / "inner" / "run").chmod(0o755)
    (tree / "inner" / "link").symlink_to("run")
    host.lxc("file", "push", "-r", "-p", str(tree), f"{box}/srv/")
    assert host.exec(box, "readlink", "/srv/tree/inner/link").stdout == "run\n"
    assert host.exec(box, "stat", "-c", "%a", "/srv/tree/inner/run").stdout == "755\n"
    back = tmp_path / "back"
    host.lxc("file", "pull", "-r", f"{box}/srv/tree", str(back))
    assert (back / "tree" / "one").read_text() == "first\n"
    assert (back / "tree" / "inner" / "link").readlink() == Path("run")
    assert (back / "tree" / "inner" / "run").stat().st_mode & 0o777 == 0o755
    assert (back / "tree" / "inner" / "deep").is_dir()


def test_owner_and_mode_are_as_asked(host: Host, box: str, tmp_path: Path) -> None:
    source = tmp_path / "note"
    source.write_text("hello\n")
    host.lxc("file", "push", "--uid", "1000", "--gid", "1001", "--mode", "0640", str(source), f"{box}/tmp/note")
    assert host.exec(box, "stat", "-c", "%u %g %a", "/tmp/note").stdout == "1000 1001 640\n"
    assert host.lxc("file", "pull", f"{box}/tmp/note", "-").stdout == "hello\n"
    host.lxc("file", "delete", f"{box}/tmp/note")
    assert "note" not in host.exec(box, "ls", "/tmp").stdout
    missing = host.lxc("file", "pull", f"{box}/tmp/note", "-", check=False)
    assert missing.returncode != 0
    assert "Not Found" in missing.stderr


def test_a_file_is_edited_from_standard_input(host: Host, box: str) -> None:
    host.exec(box, "sh", "-c", "echo old > /etc/motd; chmod 600 /etc/motd")
    host.lxc("file", "edit", f"{box}/etc/motd", input="new\n")
    assert host.exec(box, "cat", "/etc/motd").stdout == "new\n"
    assert host.exec(box, "stat", "-c", "%a", "/etc/motd").stdout == "600\n"


def test_operations_are_listed_and_awaited(host: Host, box: str) -> None:
    with terminal(host, "exec", box, "--", "sleep", "4804") as client:
        wait_until(lambda: running(host, box, "sleep 4804"), 10, what="sleep runs")
        assert "Executing command" in host.lxc("operation", "list").stdout
        client.process.kill()
    began = time.monotonic()
    wait_until(lambda: not running(host, box, "sleep 4804"), 10, what="sleep has ended")
    assert time.monotonic() - began < 5
