"""Projects as rooms: whose things of a kind the requests of a project see."""

from enum import StrEnum

from hutch.schema.keys.base import as_bool
from hutch.schema.project import ProjectRecord
from hutch.store.records import State

DEFAULT = "default"


class Kind(StrEnum):
    """The kinds of things that a project has for itself (`features.KIND` is true) or shares with the default project."""

    IMAGES = "images"
    PROFILES = "profiles"
    NETWORKS = "networks"
    ZONES = "networks.zones"
    VOLUMES = "storage.volumes"
    BUCKETS = "storage.buckets"


def has_own(record: ProjectRecord, kind: Kind) -> bool:
    """Whether the project keeps things of the kind for itself."""
    return record.name == DEFAULT or as_bool(record.config.get(f"features.{kind}"))


def home(state: State, project: str, kind: Kind) -> str:
    """The effective project: where the things of the kind are that `project` sees. A project that does not exist sees its own."""
    record = state.projects.find(project)
    return project if record is None or has_own(record, kind) else DEFAULT


def tenants(state: State, place: str, kind: Kind) -> list[str]:
    """The projects that see the things of the kind which are in `place`."""
    return [record.name for record in state.projects.all() if home(state, record.name, kind) == place]
