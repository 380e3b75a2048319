"""Manage forwards: addresses whose traffic goes to guests of a network."""

from hutch.cli import members, table
from hutch.cli.command import Options, arg, command
from hutch.cli.documents import Thing
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.client.connection import url

NETWORK = arg("network", metavar="NETWORK", help="the network", complete="network")
ADDRESS = arg("address", metavar="ADDRESS", help="the address that is forwarded")


def forward(session: Session, options: Options) -> Thing:
    path = url("networks", options.network, "forwards", options.address)
    return Thing(session, f"the forward {options.address}", path, members.FORWARD)


@command(NETWORK, table.format_argument(), example="hutch network forward list hutchbr0")
def list_(session: Session, options: Options) -> None:
    """List the forwards of a network."""
    found = session.client.get(url("networks", options.network, "forwards"), recursion=1) or []
    rows = [
        [
            each["listen_address"],
            each.get("description") or "",
            (each.get("config") or {}).get("target_address", ""),
            str(len(each.get("ports") or [])),
        ]
        for each in found
    ]
    table.show(options.format, ["LISTEN ADDRESS", "DESCRIPTION", "DEFAULT TARGET ADDRESS", "PORTS"], rows, found)


@command(
    NETWORK,
    ADDRESS,
    arg("values", nargs="*", metavar="KEY=VALUE", help="its configuration"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    example="""
    hutch network forward create hutchbr0 192.0.2.1
    hutch network forward create hutchbr0 192.0.2.1 target_address=10.1.2.3
    """,
)
def create(session: Session, options: Options) -> None:
    """Make a forward."""
    given = redirected_yaml()
    wanted = given | {
        "listen_address": options.address,
        "description": options.description or given.get("description") or "",
        "config": (given.get("config") or {}) | pairs(options.values),
    }
    session.finish(session.client.request("POST", url("networks", options.network, "forwards"), wanted))
    session.say(f"Network forward {options.address} created")


@command(NETWORK, ADDRESS, example="hutch network forward show hutchbr0 192.0.2.1")
def show(session: Session, options: Options) -> None:
    """Show a forward."""
    forward(session, options).show()


@command(
    NETWORK,
    ADDRESS,
    arg("key", metavar="KEY", help="the key"),
    example="hutch network forward get hutchbr0 192.0.2.1 target_address",
)
def get(session: Session, options: Options) -> None:
    """Show one value of a forward's configuration."""
    forward(session, options).get(options.key)


@command(
    NETWORK,
    ADDRESS,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set"),
    example="hutch network forward set hutchbr0 192.0.2.1 target_address=10.1.2.3",
)
def set_(session: Session, options: Options) -> None:
    """Set values in a forward's configuration."""
    forward(session, options).set(options.values)


@command(
    NETWORK,
    ADDRESS,
    arg("key", metavar="KEY", help="the key"),
    example="hutch network forward unset hutchbr0 192.0.2.1 target_address",
)
def unset(session: Session, options: Options) -> None:
    """Remove a value from a forward's configuration."""
    forward(session, options).unset(options.key)


@command(NETWORK, ADDRESS, example="hutch network forward edit hutchbr0 192.0.2.1")
def edit(session: Session, options: Options) -> None:
    """Edit a forward as YAML."""
    forward(session, options).edit()


@command(NETWORK, ADDRESS, example="hutch network forward delete hutchbr0 192.0.2.1")
def delete(session: Session, options: Options) -> None:
    """Delete a forward."""
    forward(session, options).delete()
