"""What may be in an image beside plain files, and how large its small files may be."""

SMALL = 1 << 20
"""Bytes that metadata.yaml, or a template, may have."""
TEMPLATES = 16 << 20
"""Bytes that all the templates of an image may have."""
HARMLESS = {
    "dev/null": (1, 3),
    "dev/zero": (1, 5),
    "dev/full": (1, 7),
    "dev/random": (1, 8),
    "dev/urandom": (1, 9),
    "dev/tty": (5, 0),
    "dev/console": (5, 1),
    "dev/ptmx": (5, 2),
}
"""The device nodes that debootstrap and its like leave in /dev. They are not unpacked, for a guest's /dev is made at its
start; every other device node makes an image refused."""
