"""Who sends a request, and what a route needs of them."""

from dataclasses import dataclass
from enum import Enum, auto

from hutch.access.projects import DEFAULT, Kind, home
from hutch.errors import Forbidden
from hutch.store.records import State
from hutch.work.events import Requestor


@dataclass(frozen=True)
class Caller:
    """Everybody who can open the Unix socket is trusted; over HTTPS those whose certificate is.

    `certificate` is the client's, DER, as shown in the TLS handshake. `projects` are those that a restricted client may
    know of, None for no restriction. `is_metrics`: the certificate is good for the metrics alone. `user` is the id of one who
    came by the socket for users, `project` the one of requests that name none.
    """

    trusted: bool
    requestor: Requestor
    certificate: bytes | None = None
    projects: frozenset[str] | None = None
    is_metrics: bool = False
    user: int | None = None
    project: str = DEFAULT

    @property
    def local(self) -> bool:
        return self.requestor.protocol == "unix"

    @property
    def is_admin(self) -> bool:
        """May do whatever there is to do."""
        return self.trusted and self.projects is None

    def sees(self, project: str) -> bool:
        """Whether the caller may know of the project and what is in it."""
        return self.trusted and (self.projects is None or project in self.projects)

    def measures(self, project: str) -> bool:
        """Whether the caller may read the metrics of what is in the project."""
        return (self.trusted or self.is_metrics) and (self.projects is None or project in self.projects)

    def check(self, *projects: str) -> None:
        """Forbidden when one of the projects, which a request names besides its own, is not for the caller."""
        for project in projects:
            if project and not self.sees(project):
                raise Forbidden("Forbidden")


class Permission(Enum):
    """What a route needs of its caller, weakest first. The handlers of EVERYBODY and LIST look at the caller themselves."""

    EVERYBODY = auto()
    METRICS = auto()
    """Any trusted client, or a certificate for metrics."""
    TRUSTED = auto()
    """Any trusted client, a restricted one too: nothing of a project is shown or changed."""
    LIST = auto()
    """As PROJECT; with all-projects the handler shows what of each project the caller sees."""
    PROJECT = auto()
    """The project of the request is one that the caller sees."""
    IMAGES = auto()
    """So is the one in which the project's images are: they are changed. Those below likewise."""
    PROFILES = auto()
    NETWORKS = auto()
    ZONES = auto()
    VOLUMES = auto()
    BUCKETS = auto()
    ADMIN = auto()
    """A trusted client without restriction."""
    LOCAL = auto()
    """The Unix socket."""


_HOMES = {permission: Kind[permission.name] for permission in Permission if permission.name in Kind.__members__}


def check(state: State, caller: Caller, needs: Permission, project: str, *, all_projects: bool) -> None:
    """Forbidden when the caller may not use a route that needs this in the project."""
    if not _may(state, caller, needs, project, all_projects=all_projects):
        raise Forbidden("Forbidden")


def _may(state: State, caller: Caller, needs: Permission, project: str, *, all_projects: bool) -> bool:
    match needs:
        case Permission.EVERYBODY:
            return True
        case Permission.METRICS:
            return caller.trusted or caller.is_metrics
        case Permission.TRUSTED:
            return caller.trusted
        case Permission.LIST:
            return caller.trusted and (all_projects or caller.sees(project))
        case Permission.PROJECT:
            return caller.sees(project)
        case Permission.ADMIN:
            return caller.is_admin
        case Permission.LOCAL:
            return caller.is_admin and caller.local
        case _:
            return caller.sees(project) and caller.sees(home(state, project, _HOMES[needs]))
