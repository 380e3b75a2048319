"""Records by kind over the Store: typed, mirrored in memory, changed by compare-and-swap.

Records are read without waiting and are never modified in place (`msgspec.structs.replace` makes the next one).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import msgspec

from hutch.errors import NotFound
from hutch.schema.acl import AclRecord
from hutch.schema.backup import BackupRecord
from hutch.schema.certificate import CertificateRecord, TokenRecord
from hutch.schema.doomed import DoomedRecord
from hutch.schema.forward import ForwardRecord
from hutch.schema.image import AliasRecord, ImageRecord
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.move import MoveRecord
from hutch.schema.network import NetworkRecord
from hutch.schema.profile import ProfileRecord
from hutch.schema.project import ProjectRecord
from hutch.schema.server import ServerRecord
from hutch.schema.storage import PoolRecord, VolumeRecord, VolumeSnapshotRecord
from hutch.schema.warning import WarningRecord
from hutch.schema.zone import DnsRecord, ZoneRecord
from hutch.store.base import Store

Record = TypeVar("Record", bound=msgspec.Struct)


class Table(Generic[Record]):
    """The records of one kind, by key. `missing` is the sentence for one that does not exist."""

    def __init__(self, prefix: str, kind: type[Record], key: Callable[[Record], tuple[str, ...]], missing: str) -> None:
        self.prefix, self.kind, self.missing = prefix, kind, missing
        self._key = key
        self.records: dict[str, Record] = {}
        self.revisions: dict[str, int] = {}

    def path(self, *parts: str) -> str:
        return self.prefix + "/".join(part.replace("/", "\0") for part in parts)

    def path_of(self, record: Record) -> str:
        return self.path(*self._key(record))

    def find(self, *parts: str) -> Record | None:
        return self.records.get(self.path(*parts))

    def get(self, *parts: str) -> Record:
        if (record := self.find(*parts)) is None:
            raise NotFound(self.missing)
        return record

    def all(self, *parts: str) -> list[Record]:
        """Every record, or those whose key begins with `parts`, in the order of keys."""
        if not parts:
            return [self.records[path] for path in sorted(self.records)]
        prefix = self.path(*parts) + "/"
        return [self.records[path] for path in sorted(self.records) if path.startswith(prefix)]

    def revision(self, *parts: str) -> int:
        """The revision of the commit that wrote the record last, 0 when there is none."""
        return self.revisions.get(self.path(*parts), 0)


class Transaction:
    """Puts and deletes that happen together. Only keys that were not changed meanwhile by others are written."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.put_records: dict[str, tuple[Table[Any], msgspec.Struct]] = {}
        self.deleted: dict[str, Table[Any]] = {}
        self.compare: dict[str, int] = {}

    def put(self, *records: msgspec.Struct) -> None:
        for record in records:
            table = self._state.table(type(record))
            path = table.path_of(record)
            self._touch(table, path)
            self.deleted.pop(path, None)
            self.put_records[path] = (table, record)

    def delete(self, *records: msgspec.Struct) -> None:
        for record in records:
            table = self._state.table(type(record))
            path = table.path_of(record)
            self._touch(table, path)
            self.put_records.pop(path, None)
            self.deleted[path] = table

    def _touch(self, table: Table[Any], path: str) -> None:
        self.compare.setdefault(path, table.revisions.get(path, 0))


class State:
    """Every table of the daemon's state."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.instances = Table("/instances/", InstanceRecord, lambda r: (r.project, r.name), "Instance not found")
        self.snapshots = Table(
            "/snapshots/", SnapshotRecord, lambda r: (r.project, r.instance, r.name), "Instance snapshot not found"
        )
        self.images = Table("/images/", ImageRecord, lambda r: (r.project, r.fingerprint), "Image not found")
        self.aliases = Table("/aliases/", AliasRecord, lambda r: (r.project, r.name), "Image alias not found")
        self.profiles = Table("/profiles/", ProfileRecord, lambda r: (r.project, r.name), "Profile not found")
        self.networks = Table("/networks/", NetworkRecord, lambda r: (r.project, r.name), "Network not found")
        self.acls = Table("/acls/", AclRecord, lambda r: (r.project, r.name), "Network ACL not found")
        self.forwards = Table(
            "/forwards/", ForwardRecord, lambda r: (r.project, r.network, r.listen_address), "Network forward not found"
        )
        self.zones = Table("/zones/", ZoneRecord, lambda r: (r.project, r.name), "Network zone not found")
        self.zone_records = Table(
            "/zone-records/", DnsRecord, lambda r: (r.project, r.zone, r.name), "Network zone record not found"
        )
        self.pools = Table("/pools/", PoolRecord, lambda r: (r.name,), "Storage pool not found")
        self.volumes = Table(
            "/volumes/", VolumeRecord, lambda r: (r.pool, r.project, r.name), "Storage volume not found"
        )
        self.volume_snapshots = Table(
            "/volume-snapshots/",
            VolumeSnapshotRecord,
            lambda r: (r.pool, r.project, r.volume, r.name),
            "Storage volume snapshot not found",
        )
        self.backups = Table(
            "/backups/", BackupRecord, lambda r: (r.kind, r.pool or "-", r.project, r.owner, r.name), "Backup not found"
        )
        self.projects = Table("/projects/", ProjectRecord, lambda r: (r.name,), "Project not found")
        self.certificates = Table(
            "/certificates/", CertificateRecord, lambda r: (r.fingerprint,), "Certificate not found"
        )
        self.tokens = Table("/tokens/", TokenRecord, lambda r: (r.id,), "Token not found")
        self.doomed = Table(
            "/doomed/", DoomedRecord, lambda r: (r.pool, r.type, r.project, r.name, r.snapshot or "-"), "not found"
        )
        self.moves = Table("/moves/", MoveRecord, lambda r: (r.project, r.instance), "Move not found")
        self.warnings = Table("/warnings/", WarningRecord, lambda r: (r.uuid,), "Warning not found")
        self.server = Table("/server/", ServerRecord, lambda r: ("config",), "Server config not found")
        self.tables: list[Table[Any]] = [table for table in vars(self).values() if isinstance(table, Table)]
        self._by_kind: dict[type, Table[Any]] = {table.kind: table for table in self.tables}

    def table(self, kind: type) -> Table[Any]:
        return self._by_kind[kind]

    async def load(self) -> None:
        """Mirror what the store holds."""
        for table in self.tables:
            for entry in await self.store.range(table.prefix):
                table.records[entry.key] = msgspec.json.decode(entry.value, type=table.kind, strict=False)
                table.revisions[entry.key] = entry.revision

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Transaction]:
        """A transaction that is committed, durably and whole, when the block ends without an exception."""
        transaction = Transaction(self)
        yield transaction
        if not transaction.compare:
            return
        revision = await self.store.commit(
            compare=transaction.compare,
            put={path: msgspec.json.encode(record) for path, (_, record) in transaction.put_records.items()},
            delete=list(transaction.deleted),
        )
        for path, table in transaction.deleted.items():
            table.records.pop(path, None)
            table.revisions.pop(path, None)
        for path, (table, record) in transaction.put_records.items():
            table.records[path] = record
            table.revisions[path] = revision

    async def put(self, *records: msgspec.Struct) -> None:
        async with self.change() as transaction:
            transaction.put(*records)

    async def delete(self, *records: msgspec.Struct) -> None:
        async with self.change() as transaction:
            transaction.delete(*records)
