"""Measures hutch, beside Debian's LXD and beside what the kernel's tools need without any daemon."""
