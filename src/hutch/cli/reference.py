"""Writes the reference of the command line: `python -m hutch.cli.reference > docs/cli.md`."""

from collections.abc import Iterator

from hutch.cli.command import Argument, Command, dedented
from hutch.cli.tree import commands

HEAD = """\
# The command line

Made from the declarations of the commands by `python -m hutch.cli.reference`; do not edit.

Every command takes `--dir DIR` (the daemon's directory; default `$HUTCH_DIR`, then `/var/lib/hutch`), `--project
PROJECT` and `-q`/`--quiet`, before or behind its name, and `--help`. Errors are one line on stderr. The exit status is
1 for a failure, 2 for a mistake in the command line, and that of the command for `exec` and `shell`.
"""


def markdown() -> str:
    return "\n".join([HEAD, *(line for path, command in commands() for line in _section(path, command))])


def _section(path: tuple[str, ...], command: Command) -> Iterator[str]:
    words = " ".join(["hutch", *path])
    yield f"## {words}\n"
    yield dedented(command.help) + "\n"
    yield f"    {' '.join([words, *map(_usage, command.arguments)])}\n"
    yield from (f"- `{_named(argument)}`: {argument.settings.get('help', '')}" for argument in command.arguments)
    yield "\nFor example:\n" if command.arguments else "For example:\n"
    yield from (f"    {line.strip()}" for line in command.example.strip().splitlines())
    yield ""


def _value(argument: Argument) -> str:
    if argument.settings.get("action", "").startswith("store_"):
        return ""
    choices = argument.settings.get("choices")
    name = argument.settings.get("metavar") or ("|".join(choices) if choices else argument.flags[0].strip("-").upper())
    return str(name)


def _named(argument: Argument) -> str:
    if not argument.flags[0].startswith("-"):
        return _value(argument)
    return f"{', '.join(argument.flags)} {_value(argument)}".rstrip()


def _usage(argument: Argument) -> str:
    name = _value(argument)
    if argument.flags[0].startswith("-"):
        return f"[{argument.flags[0]} {name}".rstrip() + "]"
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ...", "A...": f"{name} ..."}.get(
        argument.settings.get("nargs", ""), name
    )


if __name__ == "__main__":
    print(markdown())
