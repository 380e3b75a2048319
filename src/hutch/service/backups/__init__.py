"""Backups: instances and custom volumes as files in LXD's layout, made, kept, sent and taken in."""
