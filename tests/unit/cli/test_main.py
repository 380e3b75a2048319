import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from hutch.cli import command, completion, main, reference
from hutch.cli.tree import commands, groups
from tests.unit.cli.conftest import Hutch
from tests.unit.cli.fake import Failure, Fake, Work

COMMANDS = dict(commands())
ROOT = Path(__file__).parents[3]


def test_help_lists_every_command_with_its_purpose(hutch: Hutch) -> None:
    outcome = hutch("--help")
    assert outcome.code == 0
    words = {line.split()[0] for line in outcome.out.splitlines() if line.startswith("  ")}
    assert words == {path[0] for path in COMMANDS}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...], hutch: Hutch) -> None:
    outcome = hutch(*path, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: hutch {' '.join(path)} ")
    assert "\nexample" in outcome.out
    purpose = COMMANDS[path].purpose
    assert purpose.endswith((".", ":"))
    assert all(
        argument.settings.get("help") for argument in COMMANDS[path].arguments if "choices" not in argument.settings
    )


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_example_is_a_command_line_that_parses(path: tuple[str, ...]) -> None:
    import shlex

    for line in COMMANDS[path].example.strip().splitlines():
        words = shlex.split(line.replace("<(", "").replace(")", ""), comments=True)
        words = words[words.index("hutch") + 1 :]
        for mark in ("<", ">", "|"):
            words = words[: words.index(mark)] if mark in words else words
        found, named, rest = command.find(words)
        assert isinstance(found, command.Command), line
        assert tuple(named) == path
        found.parse("hutch", rest)


@pytest.mark.parametrize("path", [path for path, _ in groups() if path], ids=" ".join)
def test_every_group_lists_its_commands(path: tuple[str, ...], hutch: Hutch) -> None:
    outcome = hutch(*path, "--help")
    assert outcome.code == 0
    below = {found[len(path)] for found in COMMANDS if found[: len(path)] == path}
    assert below <= set(outcome.out.split())


def test_a_mistyped_command_is_told_with_a_guess(hutch: Hutch) -> None:
    outcome = hutch("lsit")
    assert (outcome.code, outcome.err) == (2, "Error: hutch has no command 'lsit'; did you mean `hutch list`?\n")


def test_a_missing_argument_is_a_mistake_of_usage(hutch: Hutch) -> None:
    outcome = hutch("rename", "c1")
    assert outcome.code == 2
    assert outcome.err.startswith("Error: the following arguments are required: NEW")


def test_lxds_short_names_work(daemon: Fake, hutch: Hutch) -> None:
    daemon.answers["GET", "/1.0/instances"] = []
    daemon.answers["GET", "/1.0/images"] = []
    assert hutch("ls").code == 0
    assert hutch("image", "ls").code == 0


def test_no_daemon_says_which_socket_and_how_to_start_one(hutch: Hutch, tmp_path: Path) -> None:
    outcome = hutch("--dir", str(tmp_path), "list")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert str(tmp_path / "unix.socket") in outcome.err
    assert "systemctl start hutchd" in outcome.err
    assert f"hutchd --dir {tmp_path}" in outcome.err


def test_a_socket_that_nobody_serves_any_more(hutch: Hutch, tmp_path: Path) -> None:
    import socket

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "unix.socket"))
    listener.close()
    assert "no daemon answers" in hutch("--dir", str(tmp_path), "list").err


