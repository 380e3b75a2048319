"""Manage networks and connect instances to them."""

from hutch import errors
from hutch.cli import creation, members, settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.devices import Owner
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.client.connection import Document, url

NETWORK = arg("network", metavar="NETWORK", help="the network", complete="network")
INSTANCE = arg("instance", metavar="INSTANCE", help="the instance", complete="instance")
PROFILE = arg("profile", metavar="PROFILE", help="the profile", complete="profile")
DEVICE = arg("device", nargs="?", default="", metavar="DEVICE", help="the device's name")
INTERFACE = arg("interface", nargs="?", default="", metavar="INTERFACE", help="the interface's name in the guest")


@command(table.format_argument(), example="hutch network list")
def list_(session: Session, options: Options) -> None:
    """List the networks and the host's other interfaces."""
    found = sorted(session.client.get("/1.0/networks", recursion=1) or [], key=lambda network: str(network["name"]))
    heads = ["NAME", "TYPE", "MANAGED", "IPV4", "IPV6", "DESCRIPTION", "USED BY", "STATE"]
    table.show(options.format, heads, [_row(network) for network in found], found)


def _row(network: Document) -> list[str]:
    config = network.get("config") or {}
    return [
        network["name"],
        network.get("type") or "",
        "YES" if network.get("managed") else "NO",
        config.get("ipv4.address") or "",
        config.get("ipv6.address") or "",
        network.get("description") or "",
        str(len(network.get("used_by") or [])),
        str(network.get("status") or "").upper(),
    ]


@command(NETWORK, example="hutch network show hutchbr0")
def show(session: Session, options: Options) -> None:
    """Show a network."""
    settings.show(session.client.get(url("networks", options.network)))


