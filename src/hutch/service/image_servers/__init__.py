"""Servers that images are fetched from, one module a protocol."""
