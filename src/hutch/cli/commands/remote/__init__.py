"""Work with servers on other hosts."""

import getpass

from hutch import errors
from hutch.cli import table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client import remotes
from hutch.client.connection import Client
from hutch.client.remotes import LOCAL, Remote, Remotes

NAME = arg("remote", metavar="NAME", help="the remote")


@command(
    NAME,
    arg("address", metavar="ADDRESS|TOKEN", help="https://HOST:8443, HOST, or a token from `config trust add`"),
    arg("--accept-certificate", action="store_true", help="trust the server's certificate without asking"),
    arg("--token", help="the token that the server's owner made"),
    arg("--password", help="the server's trust password"),
    arg("--protocol", choices=remotes.PROTOCOLS, default="lxd", help="simplestreams for a server that only has images"),
    arg("--public", action="store_true", help="take only public images from it, as somebody without trust"),
    example="""
        hutch remote add images https://images.linuxcontainers.org --protocol simplestreams
        hutch remote add host2 eyJjbGllbnRfbmFtZSI6...
        hutch remote add host2 https://10.0.0.2:8443 --token eyJjbGllbnRfbmFtZSI6...
    """,
)
def add(session: Session, options: Options) -> None:
    """Add a server, and make it trust this client."""
    known = Remotes()
    known.check_new(options.remote)
    if options.public or options.protocol != "lxd":
        _add_images(session, options, known)
        return
    token = options.token or (options.address if remotes.decode_token(options.address) else "")
    address, certificate = _found(session, options, token)
    remote = Remote(options.remote, address, certificate, known.identity())
    client = Client.to(remote)
    _enrol(session, client, token, options.password)
    project = _project(session, client, session.given_project)
    known.add(options.remote, address, certificate)
    if project != "default":
        known.work_in(options.remote, project)
    session.say(f"Remote {options.remote} added: {address}")


def _add_images(session: Session, options: Options, known: Remotes) -> None:
    """A server that only has images. One in another format than ours is looked at by the daemon, when an image is wanted:
    it must have a certificate of an authority, unless the one that it shows now is accepted."""
    address, certificate = options.address.rstrip("/"), ""
    if options.protocol == "lxd":
        address, certificate = _found(session, options, "")
    elif not address.startswith("https://"):
        raise errors.Invalid(f"invalid address {address!r}: https://HOST[:PORT][/PATH] is expected")
    elif options.accept_certificate:
        certificate = remotes.shown_certificate(
            remotes.full_address(address.removeprefix("https://").partition("/")[0], 443)
        )
    known.add_images(options.remote, address, options.protocol, certificate)
    session.say(f"Remote {options.remote} added: {address}")


def _found(session: Session, options: Options, token: str) -> tuple[str, str]:
    """The server's address and certificate. A token tells both; a stranger's certificate is shown and asked about."""
    members = remotes.decode_token(token) or {}
    if token and not members:
        raise errors.Invalid("this is no trust token: `hutch config trust add --name CLIENT` on the server prints one")
    wanted = [] if options.address == token else [options.address]
    failures = []
    for each in wanted or members.get("addresses") or []:
        address = remotes.full_address(each)
        try:
            certificate = remotes.shown_certificate(address)
        except errors.Unavailable as error:
            failures.append(str(error))
            continue
        shown = remotes.fingerprint(certificate)
        if members and shown != members.get("fingerprint"):
            raise errors.Forbidden(f"the server at {address} shows another certificate than the token's: {shown}")
        if not members and not options.accept_certificate:
            session.say(f"Certificate fingerprint: {shown}")
            if not session.confirm("Is this the server?"):
                raise errors.Cancelled("the server was not trusted")
        return address, certificate
    raise errors.Unavailable("; ".join(failures) or "the token names no address: give the server's address as well")


def _enrol(session: Session, client: Client, token: str, password: str | None) -> None:
    if client.get("/1.0")["auth"] == "trusted":
        return
    if not token and password is None:
        password = getpass.getpass("Trust token or password: ") if session.is_interactive else ""
    client.request("POST", "/1.0/certificates", {"type": "client", "password": token or password or ""})
    if client.get("/1.0")["auth"] != "trusted":
        raise errors.Forbidden("the server does not trust this client")


def _project(session: Session, client: Client, given: str) -> str:
    """The project to work in there: the one of --project, or for a client that is restricted the only one it sees."""
    seen = [str(each["name"]) for each in client.get("/1.0/projects", recursion=1) or []]
    if given:
        if given not in seen:
            raise errors.NotFound(f"the server shows this client no project {given!r}: it has {', '.join(seen)}")
        return given
    return "default" if "default" in seen or not seen else seen[0]


@command(
    NAME,
    arg("address", metavar="ADDRESS", help="https://HOST:8443, or HOST"),
    arg("--accept-certificate", action="store_true", help="trust the server's certificate without asking"),
    example="hutch remote set-url host2 https://10.0.0.3:8443",
)
def set_url(session: Session, options: Options) -> None:
    """Say that a server is at another address."""
    known = Remotes()
    known.get(options.remote)
    address, certificate = _found(session, options, "")
    known.move(options.remote, address, certificate)


@command(example="hutch remote get-client-certificate > laptop.crt")
def get_client_certificate(session: Session, options: Options) -> None:
    """Print this client's certificate, for a server's owner to add with `config trust add`."""
    certificate, _ = Remotes().identity()
    print(certificate.read_text(), end="")


@command(table.format_argument(), example="hutch remote list")
def list_(session: Session, options: Options) -> None:
    """List the servers."""
    known = Remotes()
    places = {LOCAL: session.client.socket_path} | known.addresses
    found = [
        {
            "name": name,
            "address": places[name],
            "protocol": known.protocol_of(name),
            "public": known.has_only_images(name),
            "project": known.project_of(name),
            "default": name == known.default,
        }
        for name in known.names()
    ]
    rows = [
        [
            *(str(each[key]) for key in ("name", "address", "protocol", "project")),
            *("YES" if each[key] else "" for key in ("public", "default")),
        ]
        for each in found
    ]
    table.show(options.format, ["NAME", "ADDRESS", "PROTOCOL", "PROJECT", "PUBLIC", "DEFAULT"], rows, found)


@command(NAME, example="hutch remote switch host2")
def switch(session: Session, options: Options) -> None:
    """Let commands that name no server go to this one."""
    Remotes().switch(options.remote)


@command(example="hutch remote get-default")
def get_default(session: Session, options: Options) -> None:
    """Print the server that commands go to."""
    print(Remotes().default)


@command(NAME, example="hutch remote remove host2")
def remove(session: Session, options: Options) -> None:
    """Forget a server."""
    Remotes().remove(options.remote)


@command(NAME, arg("new", metavar="NEW", help="its new name"), example="hutch remote rename host2 spare")
def rename(session: Session, options: Options) -> None:
    """Give a server another name."""
    Remotes().rename(options.remote, options.new)
