"""Waits for operations of the daemon, telling their progress."""

import json
import select
from collections.abc import Callable

from hutch import errors
from hutch.client.connection import Client, Document, decoded

FINAL = 200
FAILED = 400
CANCELLED = 401
INTERVAL = 0.2
"""Seconds between two looks at the progress."""

Watch = Callable[[Document], None]


def wait(client: Client, operation: str, watch: Watch | None = None) -> Document:
    """The operation's document when it has ended; raises what it failed with.

    One request waits for the end; with `watch` another asks for the progress while that one is unanswered.
    """
    waiting = client.send_ahead(f"{operation}/wait?timeout=-1")
    try:
        while watch and not select.select([waiting.sock], [], [], INTERVAL)[0]:
            try:
                watch(client.get(operation))
            except errors.NotFound:
                watch = None
        return ended(decoded(client.answer(waiting)).metadata)
    finally:
        waiting.close()


def ended(document: Document) -> Document:
    """The document of a final operation, or the error in it."""
    code = int(document.get("status_code") or 0)
    text = str(document.get("err") or "")
    if code == CANCELLED:
        raise errors.Cancelled(text or f"the operation {document.get('id')} was cancelled")
    if code >= FAILED or text:
        raise errors.HutchError(text or f"the operation {document.get('id')} failed")
    return document


def progress(document: Document) -> str:
    """What the operation tells about how far it is: LXD's `*_progress` members."""
    metadata = document.get("metadata") or {}
    texts = [value for key, value in sorted(metadata.items()) if key.endswith("_progress") and value]
    return ", ".join(text if isinstance(text, str) else json.dumps(text) for text in texts)
