"""What `hutch GROUP` answers: the list of its commands, or what a mistyped word might have meant."""

import sys
from difflib import get_close_matches
from importlib import import_module

from hutch.cli.command import ROOT, Group


def answer(group: Group, path: list[str], rest: list[str]) -> int:
    """Print the help or the mistake; the exit status."""
    words = " ".join(["hutch", *path])
    if rest and rest[0] not in ("-h", "--help"):
        print(mistake(group, words, rest[0]), file=sys.stderr)
        return 2
    print(subcommands(group, words))
    return 0 if rest else 2


def subcommands(group: Group, words: str) -> str:
    members = group.members()
    width = max(map(len, members), default=0) + 2
    return "\n".join(
        [
            f"Usage: {words} COMMAND ...",
            "",
            purpose(group),
            "",
            "Commands:",
            *(f"  {name:<{width}}{text}" for name, text in members.items()),
            "",
            f"`{words} COMMAND --help` explains a command and shows an example.",
        ]
    )


def purpose(group: Group) -> str:
    if group.module == ROOT:
        return "Full machines in containers."
    return (import_module(group.module).__doc__ or "").strip().partition("\n")[0]


def mistake(group: Group, words: str, word: str) -> str:
    near = get_close_matches(word, group.members(), n=1)
    hint = f"did you mean `{words} {near[0]}`?" if near else f"see: {words} --help"
    return f"Error: {words} has no command {word!r}; {hint}"
