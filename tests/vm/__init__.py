"""A whole machine for what this one's kernel cannot show: Debian's own kernel, control groups of version 2 alone, AppArmor.

    python -m tests.vm

builds a Debian from packages, boots it in QEMU (emulated, so everything is some twenty times slower) with a copy of this checkout,
and runs `inside.py` there. Needs the package qemu-system-x86 and root; leaves nothing but the image in the builder's cache.
"""