def test_a_directory_longer_than_a_socket_address_can_be(hutch: Hutch, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    assert "no daemon answers" in hutch("--dir", str(deep), "list").err


def test_the_daemons_sentence_is_shown_as_it_is(daemon: Fake, hutch: Hutch) -> None:
    daemon.answers["GET", "/1.0/instances/none"] = Failure(404, "Instance not found")
    assert hutch("info", "none").err == "Error: Instance not found: none\n"


def test_a_failed_operation_is_a_failed_command(daemon: Fake, hutch: Hutch) -> None:
    daemon.answers["PUT", "/1.0/instances/c1/state"] = Work(status_code=400, err="The instance is already stopped")
    outcome = hutch("stop", "c1")
    assert (outcome.code, outcome.err) == (1, "Error: The instance is already stopped\n")


def test_an_answer_that_is_no_json(daemon: Fake, hutch: Hutch) -> None:
    from aiohttp import web

    daemon.answers["GET", "/1.0/instances"] = lambda _: web.Response(text="<html>", status=502)
    assert hutch("list").err == "Error: <html>\n"


def test_the_project_is_sent_with_every_request(daemon: Fake, hutch: Hutch) -> None:
    daemon.answers["GET", "/1.0/instances"] = []
    hutch("--project", "dev", "list")
    hutch("list", "--project=dev")
    assert [asked.query["project"] for asked in daemon.asked] == ["dev", "dev"]


def test_global_options_before_the_command() -> None:
    assert main.leading(["--dir", "/d", "-q", "--project=p", "list", "-c", "n"]) == (
        {"global_dir": "/d", "global_quiet": True, "global_project": "p"},
        ["list", "-c", "n"],
    )


def test_the_command_line_loads_only_what_it_needs() -> None:
    code = """
import sys
from hutch.cli import command
command.find(["list"])
print(sorted({"aiohttp", "asyncio", "yaml", "msgspec", "dataclasses", "inspect", "shutil", "subprocess"} & set(sys.modules)))
print(len([name for name in sys.modules if name.startswith("hutch.cli.commands.")]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "1"]


def test_the_reader_of_the_output_may_leave_early(daemon: Fake) -> None:
    daemon.answers["GET", "/1.0/big"] = ["x" * 100 for _ in range(20000)]
    done = subprocess.run(
        f"{sys.executable} -m hutch.cli.main query /1.0/big | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env=os.environ | {"HUTCH_DIR": str(daemon.socket.parent)},
    )
    assert done.stderr == ""


HEAVY = {"aiohttp", "asyncio", "msgspec", "yaml", "cryptography", "OpenSSL", "typing", "dataclasses"}


@pytest.mark.parametrize(
    ("words", "spared"), [(["--help"], HEAVY | {"http.client", "json"}), (["list"], HEAVY - {"typing"} | {"ssl"})]
)
def test_starting_loads_only_what_is_needed(daemon: Fake, words: list[str], spared: set[str]) -> None:
    """How long it takes is measured by `make bench`; what would make it long is not there."""
    daemon.answers["GET", "/1.0/instances"] = []
    code = (
        "import sys; before = set(sys.modules); from hutch.cli.main import main; main(sys.argv[1:]);"
        "print(*set(sys.modules) - before, file=sys.stderr)"
    )
    env = os.environ | {"HUTCH_DIR": str(daemon.socket.parent)}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *words], capture_output=True, text=True, env=env, check=True
    )
    assert spared.isdisjoint(done.stderr.split())


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs/cli.md").read_text() == reference.markdown() + "\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_know_every_command(shell: str) -> None:
    script = completion.script(shell)
    assert "@" not in script.replace("$@", "").replace("{@}", "").replace("[@]", "").replace("(@)", "")
    for path in COMMANDS:
        assert f"'{' '.join(path)}'" in script


BASH = """
hutch() { PYTHON -m hutch.cli.main "$@"; }
compopt() { COMPREPLY=(FILES); }
source <(hutch completion bash)
COMP_WORDS=(LINE) ; [[ "LINE" == *" " ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_hutch
printf '%s\\n' "${COMPREPLY[@]}"
"""

# compadd is a builtin that works only while zsh completes: this one matches as it would.
ZSH = """
hutch() { PYTHON -m hutch.cli.main "$@"; }
compdef() { :; }
_files() { print FILES; }
compadd() { shift; print -l -- ${(M)@:#${words[CURRENT]}*}; }
source <(hutch completion zsh)
words=(LINE) ; [[ "LINE" == *" " ]] && words+=('')
CURRENT=${#words}
_hutch
"""

FISH = """
function hutch; PYTHON -m hutch.cli.main $argv; end
function __fish_complete_path; echo FILES; end
hutch completion fish | source
complete -C 'LINE'
"""


def complete(shell: str, line: str, daemon: Fake) -> list[str]:
    """What the shell offers at the end of a line."""
    if which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    program = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell].replace("PYTHON", sys.executable).replace("LINE", line)
    env = os.environ | {"HUTCH_DIR": str(daemon.socket.parent)}
    done = subprocess.run([shell, "-c", program], capture_output=True, text=True, env=env, check=False)
    assert done.stderr == ""
    return sorted(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_and_names(daemon: Fake, shell: str) -> None:
    daemon.answers["GET", "/1.0/instances"] = ["/1.0/instances/web", "/1.0/instances/db"]
    daemon.answers["GET", "/1.0/images/aliases"] = ["/1.0/images/aliases/debian%2F12"]
    assert complete(shell, "hutch sna", daemon) == ["snapshot"]
    assert complete(shell, "hutch config dev", daemon) == ["device"]
    assert complete(shell, "hutch config device ove", daemon) == ["override"]
    assert complete(shell, "hutch stop ", daemon) == ["db", "web"]
    assert complete(shell, "hutch stop --timeout 30 web d", daemon) == ["db"]
    assert complete(shell, "hutch stop --f", daemon) == ["--force"]
    assert complete(shell, "hutch list --format y", daemon) == ["yaml"]
    assert complete(shell, "hutch launch ", daemon) == ["debian/12"]
    assert complete(shell, "hutch image import ", daemon) == ["FILES"]
    assert complete(shell, "hutch rename web ", daemon) == []
    assert complete(shell, "hutch completion z", daemon) == ["zsh"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_config_keys(daemon: Fake, shell: str) -> None:
    daemon.answers["GET", "/1.0/instances"] = ["/1.0/instances/web"]
    daemon.answers["GET", "/1.0/metadata/configuration"] = {
        "configs": {
            "instance": {"limits": {"keys": [{"limits.cpu": {}}, {"limits.memory": {}}, {"user.*": {}}]}},
            "server": {"core": {"keys": [{"core.https_address": {}}]}},
        }
    }
    assert complete(shell, "hutch config set ", daemon) == ["core.https_address", "web"]
    assert complete(shell, "hutch config set web limits.m", daemon) == ["limits.memory"]
    assert complete(shell, "hutch config unset web ", daemon) == ["limits.cpu", "limits.memory"]


def test_completion_offers_nothing_when_there_is_no_daemon(hutch: Hutch, tmp_path: Path) -> None:
    assert hutch("--dir", str(tmp_path), "__complete", "instance") == (0, "", "")
