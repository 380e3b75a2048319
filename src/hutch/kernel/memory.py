"""How the C library keeps memory (mallopt(3))."""

from hutch.kernel.syscalls import libc

_M_ARENA_MAX = -8


def single_arena() -> None:
    """Let all threads share one heap. Must be called before they start."""
    libc("mallopt", _M_ARENA_MAX, 1)
