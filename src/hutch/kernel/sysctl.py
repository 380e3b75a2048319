"""Settings under /proc/sys; those below net belong to the network namespace of whoever opens them."""

import contextlib
from pathlib import Path

ROOT = Path("/proc/sys")


def read(*names: str) -> str:
    """The setting at a path given by its parts (an interface's name may hold dots); empty when the kernel has none such."""
    with contextlib.suppress(OSError):
        return ROOT.joinpath(*names).read_text().strip()
    return ""


def write(value: str, *names: str) -> bool:
    """Set it unless it is so already; false when the kernel has no such setting."""
    path = ROOT.joinpath(*names)
    with contextlib.suppress(FileNotFoundError):
        if path.read_text().strip() != value:
            path.write_text(value)
        return True
    return False


def interfaces(family: str) -> list[str]:
    """Names below net/ipv4/conf or net/ipv6/conf, with `all` and `default`."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path.name for path in (ROOT / "net" / family / "conf").iterdir())
    return []
