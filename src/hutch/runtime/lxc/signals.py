"""How to ask an init to power off or reboot: each kind listens to signals of its own."""

import signal
from pathlib import Path

_SYSTEMD_HALT, _SYSTEMD_REBOOT = signal.SIGRTMIN + 3, signal.SIGRTMIN + 5


def poweroff(init: int) -> tuple[int, bool]:
    """The signal that makes the process (a pid) power its machine off, and whether it listens for it yet.

    The kernel drops what the first process of a pid namespace has no handler for: sent too early it would be lost.
    """
    return _kind(init, 0)


def reboot(init: int) -> tuple[int, bool]:
    return _kind(init, 1)


def _kind(init: int, which: int) -> tuple[int, bool]:
    proc = Path(f"/proc/{init}")
    try:
        program = (proc / "exe").readlink().name.removesuffix(" (deleted)")
        heard = _heard((proc / "status").read_text())
    except OSError:
        return (signal.SIGPWR, signal.SIGINT)[which], True
    number = _pair(program, heard)[which]
    return number, bool(heard & _bit(number))


def _pair(program: str, heard: int) -> tuple[int, int]:
    if program == "busybox":
        return signal.SIGUSR2, signal.SIGTERM
    if program == "openrc-init":
        return signal.SIGTERM, signal.SIGINT
    if heard & _bit(_SYSTEMD_HALT) or program == "systemd":
        return _SYSTEMD_HALT, _SYSTEMD_REBOOT
    if heard & _bit(signal.SIGPWR):
        return signal.SIGPWR, signal.SIGINT
    return signal.SIGTERM, signal.SIGINT


def _heard(status: str) -> int:
    """Signals that the process blocks (to read them from a descriptor) or catches, as a bit mask."""
    mask = 0
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key in ("SigBlk", "SigCgt"):
            mask |= int(value, 16)
    return mask


def _bit(number: int) -> int:
    return 1 << (number - 1)
