"""The entry of `hutch`: finds the command that was typed, loads only that, and turns errors into one line."""

import os
import sys

TYPE_CHECKING = False  # typing itself would be loaded by every `hutch --help`
if TYPE_CHECKING:
    from hutch.cli.command import Command, Options
    from hutch.cli.session import Session

DEFAULT_DIRECTORY = "/var/lib/hutch"
Settings = dict[str, str | bool]

INTERRUPTED = 130
USAGE = 2


def main(argv: list[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; what is still buffered must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13


def _run(words: list[str]) -> int:
    from hutch.errors import HutchError

    settings, words = leading(words)
    if not words or words[0] in ("-h", "--help", "help"):
        return _help(words)
    if words[0] == "--version":
        words = ["version", "--client"]
    if words[0] == "__complete":
        return _complete(settings, words[1:])
    _load_http()
    from hutch.cli import command

    found, path, rest = command.find(words)
    if isinstance(found, command.Group):
        from hutch.cli.groups import answer

        return answer(found, path, rest)
    options = found.parse(" ".join(["hutch", *path]), rest)
    settings |= {key: value for key, value in vars(options).items() if key.startswith("global_")}
    try:
        session = _session(settings)
        _direct(session, found, options, str(settings.get("global_remote") or ""))
        return found(session, options) or 0
    except HutchError as error:
        sys.stdout.flush()
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"Error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return 1


def _load_http() -> None:
    """http.client without ssl, which alone takes an eighth of a command's time; HTTPS (client/remotes.py) loads it itself."""
    if "http.client" not in sys.modules and "ssl" not in sys.modules:
        sys.modules["ssl"] = None  # type: ignore[assignment] # the documented way to make an import fail
        try:
            import http.client  # noqa: F401
        finally:
            del sys.modules["ssl"]


def _session(settings: Settings) -> "Session":
    from hutch.cli.session import Session

    return Session(
        str(settings.get("global_dir") or os.environ.get("HUTCH_DIR") or DEFAULT_DIRECTORY),
        str(settings.get("global_project") or os.environ.get("HUTCH_PROJECT") or ""),
        quiet=bool(settings.get("global_quiet")),
    )


def _direct(session: "Session", found: "Command", options: "Options", wanted: str) -> None:
    """Connect to another server when one is named; without any remote the modules for it are not even loaded."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    folder = os.environ.get("HUTCH_CONF") or f"{home}/hutch"
    if found.is_local or not (wanted or os.environ.get("HUTCH_REMOTE") or os.path.exists(f"{folder}/config.json")):  # noqa: PTH110
        return
    from hutch.cli.addressing import direct
    from hutch.client.remotes import Remotes

    direct(session, found, options, Remotes(), wanted)


def _complete(settings: Settings, words: list[str]) -> int:
    from hutch.cli.names import offer

    offer(_session(settings).client, words[0] if words else "")
    return 0


def leading(words: list[str]) -> tuple[Settings, list[str]]:
    """The global options before the command, and the rest."""
    found: Settings = {}
    words = list(words)
    while words and words[0].startswith("-"):
        flag, equals, value = words[0].partition("=")
        if flag in ("-q", "--quiet"):
            found["global_quiet"] = True
        elif flag in ("--dir", "--project", "--remote") and (equals or len(words) > 1):
            found[f"global_{flag[2:]}"] = value if equals else words.pop(1)
        else:
            break
        words.pop(0)
    return found, words


def _help(words: list[str]) -> int:
    if words and words[0] == "help" and len(words) > 1:
        return main([*words[1:], "--help"])
    from hutch.cli.overview import overview

    print(overview())
    return 0 if words else USAGE


if __name__ == "__main__":
    sys.exit(main())
