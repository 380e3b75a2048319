"""What the builder makes of the output of its tools."""

import pytest

from hutch.errors import Invalid, ToolFailed
from hutch.imagebuild import bootstrap


def failed(*lines: str) -> ToolFailed:
    return ToolFailed(["mmdebstrap"], 25, "\n".join(lines))


def test_a_recipe_command_that_fails_is_named_with_its_last_words() -> None:
    error = failed(
        "hutch: recipe command 1",
        "hutch: recipe command 2",
        "ls: cannot access 'x'",
        "E: setup failed",
        "I: removing tempdir",
    )

    with pytest.raises(Invalid, match=r"^recipe command 2 failed: ls: cannot access 'x'$"):
        bootstrap.explain(error)


def test_a_silent_recipe_command_is_named_too() -> None:
    with pytest.raises(Invalid, match=r"^recipe command 1 failed: it printed nothing$"):
        bootstrap.explain(failed("hutch: recipe command 1", "E: setup failed"))


def test_a_failure_before_or_after_the_commands_is_not_theirs() -> None:
    bootstrap.explain(failed("Setting up base-files", "E: dpkg failed"))
    bootstrap.explain(failed("hutch: recipe command 1", bootstrap.COMMANDS_DONE, "E: no space left on device"))


def test_progress_is_told_in_tenths_and_by_command() -> None:
    told: list[str] = []
    watcher = bootstrap.Watcher(10, told.append)

    for number in range(10):
        watcher(f"Unpacking package{number} ...")
    watcher("hutch: recipe command 3")

    assert told == [
        *(f"Installing 10 packages: {percent}%" for percent in (10, 20, 30, 40, 50)),
        "Running recipe command 3",
    ]
