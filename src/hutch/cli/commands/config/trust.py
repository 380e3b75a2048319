"""Say which clients may use the server from elsewhere."""

from pathlib import Path

from hutch import errors
from hutch.cli import columns, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import Document, url
from hutch.client.remotes import encode_token

FINGERPRINT = arg("fingerprint", metavar="FINGERPRINT", help="the certificate's, or how it begins")


@command(
    arg(
        "certificate", metavar="CERTIFICATE", nargs="?", help="a file with the client's certificate, instead of a token"
    ),
    arg("--name", help="the client's name"),
    example="""
        hutch config trust add --name laptop
        hutch config trust add laptop.crt --name laptop
    """,
)
def add(session: Session, options: Options) -> None:
    """Trust a client: print a token for it, or take its certificate."""
    wanted: Document = {"type": "client", "name": options.name or ""}
    if options.certificate:
        try:
            wanted["certificate"] = Path(options.certificate).read_text()
        except OSError as error:
            raise errors.Invalid(f"cannot read {options.certificate}: {error.strerror}") from error
        session.client.request("POST", "/1.0/certificates", wanted)
        return
    if not options.name:
        raise errors.Invalid("a token needs the client's name: --name CLIENT")
    reply = session.client.request("POST", "/1.0/certificates", wanted | {"token": True})
    session.say(f"Token for the client {options.name}, good once:")
    print(encode_token(reply.metadata["metadata"]))


@command(table.format_argument(), example="hutch config trust list")
def list_(session: Session, options: Options) -> None:
    """List the clients that are trusted."""
    found = sorted(session.client.get("/1.0/certificates", recursion=1) or [], key=lambda each: str(each["name"]))
    rows = [[each["name"], each["type"], each["fingerprint"][:12]] for each in found]
    table.show(options.format, ["NAME", "TYPE", "FINGERPRINT"], rows, found)


@command(table.format_argument(), example="hutch config trust list-tokens")
def list_tokens(session: Session, options: Options) -> None:
    """List the tokens that are not used yet."""
    found = _tokens(session)
    rows = [[each["metadata"]["request"]["name"], columns.date(each["created_at"])] for each in found]
    table.show(options.format, ["NAME", "CREATED"], rows, found)


@command(arg("name", metavar="NAME", help="the client's name"), example="hutch config trust revoke-token laptop")
def revoke_token(session: Session, options: Options) -> None:
    """Make a token worthless."""
    for token in _tokens(session):
        if token["metadata"]["request"]["name"] == options.name:
            session.client.request("DELETE", url("operations", token["id"]))
            return
    raise errors.NotFound(f"there is no unused token for {options.name!r}")


@command(FINGERPRINT, example="hutch config trust remove 1a2b3c4d5e6f")
def remove(session: Session, options: Options) -> None:
    """Trust a client no longer."""
    session.client.request("DELETE", url("certificates", options.fingerprint))


def _tokens(session: Session) -> list[Document]:
    by_status = session.client.get("/1.0/operations", recursion=1) or {}
    return [each for group in by_status.values() for each in group if each["class"] == "token" and each["may_cancel"]]
