"""Keys: what the host's root keeps in the kernel's keyrings is not a guest's root's."""

import ctypes
import os
from collections.abc import Callable

from tests.hosts import Host

Guest = Callable[..., str]
_ADD_KEY, _KEYCTL, _USER_KEYRING, _UNLINK = 248, 250, -4, 9


def test_a_key_of_the_hosts_root_is_not_seen(host: Host, guest: Guest) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    key = library.syscall(_ADD_KEY, b"user", b"hutch-marker", b"secret", 6, _USER_KEYRING)
    assert key > 0, os.strerror(ctypes.get_errno())
    try:
        assert "hutch-marker" in host.run("cat", "/proc/keys").stdout
        name = guest()
        assert "hutch-marker" not in host.exec(name, "cat", "/proc/keys").stdout
    finally:
        library.syscall(_KEYCTL, _UNLINK, key, _USER_KEYRING)
