"""Says where a daemon gets an image that a command names: from its own store, or from another server."""

from hutch import errors
from hutch.cli.imagenames import path
from hutch.cli.session import Session
from hutch.client.connection import Client, Document, url


def elsewhere(session: Session, word: str) -> Document | None:
    """The source of an image on another server than the command is for; None when it is the same."""
    name = session.elsewhere
    if not name or name == session.remote:
        return None
    from hutch.client.remotes import LOCAL, Remotes

    known = Remotes()
    if name == LOCAL:
        raise errors.Invalid(
            f"the image is on this host, where {session.remote} cannot fetch it: `hutch image copy` it first"
        )
    if known.has_only_images(name):
        return known.image_source(name) | {"alias": word}
    other = session.beside()
    other.connect(name, known.get(name), known.project_of(name))
    image = other.client.get(path(other, word))
    found = known.image_source(name) | {"fingerprint": image["fingerprint"], "alias": word, "project": other.project}
    if not image.get("public"):
        reply = other.client.request("POST", url("images", image["fingerprint"], "secret"))
        found["secret"] = reply.metadata["metadata"]["secret"]
    return found


def listed(session: Session, query: dict[str, str | int]) -> list[Document]:
    """The images of the session's server, or of one that only has images."""
    if not session.elsewhere:
        return list(session.client.get("/1.0/images", **query) or [])
    from hutch.client import remotes, streams

    found = remotes.Remotes().image_source(session.elsewhere)
    if found["protocol"] == "simplestreams":
        return streams.images(found["server"], found["certificate"])
    client = Client.to(remotes.Remotes().stranger(session.elsewhere))
    return list(client.get("/1.0/images", recursion=1) or [])
