"""The guest's seccomp profile, in liblxc's form (version 2)."""

from pathlib import Path

from hutch.runtime.plan import LaunchPlan, Syscalls

USUAL = Path("/usr/share/lxc/config/common.seccomp")
OWN = "seccomp"


def write(plan: LaunchPlan) -> Path | None:
    """The profile that the guest is started with, its own being written first; None when nothing is to be filtered. Blocks."""
    own = plan.directory / OWN
    if plan.syscalls == Syscalls():
        own.unlink(missing_ok=True)
        return USUAL if USUAL.exists() else None
    if text := profile(plan.syscalls):
        own.write_text(text)
        return own
    own.unlink(missing_ok=True)
    return None


def used(directory: Path) -> Path:
    """The profile of the guest that runs from a directory."""
    own = directory / OWN
    return own if own.exists() else USUAL


def profile(wanted: Syscalls) -> str:
    """The text of the profile, empty for no filter."""
    if wanted.raw:
        return wanted.raw if wanted.raw.endswith("\n") else f"{wanted.raw}\n"
    if wanted.allow:
        return "\n".join(["2", "allowlist", "[all]", *wanted.allow, ""])
    lines = USUAL.read_text().splitlines() if wanted.default and USUAL.exists() else ["2", "denylist", "[all]"]
    return "\n".join([*lines, *wanted.deny, ""]) if wanted.deny or wanted.default else ""
