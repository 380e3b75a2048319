"""How commands are declared, found and turned into parsers.

A module of `hutch.cli.commands` is a command when it has `run`, else a group of the commands it declares; a package is
a group whose members are also its modules. Only what was typed is imported: the one-line purposes shown in a list of
commands are read from the first lines of the files.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from hutch.cli.session import Session

Options = argparse.Namespace
Run = Callable[[Session, Options], int | None]

ROOT = "hutch.cli.commands"
ALIASES = {"ls": "list", "rm": "delete", "cp": "copy", "mv": "move", "freeze": "pause", "unfreeze": "resume"}


class Argument:
    """One argument of a command; `complete` says what names the shell may offer for it.

    `elsewhere`: what it names may be on another server than the one that the command is for."""

    def __init__(self, *flags: str, complete: str = "", elsewhere: bool = False, **settings: Any) -> None:
        self.flags, self.complete, self.elsewhere, self.settings = flags, complete, elsewhere, settings


arg = Argument


class Command:
    """A function that runs, the arguments it takes, and an example."""

    def __init__(
        self, run: Run, name: str, help: str, arguments: tuple[Argument, ...], example: str, spans: bool = False
    ) -> None:
        self.run, self.name, self.help, self.arguments, self.example = run, name, help.strip(), arguments, example
        self.spans = spans

    @property
    def is_local(self) -> bool:
        """Whether it works on this client's own settings, not on a server."""
        return self.run.__module__.startswith(f"{ROOT}.remote")

    @property
    def purpose(self) -> str:
        return self.help.partition("\n")[0]

    def __call__(self, session: Session, options: Options) -> int | None:
        return self.run(session, options)

    def parser(self, words: str) -> argparse.ArgumentParser:
        """The parser of this command, called `words`."""
        parser = Parser(prog=words, description=dedented(self.help), epilog=example_text(self.example))
        for argument in self.arguments:
            parser.add_argument(*argument.flags, **argument.settings)
        add_globals(parser)
        return parser

    def parse(self, words: str, rest: list[str]) -> Options:
        """The arguments behind the command's name; options may stand among them, but not in a command to be run."""
        parser = self.parser(words)
        if any(argument.settings.get("nargs") == argparse.PARSER for argument in self.arguments):
            return parser.parse_args(rest)
        return parser.parse_intermixed_args(rest)


def command(*arguments: Argument, example: str, spans: bool = False) -> Callable[[Run], Command]:
    """Declares a function as the command of its name (`list_` is list, `get_property` get-property).

    Its docstring is the help, for the `run` of a module the module's. One that `spans` may be given names of two servers: the
    session's client is then that of the first, and its `target` that of the second.
    """

    def declared(run: Run) -> Command:
        help = run.__doc__ or import_module(run.__module__).__doc__ or ""
        return Command(run, run.__name__.rstrip("_").replace("_", "-"), help, arguments, example, spans)

    return declared


class Group:
    """A command that only has commands below it."""

    def __init__(self, module: str) -> None:
        self.module = module

    @property
    def folder(self) -> Path | None:
        """Where its members lie when it is a package."""
        found = Path(__file__).parent.joinpath("commands", *self.module.removeprefix(ROOT).split(".")[1:])
        return found if found.is_dir() else None

    def declared(self) -> dict[str, Command]:
        """The commands that the module itself declares."""
        if self.module == ROOT:
            return {}
        members = vars(import_module(self.module))
        found = [*members.get("COMMANDS", ()), *members.values()]
        return {member.name: member for member in found if isinstance(member, Command)}

    def modules(self) -> list[str]:
        return sorted(_module_names(self.folder)) if self.folder else []

    def members(self) -> dict[str, str]:
        """Every command below with its purpose."""
        found = {name: member.purpose for name, member in self.declared().items()}
        found |= {name.replace("_", "-"): _first_line(self.folder, name) for name in self.modules() if self.folder}
        return dict(sorted(found.items()))

    def member(self, word: str) -> "Command | Group | None":
        """What a word names here, aliases included."""
        for name in (word, ALIASES.get(word, word)):
            plain = name.replace("-", "_")
            if plain in self.modules():
                return _loaded(f"{self.module}.{plain}")
            if found := self.declared().get(name):
                return found
        return None


def _loaded(module: str) -> Command | Group:
    group = Group(module)
    if group.folder:
        return group
    found = vars(import_module(module)).get("run")
    if isinstance(found, Command):
        found.name = module.rpartition(".")[2].replace("_", "-")
        return found
    return group


def _module_names(folder: Path) -> Iterator[str]:
    for entry in os.scandir(folder):
        name = entry.name.removesuffix(".py")
        if not name.startswith(("_", ".")) and (name != entry.name or entry.is_dir()):
            yield name


def _first_line(folder: Path | None, name: str) -> str:
    assert folder is not None
    path = folder / name / "__init__.py" if (folder / name).is_dir() else folder / f"{name}.py"
    with path.open() as stream:
        return stream.readline().strip().strip('"')


def find(words: list[str]) -> tuple[Command | Group, list[str], list[str]]:
    """Walk down the words: what they name, the words that name it, and those left over."""
    here: Command | Group = Group(ROOT)
    path: list[str] = []
    while isinstance(here, Group) and len(path) < len(words):
        found = here.member(words[len(path)])
        if found is None:
            break
        path.append(words[len(path)])
        here = found
    return here, path, words[len(path) :]


class Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal, found without the modules that argparse would load for it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=terminal_width() - 2, max_help_position=30)


class Parser(argparse.ArgumentParser):
    """Reports mistakes in one line with status 2."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"Error: {message}\n{self.format_usage()}See: {self.prog} --help\n")


def add_globals(parser: argparse.ArgumentParser) -> None:
    """The options that every command takes, before or behind its name."""
    group = parser.add_argument_group("global options")
    add = partial(group.add_argument, default=argparse.SUPPRESS)
    add("--dir", metavar="DIR", dest="global_dir", help="the daemon's directory (default $HUTCH_DIR or /var/lib/hutch)")
    add("--project", metavar="PROJECT", dest="global_project", help="the project to work in")
    add("--remote", metavar="REMOTE", dest="global_remote", help="the server to work on (see `hutch remote list`)")
    add("-q", "--quiet", action="store_true", dest="global_quiet", help="show no progress")


def terminal_width() -> int:
    for descriptor in (1, 2):
        try:
            return max(os.get_terminal_size(descriptor).columns, 40)
        except OSError:
            continue
    return 100


def example_text(example: str) -> str:
    lines = [line.strip() for line in example.strip().splitlines()]
    return "\n".join([f"example{'s' if len(lines) > 1 else ''}:", *(f"  {line}" for line in lines)])


def dedented(text: str) -> str:
    first, _, rest = text.partition("\n")
    return "\n".join([first, *(line.removeprefix("    ") for line in rest.splitlines())])