@command(
    arg("network", metavar="NETWORK", help="its name"),
    arg("values", nargs="*", metavar="KEY=VALUE", help="its configuration"),
    arg("-t", "--type", default="bridge", metavar="TYPE", help="what kind (default bridge)"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    example="""
    hutch network create lan
    hutch network create lan ipv4.address=10.20.0.1/24 ipv6.address=none
    """,
)
def create(session: Session, options: Options) -> None:
    """Make a network."""
    given = redirected_yaml()
    wanted = {
        "name": options.network,
        "type": options.type,
        "description": options.description or given.get("description") or "",
        "config": (given.get("config") or {}) | pairs(options.values),
    }
    session.finish(session.client.request("POST", "/1.0/networks", wanted))
    session.say(f"Network {options.network} created")


@command(
    NETWORK,
    arg("key", metavar="KEY", help="the key", complete="network-key"),
    example="hutch network get hutchbr0 ipv4.address",
)
def get(session: Session, options: Options) -> None:
    """Show one value of a network's configuration."""
    settings.get_key(session, url("networks", options.network), options.key)


@command(
    NETWORK,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set", complete="network-key"),
    example="hutch network set hutchbr0 ipv4.nat=false",
)
def set_(session: Session, options: Options) -> None:
    """Set values in a network's configuration."""
    settings.set_keys(session, url("networks", options.network), members.NETWORK, options.values)


@command(
    NETWORK,
    arg("key", metavar="KEY", help="the key", complete="network-key"),
    example="hutch network unset hutchbr0 dns.domain",
)
def unset(session: Session, options: Options) -> None:
    """Remove a value from a network's configuration."""
    path = url("networks", options.network)
    settings.unset_key(session, path, members.NETWORK, options.key, f"the network {options.network}")


@command(NETWORK, example="hutch network edit hutchbr0")
def edit(session: Session, options: Options) -> None:
    """Edit a network as YAML."""
    from hutch.cli.editor import edit_document

    edit_document(session, url("networks", options.network), members.NETWORK, note=f"The network {options.network}.")


@command(NETWORK, arg("new", metavar="NEW", help="its new name"), example="hutch network rename lan office")
def rename(session: Session, options: Options) -> None:
    """Rename a network that nothing uses."""
    session.finish(session.client.request("POST", url("networks", options.network), {"name": options.new}))
    session.say(f"Network {options.network} renamed to {options.new}")


@command(
    arg("networks", nargs="+", metavar="NETWORK", help="the networks", complete="network"),
    example="hutch network delete lan",
)
def delete(session: Session, options: Options) -> None:
    """Delete networks that nothing uses."""
    for name in options.networks:
        session.finish(session.client.request("DELETE", url("networks", name)))
        session.say(f"Network {name} deleted")


@command(NETWORK, example="hutch network info hutchbr0")
def info(session: Session, options: Options) -> None:
    """Show the state of a network: addresses and traffic."""
    from hutch.cli.progress import amount

    found = session.client.get(f"{url('networks', options.network)}/state")
    print(f"Name: {options.network}")
    print(f"MAC address: {found.get('hwaddr', '')}")
    print(f"MTU: {found.get('mtu', '')}")
    print(f"State: {found.get('state', '')}")
    print(f"Type: {found.get('type', '')}")
    if found.get("addresses"):
        print("\nIP addresses:")
        for address in found["addresses"]:
            print(f"  {address['family']}\t{address['address']}/{address['netmask']} ({address['scope']})")
    counters = found.get("counters") or {}
    print("\nNetwork usage:")
    print(f"  Bytes received: {amount(counters.get('bytes_received', 0))}")
    print(f"  Bytes sent: {amount(counters.get('bytes_sent', 0))}")
    print(f"  Packets received: {counters.get('packets_received', 0)}")
    print(f"  Packets sent: {counters.get('packets_sent', 0)}")


@command(NETWORK, table.format_argument(), example="hutch network list-leases hutchbr0")
def list_leases(session: Session, options: Options) -> None:
    """List the addresses that a network has given out."""
    found = session.client.get(f"{url('networks', options.network)}/leases") or []
    rows = [[lease["hostname"], lease.get("hwaddr") or "", lease["address"], lease["type"].upper()] for lease in found]
    rows.sort()
    table.show(options.format, ["HOSTNAME", "MAC ADDRESS", "IP ADDRESS", "TYPE"], rows, found)


@command(NETWORK, INSTANCE, DEVICE, INTERFACE, example="hutch network attach hutchbr0 c1 eth1")
def attach(session: Session, options: Options) -> None:
    """Connect an instance to a network."""
    _attach(session, members.instance(session, options.instance), options)


@command(NETWORK, PROFILE, DEVICE, INTERFACE, example="hutch network attach-profile hutchbr0 default eth0")
def attach_profile(session: Session, options: Options) -> None:
    """Connect the instances of a profile to a network."""
    _attach(session, members.profile(session, options.profile), options)


def _attach(session: Session, owner: Owner, options: Options) -> None:
    device = options.device or options.network
    nic = creation.nic(session, options.network, options.interface or options.device)

    def apply(devices: dict[str, dict[str, str]]) -> None:
        if device in devices:
            raise errors.AlreadyExists(f"{owner.what} {owner.name} has a device {device} already")
        devices[device] = {key: value for key, value in nic.items() if value}

    owner.change(apply)


@command(NETWORK, INSTANCE, DEVICE, example="hutch network detach hutchbr0 c1")
def detach(session: Session, options: Options) -> None:
    """Disconnect an instance from a network."""
    _detach(members.instance(session, options.instance), options)


@command(NETWORK, PROFILE, DEVICE, example="hutch network detach-profile hutchbr0 default")
def detach_profile(session: Session, options: Options) -> None:
    """Disconnect the instances of a profile from a network."""
    _detach(members.profile(session, options.profile), options)


def _detach(owner: Owner, options: Options) -> None:
    def apply(devices: dict[str, dict[str, str]]) -> None:
        joined = [name for name, device in devices.items() if _is_on(device, options.network)]
        if options.device:
            joined = [name for name in joined if name == options.device]
        if not joined:
            named = f" named {options.device}" if options.device else ""
            raise errors.NotFound(f"{owner.what} {owner.name} has no device{named} on the network {options.network}")
        if len(joined) > 1:
            names = ", ".join(sorted(joined))
            raise errors.Conflict(f"{owner.name} is on {options.network} more than once; name the device: {names}")
        del devices[joined[0]]

    owner.change(apply)


def _is_on(device: dict[str, str], network: str) -> bool:
    return device.get("type") == "nic" and network in (device.get("network"), device.get("parent"))


@command(table.format_argument(), example="hutch network list-allocations")
def list_allocations(session: Session, options: Options) -> None:
    """List the addresses that networks have given out."""
    found = session.client.get("/1.0/network-allocations") or []
    rows = [
        [each["used_by"], each["address"], each["type"], "YES" if each["nat"] else "NO", each["hwaddr"]]
        for each in found
    ]
    table.show(options.format, ["USED BY", "ADDRESS", "TYPE", "NAT", "MAC ADDRESS"], rows, found)
