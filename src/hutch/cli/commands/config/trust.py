"""Say which clients may use the server from elsewhere, and what for."""

from pathlib import Path

from hutch import errors
from hutch.cli import columns, settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import Document, url
from hutch.client.remotes import encode_token

FINGERPRINT = arg(
    "fingerprint", metavar="FINGERPRINT", help="the certificate's, or how it begins", complete="certificate"
)
NEVER = "0001-01-01"
EDITABLE = ("name", "type", "restricted", "projects", "certificate")
TERMS = (
    arg("--type", choices=("client", "metrics"), default="client", help="metrics: good for reading the metrics alone"),
    arg("--restricted", action="store_true", help="let the client into the projects of --projects only"),
    arg("--projects", metavar="PROJECTS", help="projects that the client is restricted to, separated by commas"),
)


def _terms(options: Options) -> Document:
    """What the certificate is to be good for; naming projects is a restriction."""
    projects = [name for name in (options.projects or "").split(",") if name]
    return {"type": options.type, "restricted": options.restricted or bool(projects), "projects": projects}


@command(
    arg(
        "certificate", metavar="CERTIFICATE", nargs="?", help="a file with the client's certificate, instead of a token"
    ),
    arg("--name", help="the client's name"),
    *TERMS,
    example="""
        hutch config trust add --name laptop
        hutch config trust add laptop.crt --name laptop --projects web,mail
        hutch config trust add prometheus.crt --type metrics
    """,
)
def add(session: Session, options: Options) -> None:
    """Trust a client: print a token for it, or take its certificate."""
    wanted: Document = {"name": options.name or "", **_terms(options)}
    if not options.certificate:
        _issue(session, wanted)
        return
    try:
        wanted["certificate"] = Path(options.certificate).read_text()
    except OSError as error:
        raise errors.Invalid(f"cannot read {options.certificate}: {error.strerror}") from error
    session.client.request("POST", "/1.0/certificates", wanted)


@command(
    arg("name", metavar="NAME", help="the client's name"),
    *TERMS,
    example="hutch config trust add-token laptop --projects web",
)
def add_token(session: Session, options: Options) -> None:
    """Print a token by which one client makes itself trusted."""
    _issue(session, {"name": options.name, **_terms(options)})


def _issue(session: Session, wanted: Document) -> None:
    if not wanted["name"]:
        raise errors.Invalid("a token needs the client's name: --name CLIENT")
    reply = session.client.request("POST", "/1.0/certificates", wanted | {"token": True})
    session.say(f"Token for the client {wanted['name']}, good once:")
    print(encode_token(reply.metadata["metadata"]))


@command(table.format_argument(), example="hutch config trust list")
def list_(session: Session, options: Options) -> None:
    """List the clients that are trusted."""
    found = sorted(session.client.get("/1.0/certificates", recursion=1) or [], key=lambda each: str(each["name"]))
    rows = [[each["name"], each["type"], each["fingerprint"][:12], _restriction(each)] for each in found]
    table.show(options.format, ["NAME", "TYPE", "FINGERPRINT", "RESTRICTED TO"], rows, found)


def _restriction(certificate: Document) -> str:
    if not certificate.get("restricted"):
        return ""
    return ", ".join(certificate.get("projects") or []) or "no project"


@command(FINGERPRINT, example="hutch config trust show 1a2b3c4d5e6f")
def show(session: Session, options: Options) -> None:
    """Show a trusted certificate."""
    settings.show(session.client.get(url("certificates", options.fingerprint)))


@command(FINGERPRINT, example="hutch config trust edit 1a2b3c4d5e6f")
def edit(session: Session, options: Options) -> None:
    """Edit what a trusted certificate is good for as YAML."""
    from hutch.cli.editor import edit_document

    edit_document(session, url("certificates", options.fingerprint), EDITABLE, note="A trusted certificate.")


@command(table.format_argument(), example="hutch config trust list-tokens")
def list_tokens(session: Session, options: Options) -> None:
    """List the tokens that are not used yet."""
    found = _tokens(session)
    rows = [
        [
            each["metadata"]["request"]["name"],
            each["metadata"]["request"].get("type") or "client",
            _restriction(each["metadata"]["request"]),
            columns.date(each["created_at"]),
            _expiry(each["metadata"].get("expiresAt") or NEVER),
        ]
        for each in found
    ]
    table.show(options.format, ["NAME", "TYPE", "RESTRICTED TO", "CREATED", "EXPIRES"], rows, found)


def _expiry(moment: str) -> str:
    return "" if moment.startswith(NEVER) else columns.date(moment)


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
    """Those that let clients in; there are others, for images."""
    by_status = session.client.get("/1.0/operations", recursion=1) or {}
    found = [each for group in by_status.values() for each in group if each["class"] == "token" and each["may_cancel"]]
    return [each for each in found if "request" in (each["metadata"] or {})]
