"""`REMOTE:NAME`: which server a command is for, by the names it was given, `--remote`, or the default remote."""

import argparse

from hutch import errors
from hutch.cli.command import Command, Options
from hutch.cli.session import Session
from hutch.client.remotes import LOCAL, Remotes


def direct(session: Session, found: Command, options: Options, remotes: Remotes, wanted: str) -> None:
    """Take the remotes off the names in `options` and connect the session to the one they name."""
    named = {wanted} - {""}
    for argument in found.arguments:
        if argument.flags[0].startswith("-") or argument.settings.get("nargs") == argparse.PARSER:
            continue
        dest = argument.flags[0]
        value = getattr(options, dest, None)
        if isinstance(value, str):
            remote, plain = split(remotes, value)
            if argument.elsewhere:
                setattr(options, dest, plain)
                session.elsewhere = remote
                continue
            if not found.spans:
                setattr(options, dest, plain)
            named.add(remote)
        elif isinstance(value, list):
            pairs = [split(remotes, each) if isinstance(each, str) else ("", each) for each in value]
            setattr(options, dest, [plain for _, plain in pairs if plain != ""])
            of_images = {remote for remote, _ in pairs if argument.elsewhere and remotes.has_only_images(remote)}
            session.elsewhere = next(iter(of_images), session.elsewhere)
            named |= {remote for remote, _ in pairs} - of_images
    named.discard("")
    if found.spans:
        _span(session, found, options, remotes, wanted or remotes.default)
        return
    if len(named) > 1:
        raise errors.Invalid(
            f"the names are of different servers ({', '.join(sorted(named))}): this command works on one at a time"
        )
    name = named.pop() if named else remotes.default
    session.connect(name, remotes.get(name), remotes.project_of(name))


def _span(session: Session, found: Command, options: Options, remotes: Remotes, usual: str) -> None:
    """The first name says where the session's client is, the second where its target."""
    names = []
    for argument in [each for each in found.arguments if not each.flags[0].startswith("-")][:2]:
        value = getattr(options, argument.flags[0]) or ""
        if isinstance(value, list):
            continue
        remote, plain = split(remotes, value)
        if argument.settings.get("metavar") == "REMOTE" and value in remotes.names():
            remote, plain = value, ""
        setattr(options, argument.flags[0], plain)
        names.append(remote or usual)
    names += [usual] * (2 - len(names))
    if names[1] != names[0]:
        session.target = session.beside()
        session.target.connect(names[1], remotes.get(names[1]), remotes.project_of(names[1]))
    session.connect(names[0], remotes.get(names[0]), remotes.project_of(names[0]))


def split(remotes: Remotes, value: str) -> tuple[str, str]:
    """REMOTE and NAME of `REMOTE:NAME`; REMOTE is empty when what stands before the colon is no remote's name."""
    remote, colon, plain = value.partition(":")
    if colon and (remote == LOCAL or remote in remotes.addresses):
        return remote, plain
    return "", value
