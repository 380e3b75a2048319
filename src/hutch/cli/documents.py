"""The commands that things with a configuration and a description share: show, get, set, unset, edit."""

from hutch.cli import settings
from hutch.cli.session import Session
from hutch.client.connection import Document


class Thing:
    """One of them: what it is called, where it is, and which members of it may be changed."""

    def __init__(self, session: Session, what: str, path: str, members: tuple[str, ...]) -> None:
        self.session, self.what, self.path, self.members = session, what, path, members

    def read(self) -> Document:
        found: Document = self.session.client.get(self.path)
        return found

    def show(self) -> None:
        settings.show(self.read())

    def get(self, key: str) -> None:
        settings.get_key(self.session, self.path, key)

    def set(self, words: list[str]) -> None:
        settings.set_keys(self.session, self.path, self.members, words)

    def unset(self, key: str) -> None:
        settings.unset_key(self.session, self.path, self.members, key, self.what)

    def edit(self) -> None:
        from hutch.cli.editor import edit_document

        edit_document(self.session, self.path, self.members, note=f"{self.what[:1].upper()}{self.what[1:]}.")

    def delete(self) -> None:
        self.session.finish(self.session.client.request("DELETE", self.path))
        self.session.say(f"{self.what[:1].upper()}{self.what[1:]} deleted")
