"""liblxc's log, read for the reason of a failure."""

import re
from pathlib import Path

_LINE = re.compile(r"^lxc-(?:start|checkpoint) \S+ \d+\.\d+ (?:ERROR|WARN) +(\S+) - [^:]+:[^:]+:\d+ - (.*)$")
_KEPT = 256 * 1024
# What liblxc says after, and because of, the real error.
_FOLLOWS = re.compile(
    r"Received container state|Failed to spawn container|Failed to setup container|Failed to sync|Expected to receive sync|"
    r"No such process - Failed to send SIGKILL|Failed to run lxc\.hook|sync_wait|container failed|Container will be stopped"
)


def reason(path: Path) -> str:
    """The first error that the start wrote, which caused the others; empty when it wrote none."""
    try:
        with path.open("rb") as file:
            lines = file.read(_KEPT).decode(errors="replace").splitlines()
    except OSError:
        return ""
    errors = [match[2] for line in lines if " ERROR " in line and (match := _LINE.match(line))]
    causes = [message for message in errors if not _FOLLOWS.search(message)]
    return (causes or errors or [""])[0]
