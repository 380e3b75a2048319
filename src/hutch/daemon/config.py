"""What the command line of the daemon says."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`users` is the group of those who have a project each. `tls` is the oldest version of it that is spoken.

    `boot` names the boot of the host: when it differs from the last one, instances with boot.autostart are started."""

    directory: Path
    group: str
    lxcfs: Path | None
    boot: str
    debug: bool = False
    json_logs: bool = False
    tls: str = "1.3"
    users: str = ""

    @property
    def identity(self) -> str:
        """Eight hex digits that tell this daemon's cgroups from those of others on the machine."""
        return sha256(str(self.directory).encode()).hexdigest()[:8]
