"""An instance, or a snapshot of one, sent from one server to another, as `copy` and `move` do."""

import contextlib
import threading
from typing import Any

from hutch import errors
from hutch.cli.command import Argument, arg
from hutch.cli.session import Session
from hutch.client.connection import Client, Document, Reply, url

MODES = ("pull", "push", "relay")


def arguments() -> tuple[Argument, ...]:
    return (
        arg("--mode", choices=MODES, help="who connects: the target (pull), the source (push), or both to this client; "
            "by default the first that can"),
        arg("--stateless", action="store_true", help="leave the memory of a running instance behind"),
    )  # fmt: skip


def send(
    session: Session,
    target: Session,
    name: str,
    wanted: Document,
    project: str,
    mode: str = "",
    *,
    live: bool = False,
    doing: str = "",
) -> Document:
    """Make the instance `wanted` on the target, in the project if any is named, of `name` (or INSTANCE/SNAPSHOT) here.

    `wanted` is the body of its creation, whose `source` says what is particular: instance_only, refresh. The source's
    operation at its end.
    """
    ways = _ways(session.client, target.client, mode)
    given = dict(wanted["source"]) | {"type": "migration", "live": live}
    given["base-image"] = str((wanted.get("config") or {}).get("volatile.base_image") or "")
    sent = {"name": wanted["name"], "migration": True, "live": live}
    sent |= {key: given.get(key, False) for key in ("instance_only", "container_only", "allow_inconsistent")}
    transfer = _Transfer(session, target, name, wanted, given, sent, project, doing)
    for way in ways[:-1]:
        try:
            return transfer.by(way)
        except errors.HutchError as error:
            if "cannot be reached" not in str(error):
                raise
    return transfer.by(ways[-1])


def _ways(source: Client, target: Client, mode: str) -> list[tuple[str, Document]]:
    """Each way that may work: the mode, and for pull and push the address and the certificate to connect to."""
    found: list[tuple[str, Document]] = []
    for each, client in (("pull", source), ("push", target)):
        if mode in ("", each):
            environment = client.get("/1.0").get("environment") or {}
            addresses = [f"https://{address}" for address in environment.get("addresses") or []]
            if client.remote is not None:
                addresses = list(dict.fromkeys([client.remote.address, *addresses]))
            elif (target if client is source else source).remote is None:  # both are on this host
                addresses.append(f"unix://{client.socket_path}")
            certificate = client.remote.certificate if client.remote else environment.get("certificate") or ""
            found += [(each, {"address": address, "certificate": certificate}) for address in addresses]
    if mode in ("", "relay"):
        found.append(("relay", {}))
    if not found:
        raise errors.Invalid(
            f"no address is known to {mode} by: set core.https_address on the "
            f"{'source' if mode == 'pull' else 'target'}, or use --mode relay"
        )
    return found


class _Transfer:
    def __init__(
        self,
        session: Session,
        target: Session,
        name: str,
        wanted: Document,
        given: Document,
        sent: Document,
        project: str,
        doing: str,
    ) -> None:
        self.session, self.target, self.wanted, self.given, self.sent = session, target, wanted, given, sent
        self.project, self.doing = project, doing
        instance, _, snapshot = name.partition("/")
        self.path = url("instances", instance, "snapshots", snapshot) if snapshot else url("instances", instance)

    def by(self, way: tuple[str, Document]) -> Document:
        mode, to = way
        done: Document = getattr(self, f"_{mode}")(to)
        return done

    def _receive(self, **how: Any) -> Reply:
        query = {"project": self.project} if self.project else {}
        return self.target.client.request(
            "POST", "/1.0/instances", self.wanted | {"source": self.given | how}, query=query
        )

    def _send(self, **how: Any) -> Reply:
        return self.session.client.request("POST", self.path, self.sent | how)

    def _pull(self, to: Document) -> Document:
        sending = self._send()
        try:
            receiving = self._receive(
                mode="pull",
                operation=f"{to['address']}{_bare(sending.operation)}",
                certificate=to["certificate"],
                secrets=sending.metadata["metadata"],
            )
            self.target.finish(receiving, self.doing)
        except BaseException:
            _cancel(self.session, sending.operation)
            raise
        return self.session.finish(sending, self.doing)

    def _push(self, to: Document) -> Document:
        receiving = self._receive(mode="push")
        where = {
            "operation": f"{to['address']}{_bare(receiving.operation)}",
            "certificate": to["certificate"],
            "secrets": receiving.metadata["metadata"],
        }
        try:
            done = self.session.finish(self._send(target=where), self.doing)
        except BaseException:
            _cancel(self.target, receiving.operation)
            raise
        self.target.finish(receiving, self.doing)
        return done

    def _relay(self, _: Document) -> Document:
        import asyncio

        from hutch.client.relay import relay

        sending = self._send()
        try:
            receiving = self._receive(mode="push")
        except BaseException:
            _cancel(self.session, sending.operation)
            raise
        ends = (
            *(self.session.client, _bare(sending.operation), sending.metadata["metadata"]),
            *(self.target.client, _bare(receiving.operation), receiving.metadata["metadata"]),
        )
        carrier = threading.Thread(target=lambda: asyncio.run(relay(*ends)), daemon=True)
        carrier.start()
        self.target.finish(receiving, self.doing)
        done = self.session.finish(sending, self.doing)
        carrier.join(10)
        return done


def _bare(operation: str) -> str:
    return operation.partition("?")[0]


def _cancel(session: Session, operation: str) -> None:
    with contextlib.suppress(errors.HutchError):
        session.client.request("DELETE", operation)
