"""Steps from one version of the database to the next: files m001_*.py, m002_*.py, each with `apply(db)`; forward only."""

import sqlite3

from hutch import registry
from hutch.errors import Unsupported


def apply(db: sqlite3.Connection) -> None:
    """Bring the database up to date, each step in a transaction of its own."""
    import hutch.store.migrations as here

    steps = registry.modules(here)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise Unsupported(
            f"the database has version {version}, this hutchd knows {len(steps)}: install the newer hutch"
        )
    for number, step in enumerate(steps[version:], version + 1):
        db.execute("BEGIN IMMEDIATE")
        step.apply(db)
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
