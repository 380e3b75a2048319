"""Manage the ports of a forward."""

from hutch import errors
from hutch.cli import settings
from hutch.cli.command import Options, arg, command
from hutch.cli.commands.network.forward import ADDRESS, NETWORK, forward
from hutch.cli.session import Session
from hutch.client.connection import Document


@command(
    NETWORK,
    ADDRESS,
    arg("protocol", metavar="tcp|udp", choices=("tcp", "udp"), help="the protocol"),
    arg("listen", metavar="PORTS", help="the ports to listen on, such as 80,90-92"),
    arg("target", metavar="TARGET", help="the guest's address"),
    arg("to", nargs="?", default="", metavar="PORTS", help="the guest's ports (default: the same)"),
    arg("--description", default="", metavar="TEXT", help="what they are for"),
    example="hutch network forward port add hutchbr0 192.0.2.1 tcp 80,443 10.1.2.3",
)
def add(session: Session, options: Options) -> None:
    """Let ports go to a guest."""
    port = {
        "description": options.description,
        "protocol": options.protocol,
        "listen_port": options.listen,
        "target_port": options.to,
        "target_address": options.target,
    }

    def apply(document: Document) -> None:
        document["ports"] = [*(document.get("ports") or []), port]

    thing = forward(session, options)
    settings.change(session, thing.path, thing.members, apply)


@command(
    NETWORK,
    ADDRESS,
    arg("protocol", nargs="?", default="", metavar="tcp|udp", help="the protocol"),
    arg("listen", nargs="?", default="", metavar="PORTS", help="the ports that are listened on, as they were added"),
    arg("--force", action="store_true", help="remove all that match"),
    example="hutch network forward port remove hutchbr0 192.0.2.1 tcp 80,443",
)
def remove(session: Session, options: Options) -> None:
    """Remove ports of a forward."""

    def apply(document: Document) -> None:
        ports = document.get("ports") or []
        gone = [
            port
            for port in ports
            if options.protocol in ("", port["protocol"]) and options.listen in ("", port["listen_port"])
        ]
        if not gone:
            raise errors.NotFound("No matching port(s) found")
        if len(gone) > 1 and not options.force:
            raise errors.Invalid(f"{len(gone)} ports match: --force removes them all")
        document["ports"] = [port for port in ports if port not in gone]

    thing = forward(session, options)
    settings.change(session, thing.path, thing.members, apply)
