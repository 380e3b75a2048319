"""The config keys of instances that keep the guest apart from the host: id maps, system calls, raw settings, protection."""

import re
from dataclasses import dataclass

from hutch.errors import Invalid
from hutch.schema.keys.base import Key, as_int, boolean

_KINDS = {"both": "ug", "uid": "u", "gid": "g"}
_RULE = r"[a-z0-9_]+( (errno \d+|kill|allow|trap|log))?( \[\d+,\d+,[A-Z_]+(,\d+)?\])*"
_OURS = {
    "lxc.log.file": "the log belongs to hutch",
    "lxc.logfile": "the log belongs to hutch",
    "lxc.log.syslog": "the log belongs to hutch",
    "lxc.syslog": "the log belongs to hutch",
    "lxc.ephemeral": "create the instance with --ephemeral",
    "lxc.prlimit.": "use limits.kernel.*",
    "lxc.idmap": "use raw.idmap",
    "lxc.rootfs.": "use the root disk",
    "lxc.uts.name": "rename the instance",
    "lxc.cgroup.dir": "hutch chooses the control groups",
    "lxc.console.": "hutch owns the console",
    "lxc.tty.": "hutch owns the console",
    "lxc.pty.": "hutch owns the console",
    "lxc.hook.post-stop": "hutch needs it to learn how the guest ended",
    "lxc.monitor.": "hutch watches the monitor itself",
    "lxc.seccomp.": "use security.syscalls.* or raw.seccomp",
    "lxc.init.": "hutch starts the guest's own init",
}


@dataclass(frozen=True)
class Extent:
    """A line of raw.idmap: `count` ids from `host` on are the guest's from `inside` on; `kinds` is u, g or ug."""

    kinds: str
    host: int
    inside: int
    count: int


def extents(value: str) -> list[Extent]:
    """Lines such as `both 1000 1000` or `uid 50-60 500-510`: the host's ids first."""
    found = []
    for line in filter(None, (line.strip() for line in value.splitlines())):
        match = re.fullmatch(r"(both|uid|gid)\s+(\d+)(?:-(\d+))?\s+(\d+)(?:-(\d+))?", line)
        if match is None:
            raise Invalid(
                f"invalid line {line!r}: both, uid or gid, the host's id or range and the guest's are expected"
            )
        kind, host, host_last, inside, inside_last = match.groups()
        count = int(host_last or host) - int(host) + 1
        if count < 1 or count != int(inside_last or inside) - int(inside) + 1:
            raise Invalid(f"invalid line {line!r}: the two ranges are not equally long")
        if max(int(host), int(inside)) + count > 1 << 32:
            raise Invalid(f"invalid line {line!r}: ids go up to 4294967295")
        found.append(Extent(_KINDS[kind], int(host), int(inside), count))
    _apart(found)
    return found


def _apart(found: list[Extent]) -> None:
    for number, one in enumerate(found):
        for other in found[:number]:
            if set(one.kinds) & set(other.kinds) and any(
                first < second + other.count and second < first + one.count
                for first, second in ((one.host, other.host), (one.inside, other.inside))
            ):
                raise Invalid(f"the host's {one.host} and {other.host}, or the guest's ids for them, overlap")


def system_calls(value: str) -> list[str]:
    """Rules of a seccomp profile, one a line: a system call, its action and conditions on its arguments."""
    found = [line.strip() for line in value.splitlines() if line.strip()]
    for line in found:
        if not re.fullmatch(_RULE, line):
            raise Invalid(f"invalid rule {line!r}: NAME, or NAME errno NUMBER, is expected")
    return found


