"""What `hutch import-from-lxd` does: everything of another server made again here, as far as it can be."""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from hutch import errors
from hutch.cli import between, copying
from hutch.cli.command import Options
from hutch.cli.session import Session
from hutch.client import connection, images
from hutch.client.connection import Document, url

IMPORTED, REFRESHED, PLANNED, KEPT, LEFT, FAILED = "imported", "refreshed", "would come", "kept ours", "left", "failed"
_TRIES = 20
_NOT_OURS = ("volatile.idmap.", "volatile.last_state.", "volatile.apply_template", "volatile.uuid")


class Entry:
    """A line of the report."""

    def __init__(self, kind: str, name: str, result: str, *remarks: str) -> None:
        self.kind, self.name, self.result, self.remarks = kind, name, result, list(remarks)

    def document(self) -> Document:
        return {"kind": self.kind, "name": self.name, "result": self.result, "remarks": self.remarks}


class Takeover:
    """`here` is the session with this side's server, `there` the one with the other's."""

    def __init__(self, there: Session, here: Session, options: Options) -> None:
        self.there, self.here, self.options = there, here, options
        self.pools = {each["name"] for each in self._list(here, "storage-pools")}
        self.networks = {each["name"] for each in self._list(here, "networks")}
        self.report: list[Entry] = []

    def _list(self, session: Session, kind: str) -> list[Document]:
        return list(session.client.get(f"/1.0/{kind}", recursion=1) or [])

    def run(self) -> list[Entry]:
        """Images first, so that of an instance only what differs from its image travels."""
        wanted = self._instances()
        bases = {(each.get("config") or {}).get("volatile.base_image") for each in wanted}
        profiles = {name for each in wanted for name in each.get("profiles") or []}
        chosen = bool(self.options.instances)
        for image in self._list(self.there, "images"):
            if not chosen or image["fingerprint"] in bases:
                self._do("image", image["fingerprint"][:12], self._image, image)
        for profile in self._list(self.there, "profiles"):
            if not chosen or profile["name"] in profiles:
                self._do("profile", profile["name"], self._profile, profile)
        if not chosen:
            self._volumes()
        for instance in wanted:
            self._do("instance", instance["name"], self._instance, instance)
        return self.report

    def _instances(self) -> list[Document]:
        found = self._list(self.there, "instances")
        names = {each["name"] for each in found}
        if missing := set(self.options.instances) - names:
            raise errors.NotFound(f"the server has no instance {', '.join(sorted(missing))}")
        return [each for each in found if not self.options.instances or each["name"] in self.options.instances]

    def _do(self, kind: str, name: str, bring: Callable[[Entry, Document], str], found: Document) -> None:
        entry = Entry(kind, name, FAILED)
        self.report.append(entry)
        try:
            entry.result = bring(entry, found)
        except errors.HutchError as error:
            entry.remarks.append(str(error))

    def _has(self, *words: str) -> bool:
        with contextlib.suppress(errors.NotFound):
            return bool(self.here.client.get(url(*words)))
        return False

    def _image(self, entry: Entry, image: Document) -> str:
        fingerprint = image["fingerprint"]
        if image.get("type") not in ("", None, "container"):
            entry.remarks.append("virtual machines do not run here")
            return LEFT
        if self._has("images", fingerprint):
            return KEPT
        if self.options.dry_run:
            return PLANNED
        with tempfile.TemporaryDirectory(prefix="hutch-image-") as folder:
            answer = self.there.client.stream("GET", url("images", fingerprint, "export"))
            files = images.save(answer, Path(folder), fingerprint)
            made = images.upload(
                self.here.client,
                files[0],
                files[1] if len(files) > 1 else None,
                public=bool(image.get("public")),
                properties=image.get("properties") or {},
            )
            self.here.finish(made, f"Importing image {entry.name}")
        for alias in image.get("aliases") or []:
            with contextlib.suppress(errors.AlreadyExists):
                wanted = {key: alias.get(key) or "" for key in ("name", "description")} | {"target": fingerprint}
                self.here.client.request("POST", "/1.0/images/aliases", wanted)
        return IMPORTED

    def _profile(self, entry: Entry, profile: Document) -> str:
        name = profile["name"]
        empty = name == "default" and self._is_bare("default")
        if self._has("profiles", name) and not empty:
            return KEPT
        wanted = {key: profile.get(key) for key in ("config", "description")}
        wanted["devices"] = self._devices(entry, profile.get("devices") or {})
        if self.options.dry_run:
            return PLANNED

        def send(document: Document) -> None:
            if empty:
                self.here.client.request("PUT", url("profiles", name), document)
            else:
                self.here.client.request("POST", "/1.0/profiles", document | {"name": name})

        _insist(entry, wanted, send)
        return IMPORTED

    def _is_bare(self, profile: str) -> bool:
        found = self.here.client.get(url("profiles", profile))
        return not found.get("devices") and not found.get("config")

    def _instance(self, entry: Entry, found: Document) -> str:
        name = found["name"]
        if found.get("type") == "virtual-machine":
            entry.remarks.append("virtual machines do not run here")
            return LEFT
        if found.get("status") not in ("Stopped", "Error"):
            entry.remarks.append("it runs: stop it there and run this again for its last changes")
        exists = self._has("instances", name)
        kept = {key: value for key, value in (found.get("config") or {}).items() if not key.startswith(_NOT_OURS)}
        wanted = copying.request(found, name, kept, "")
        wanted["devices"] = self._devices(entry, wanted["devices"])
        self._root(entry, wanted, found.get("expanded_devices") or {})
        if self.options.dry_run:
            return PLANNED
        only = bool(self.options.instance_only)
        wanted["source"] = {
            "instance_only": only,
            "container_only": only,
            "refresh": exists,
            "allow_inconsistent": True,
        }

        def send(document: Document) -> None:
            mode = self.options.mode or ""
            between.send(self.there, self.here, name, document, "", mode, doing=f"Importing {name}")

        _insist(entry, wanted, send)
        return REFRESHED if exists else IMPORTED

    def _devices(self, entry: Entry, devices: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """The devices with pools and networks of this side; those that would hang in the air are left out."""
        kept = {}
        for name, device in devices.items():
            fitted = dict(device)
            if device.get("type") == "disk" and device.get("pool") and device["pool"] not in self.pools:
                fitted["pool"] = self._pool()
                disk = "root disk" if device.get("path") == "/" else f"disk {name}"
                entry.remarks.append(f"{disk} on the pool {fitted['pool']} instead of {device['pool']}")
            network = device.get("network") or device.get("parent") or ""
            if device.get("type") == "nic" and network and network not in self.networks:
                if not self.options.network:
                    entry.remarks.append(f"without device {name}: the network {network} is not here (--network)")
                    continue
                fitted = {key: value for key, value in device.items() if key not in ("parent", "nictype")}
                fitted["network"] = self.options.network
                entry.remarks.append(f"{name} on the network {self.options.network} instead of {network}")
            kept[name] = fitted
        return kept

    def _root(self, entry: Entry, wanted: Document, expanded: dict[str, dict[str, str]]) -> None:
        """Give the instance a root disk of its own when none of its profiles here has one."""
        owned = [wanted["devices"], *(self._profile_devices(name) for name in wanted["profiles"] or [])]
        if any(device.get("path") == "/" for devices in owned for device in devices.values()):
            return
        root = next((device for device in expanded.values() if device.get("path") == "/"), {})
        wanted["devices"]["root"] = root | {"type": "disk", "path": "/", "pool": self._pool()}
        if not self.options.dry_run:
            entry.remarks.append(f"root disk on the pool {self._pool()}")

    def _profile_devices(self, name: str) -> dict[str, dict[str, str]]:
        with contextlib.suppress(errors.NotFound):
            return dict(self.here.client.get(url("profiles", name)).get("devices") or {})
        return {}

    def _pool_for(self, pool: str) -> str:
        """The pool of that name here, else the one for what has none."""
        return pool if pool in self.pools else self._pool()

    def _pool(self) -> str:
        chosen = str(self.options.storage or "")
        if not chosen and not self.pools:
            raise errors.NotFound("there is no storage pool here: make one with `hutch storage create`")
        return chosen or ("default" if "default" in self.pools else min(self.pools))

    def _volumes(self) -> None:
        """Custom volumes come as backups, streamed from server to server; those that are here already stay as they are."""
        for pool in self._list(self.there, "storage-pools"):
            for name in self._custom(pool["name"]):
                self._do("volume", f"{pool['name']}/{name}", self._volume, {"pool": pool["name"], "name": name})

    def _volume(self, entry: Entry, found: Document) -> str:
        pool, name = found["pool"], found["name"]
        target = self._pool_for(pool)
        if target != pool:
            entry.remarks.append(f"on the pool {target} instead of {pool}")
        if self._has("storage-pools", target, "volumes", "custom", name):
            return KEPT
        if self.options.dry_run:
            return PLANNED
        client = self.there.client
        path = url("storage-pools", pool, "volumes", "custom", name, "backups")
        backup = f"hutch-{uuid4().hex[:8]}"
        wanted = {"name": backup, "volume_only": bool(self.options.instance_only), "optimized_storage": False}
        self.there.finish(client.request("POST", path, wanted), f"Packing volume {name}")
        try:
            answer = client.stream("GET", f"{path}/{backup}/export")
            headers = {"Content-Type": "application/octet-stream", "X-LXD-name": name}
            where = url("storage-pools", target, "volumes", "custom")
            made = self.here.client.stream("POST", where, connection.blocks(answer), headers=headers)
            self.here.finish(connection.decoded(made), f"Importing volume {name}")
        finally:
            with contextlib.suppress(errors.HutchError):
                self.there.finish(client.request("DELETE", f"{path}/{backup}"))
        return IMPORTED

    def _custom(self, pool: str) -> Iterator[str]:
        with contextlib.suppress(errors.HutchError):
            for each in self.there.client.get(url("storage-pools", pool, "volumes", "custom"), recursion=1) or []:
                if "/" not in each["name"]:
                    yield str(each["name"])


def _insist(entry: Entry, document: Document, send: Callable[[Document], None]) -> None:
    """Send it without what this server refuses, one thing after the other, each of them told in the report."""
    for _ in range(_TRIES):
        try:
            send(document)
            return
        except (errors.Invalid, errors.NotFound, errors.Unsupported, errors.Forbidden) as error:
            document, refused = _without(document, str(error))
            if not refused:
                raise
            entry.remarks.append(f"without {refused}: {error}")
    raise errors.Invalid("too much of it is refused here")


def _without(document: Document, said: str) -> tuple[Document, str]:
    """The document without the config key, device or profile that the refusal names; empty when it names none."""
    config: dict[str, Any] = document.get("config") or {}
    devices: dict[str, dict[str, str]] = document.get("devices") or {}
    named = {word.rstrip(".,:;") for word in re.split(r"[\s'\"()]+", said)}
    for key in sorted(config, key=len, reverse=True):
        if key in named:
            return document | {"config": {each: config[each] for each in config if each != key}}, f"the key {key}"
    for name, device in devices.items():
        if name in named and device.get("path") != "/":
            return document | {"devices": {each: devices[each] for each in devices if each != name}}, f"device {name}"
    for profile in document.get("profiles") or []:
        if profile in named:
            return document | {
                "profiles": [each for each in document["profiles"] if each != profile]
            }, f"profile {profile}"
    return document, ""
