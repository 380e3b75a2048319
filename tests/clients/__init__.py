"""Clients that other people made, driven against the daemon as they are."""
