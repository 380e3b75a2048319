"""Every command there is: loads them all, for completion scripts and the reference."""

from collections.abc import Iterator

from hutch.cli.command import ROOT, Command, Group


def commands(group: Group | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Each command with the words that name it, in order."""
    group = group or Group(ROOT)
    for word in group.members():
        member = group.member(word)
        if isinstance(member, Command):
            yield (*path, word), member
        elif member:
            yield from commands(member, (*path, word))


def groups(group: Group | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Group]]:
    """Each group with the words that name it; the first is the program itself."""
    group = group or Group(ROOT)
    yield path, group
    for word in group.members():
        member = group.member(word)
        if isinstance(member, Group):
            yield from groups(member, (*path, word))
