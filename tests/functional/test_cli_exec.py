"""`hutch exec`, `shell` and `console`: streams, terminals, signals and exit codes."""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.terminal import HUTCH, Terminal
from tests.hosts import Host, wait_until

Guest = Callable[..., str]


@pytest.fixture
def name(guest: Guest) -> str:
    return guest()


def env(host: Host) -> dict[str, str]:
    return {"HUTCH_DIR": str(host.directory)}


def start(host: Host, *words: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([HUTCH, *words], stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **env(host)})


def expect_login(terminal: Terminal) -> None:
    """A key pressed while getty starts is dropped by it, so press another."""
    for _ in range(10):
        terminal.keys("\n")
        with contextlib.suppress(AssertionError):
            terminal.expect("login: ", timeout=2)
            return
    raise AssertionError(f"there is no login: {terminal.seen!r}")


def test_streams_stay_apart_and_the_status_comes_back(host: Host, name: str) -> None:
    done = host.hutch("exec", name, "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_options_of_the_command_are_its_own(host: Host, name: str) -> None:
    assert host.hutch("exec", name, "ls", "-d", "/etc").stdout == "/etc\n"
    assert host.hutch("exec", name, "--", "echo", "--project", "x").stdout == "--project x\n"


def test_what_is_typed_reaches_the_command_and_ends(host: Host, name: str) -> None:
    assert host.hutch("exec", name, "cat", input="one\ntwo").stdout == "one\ntwo"
    assert host.hutch("exec", name, "-n", "cat").stdout == ""


def test_user_group_directory_and_environment(host: Host, name: str) -> None:
    words = ["--user", "65534", "--group", "5", "--cwd", "/tmp", "--env", "A=b c"]
    out = host.hutch("exec", name, *words, "--", "sh", "-c", 'id -u; id -g; pwd; echo "$A"').stdout
    assert out == "65534\n5\n/tmp\nb c\n"


@pytest.mark.parametrize(("command", "code"), [("/no/such/program", 127), ("/etc/hostname", 126)])
def test_programs_that_cannot_run(host: Host, name: str, command: str, code: int) -> None:
    assert host.hutch("exec", name, "--", command, check=False).returncode == code


def test_a_killed_command_is_told_by_its_status(host: Host, name: str) -> None:
    assert host.hutch("exec", name, "--", "sh", "-c", "kill -9 $$", check=False).returncode == 137


def test_a_stopped_instance_is_named(host: Host, guest: Guest) -> None:
    name = guest(start=False)
    done = host.hutch("exec", name, "true", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Instance is not running")


def test_a_signal_is_passed_on(host: Host, name: str) -> None:
    script = "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    with start(host, "exec", name, "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"got it\n"
        assert process.wait(10) == 5


def peak(pid: int) -> int:
    """The most memory that a process has had, in KiB; 0 when it has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    return 0


def test_much_goes_through_both_ways_unharmed_and_memory_stays_flat(host: Host, name: str) -> None:
    size = 128 << 20
    block = os.urandom(1 << 20)
    with start(host, "exec", name, "--", "cat") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, sent, received = process.stdin, hashlib.sha256(), hashlib.sha256()

        def feed() -> None:
            for _ in range(size >> 20):
                stdin.write(block)
                sent.update(block)
            stdin.close()

        from threading import Thread

        feeder = Thread(target=feed)
        feeder.start()
        most = 0
        while chunk := process.stdout.read(1 << 16):
            received.update(chunk)
            # Of its memory alone: what wait4 tells includes that of the process that it was started from.
            most = max(most, peak(process.pid))
        feeder.join()
        assert process.wait(10) == 0
    assert sent.digest() == received.digest()
    assert 0 < most < 100 << 10


def test_a_slow_reader_loses_nothing(host: Host, name: str) -> None:
    script = "i=0; while [ $i -lt 200000 ]; do echo $i; i=$((i+1)); done"
    with start(host, "exec", name, "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        time.sleep(1)
        lines = process.stdout.read().split()
        assert process.wait(10) == 0
    assert lines == [b"%d" % number for number in range(200000)]


def test_a_reader_that_leaves_ends_the_command(host: Host, name: str) -> None:
    done = subprocess.run(
        f"{HUTCH} exec {name} -- sh -c 'while echo y; do :; done' | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, **env(host)},
        timeout=20,
    )
    assert (done.stdout, done.stderr) == ("y\n", "")


def test_a_terminal_has_a_size_that_follows_ours(host: Host, name: str) -> None:
    with Terminal("exec", name, "sh", env=env(host), columns=91, lines=33) as terminal:
        terminal.expect("# ")
        terminal.keys("stty size; echo $TERM\n")
        terminal.expect("33 91")
        terminal.expect("xterm")
        terminal.resize(120, 40)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.keys("sleep 0.3; stty size\n")
        terminal.expect("40 120")
        terminal.keys("exit 9\n")
        assert terminal.end() == 9


def test_keys_reach_the_guest_raw(host: Host, name: str) -> None:
    with Terminal("exec", name, "sh", env=env(host)) as terminal:
        terminal.expect("# ")
        terminal.keys("sleep 100\n")
        time.sleep(0.5)
        terminal.keys("\x03")
        terminal.expect("# ")
        terminal.keys("echo still $((1+1))\n")
        terminal.expect("still 2")
        terminal.expect("# ")
        terminal.keys("\x04")
        assert terminal.end() == 0


def test_a_terminal_can_be_forced_and_refused(host: Host, name: str) -> None:
    assert host.hutch("exec", name, "-t", "--", "sh", "-c", "test -t 1 && echo tty", input="").stdout == "tty\n"
    with Terminal("exec", name, "-T", "--", "sh", "-c", "test -t 1 || echo none", env=env(host)) as terminal:
        terminal.expect("none")
        assert terminal.end() == 0
    assert "contradict" in host.hutch("exec", name, "-t", "-T", "true", check=False).stderr


def test_shell_logs_in(host: Host, name: str) -> None:
    assert host.hutch("shell", name, input="echo $HOME; exit 3\n", check=False).returncode == 3
    with Terminal("shell", name, env=env(host)) as terminal:
        terminal.expect(f"root@{name}:~# ")
        terminal.keys("exit 4\n")
        assert terminal.end() == 4


def test_console_shows_a_login_and_is_left_with_ctrl_a_q(host: Host, name: str) -> None:
    with Terminal("console", name, env=env(host)) as terminal:
        terminal.expect("To detach from the console, press: <ctrl>+a q")
        expect_login(terminal)
        terminal.keys("\x01q")
        assert terminal.end() == 0
    assert "login: " in host.hutch("console", name, "--show-log").stdout


def test_console_ends_with_the_guest(host: Host, name: str) -> None:
    with Terminal("console", name, env=env(host)) as terminal:
        terminal.expect("To detach")
        host.hutch("stop", "--force", name)
        assert terminal.end() == 0


def test_start_with_console(host: Host, guest: Guest) -> None:
    name = guest(start=False)
    with Terminal("start", name, "--console", env=env(host)) as terminal:
        terminal.expect("To detach")
        expect_login(terminal)
        terminal.keys("\x01q")
        assert terminal.end() == 0


def test_the_terminal_is_left_as_it_was(host: Host, name: str) -> None:
    import termios

    with Terminal("exec", name, "true", env=env(host)) as terminal:
        before = termios.tcgetattr(terminal.master)
        assert terminal.end() == 0
        assert termios.tcgetattr(terminal.master) == before


@pytest.mark.slow
def test_input_is_taken_after_a_long_silence(host: Host, name: str) -> None:
    """Longer than the daemon waits for an answer to its pings."""
    with start(host, "exec", name, "--", "sh", "-c", "cat; sleep 1") as process:
        time.sleep(26)
        assert process.communicate(b"late", timeout=10) == (b"late", b"")
        assert process.returncode == 0


def test_many_at_once(host: Host, name: str) -> None:
    running = [start(host, "exec", name, "--", "sh", "-c", f"cat; exit {number}") for number in range(16)]
    outcomes = [process.communicate(b"%d" % number, timeout=60)[0] for number, process in enumerate(running)]
    assert outcomes == [b"%d" % number for number in range(16)]
    assert [process.returncode for process in running] == list(range(16))
    wait_until(lambda: all(process.poll() is not None for process in running))
