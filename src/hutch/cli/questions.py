"""The questions of `hutch admin init`."""

from hutch import errors
from hutch.cli import preseed
from hutch.cli.session import Session
from hutch.client.connection import Document, url

DRIVERS = ("overlay", "btrfs", "dir")


def asked(session: Session) -> Document:
    """Ask a person what to set up; empty answers take what stands in brackets."""
    driver, pool, pool_config = _storage(session)
    network, network_config = _network(session)
    address = ""
    if _yes(session, "Should the daemon be reachable over the network?", default=False):
        address = _text(session, "Address and port to listen on", "[::]:8443")
    return preseed.document(
        driver=driver,
        pool=pool,
        pool_config=pool_config,
        network=network,
        network_config=network_config,
        address=address,
    )


def _storage(session: Session) -> tuple[str, str, dict[str, str]]:
    if not _yes(session, "Set up a storage pool?", default=True):
        return "", "", {}
    pool = _text(session, "Its name", preseed.POOL)
    if _exists(session, "storage-pools", pool):
        session.say(f"The storage pool {pool} exists and is used as it is")
        return str(session.client.get(url("storage-pools", pool))["driver"]), pool, {}
    driver = _choice(session, "Its driver", DRIVERS)
    config: dict[str, str] = {}
    if driver == "btrfs":
        source = _text(session, "A disk or btrfs folder to use; empty for a file", "")
        config = {"source": source} if source else {"size": _text(session, "The size of the file", "20GiB")}
    return driver, pool, config


def _network(session: Session) -> tuple[str, dict[str, str]]:
    if not _yes(session, "Set up a network bridge?", default=True):
        return "", {}
    name = _text(session, "Its name", preseed.BRIDGE)
    if _exists(session, "networks", name):
        session.say(f"The network {name} exists and is used as it is")
        return name, {}
    return name, {
        f"{family}.address": _text(session, f"Its {label} address with prefix, auto or none", "auto")
        for family, label in (("ipv4", "IPv4"), ("ipv6", "IPv6"))
    }


def _exists(session: Session, collection: str, name: str) -> bool:
    try:
        session.client.get(url(collection, name))
    except errors.NotFound:
        return False
    return True


def _text(session: Session, question: str, default: str) -> str:
    return session.ask(f"{question} [{default}]: ") or default


def _yes(session: Session, question: str, *, default: bool) -> bool:
    while True:
        answer = session.ask(f"{question} (yes/no) [{'yes' if default else 'no'}]: ").lower()
        if answer in ("", "y", "yes", "n", "no"):
            return default if not answer else answer.startswith("y")
        print("Please answer yes or no.")


def _choice(session: Session, question: str, known: tuple[str, ...]) -> str:
    while True:
        answer = _text(session, f"{question} ({', '.join(known)})", known[0])
        if answer in known:
            return answer
        print(f"Please answer one of {', '.join(known)}.")