def seccomp(value: str) -> list[str]:
    """The lines of a whole profile of version 2, without comments."""
    found = [line for raw in value.splitlines() if (line := raw.partition("#")[0].strip())]
    if len(found) < 2 or found[0] != "2" or found[1] not in ("denylist", "allowlist", "blacklist", "whitelist"):
        raise Invalid("a profile begins with the line 2 and the line denylist or allowlist")
    for line in found[2:]:
        if not re.fullmatch(rf"\[\w+\]|reject_force_umount|{_RULE}", line):
            raise Invalid(f"invalid line {line!r}: a section such as [all], or NAME errno NUMBER, is expected")
    return found


def lxc_lines(value: str) -> list[str]:
    """Lines of liblxc's configuration; those that would take from hutch what it needs are refused."""
    found = [line.strip() for line in value.splitlines() if line.strip() and not line.strip().startswith("#")]
    for line in found:
        key, equals, _ = (word.strip() for word in line.partition("="))
        if not equals or not key.startswith("lxc."):
            raise Invalid(f"Invalid raw.lxc line: {line!r}: lxc.KEY = VALUE is expected")
        for ours, instead in _OURS.items():
            if key.lower() == ours or (ours.endswith(".") and key.lower().startswith(ours)):
                raise Invalid(f"Setting {key} is not allowed: {instead}")
        if key.startswith("lxc.net") and not re.fullmatch(r"lxc\.net\.\d+\.ipv[46]\.(address|gateway)", key):
            raise Invalid(f"Only interface-specific ipv4/ipv6 lxc.net.* keys are allowed, not {key}: use a nic device")
    return found


def _base(value: str) -> int:
    if not 0 < (number := as_int(value)) < (1 << 32) - 1:
        raise Invalid(f"invalid id {number}: 1 to 4294967294 is expected")
    return number


def _size(value: str) -> int:
    if not 1 <= (number := as_int(value)) <= 1 << 31:
        raise Invalid(f"invalid number of ids {number}: 1 to 2147483648 is expected")
    return number


KEYS: dict[str, Key] = {
    "raw.idmap": Key(
        "Ids of the host that the guest has as they are, one a line: both 1000 1000, uid 50-60 500-510, gid 100 100",
        live=False,
        check=extents,
    ),
    "raw.lxc": Key("Lines for liblxc's configuration, after hutch's own", live=False, check=lxc_lines),
    "raw.seccomp": Key(
        "A whole seccomp profile in liblxc's form, version 2, in place of every other rule", live=False, check=seccomp
    ),
    "security.idmap.base": Key(
        "First id of the host for an isolated map; chosen when empty", "integer", live=False, check=_base
    ),
    "security.idmap.isolated": boolean("Whether the guest's ids are its own alone on this server", live=False),
    "security.idmap.size": Key("Number of ids of an isolated map", "integer", "65536", live=False, check=_size),
    "security.nesting": boolean("Whether containers may run inside", "false", live=False),
    "security.privileged": boolean("Whether the guest's root is the host's root", "false", live=False),
    "security.protection.delete": boolean("Refuse to delete the instance", "false"),
    "security.protection.shift": boolean("Never change owners on the disk; hutch never does", "false"),
    "security.protection.start": boolean("Refuse to start the instance", "false"),
    "security.syscalls.allow": Key(
        "The only system calls that the guest may make, one a line; not together with the deny lists",
        live=False,
        check=system_calls,
    ),
    "security.syscalls.deny": Key(
        "System calls that the guest may not make, one a line: NAME ends the process, NAME errno 1 fails",
        live=False,
        check=system_calls,
    ),
    "security.syscalls.deny_default": boolean("Deny what liblxc's own profile denies", "true", live=False),
}


def check(what: str, config: dict[str, str]) -> None:
    """Invalid for keys that contradict each other."""
    allow, deny = config.get("security.syscalls.allow"), config.get("security.syscalls.deny")
    if allow and deny:
        raise Invalid(f"{what}: security.syscalls.allow can't be used alongside security.syscalls.deny")
    if config.get("raw.seccomp") and (allow or deny):
        raise Invalid(f"{what}: raw.seccomp is the whole profile: unset security.syscalls.*")
