"""Backups as files on the client's side: what `export` and `import` of instances and volumes share."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hutch import errors
from hutch.cli.command import Argument, arg
from hutch.cli.progress import Line, counter
from hutch.cli.session import Session
from hutch.client.connection import BLOCK, Document, blocks, decoded, reason


def export_arguments() -> tuple[Argument, ...]:
    return (
        arg(
            "target", nargs="?", default="", metavar="FILE", help="the file to write; - is the output", complete="file"
        ),
        arg("--compression", default="", metavar="ALGORITHM", help="zstd, gzip, xz, bzip2, lzma or none, with options"),
    )


def export(session: Session, path: str, name: str, target: str, wanted: Document) -> None:
    """Write the backup that the server makes of what is at `path`. The file appears under its name when it is whole."""
    headers = {"Accept": "application/octet-stream", "Content-Type": "application/json"}
    response = session.client.stream("POST", f"{path}/backups", json.dumps(wanted).encode(), headers=headers)
    if response.headers.get_content_type() != "application/octet-stream":
        decoded(response)
        raise errors.Unsupported("this server does not send backups while it makes them: export with its own client")
    named = response.headers.get("Content-Disposition", "").partition("filename=")[2].strip('"')
    if target == "-":
        for block in blocks(response):
            sys.stdout.buffer.write(block)
        return
    place = Path(target or Path(named).name or f"{name}.backup")
    draft = place.with_name(f"{place.name}.part")
    try:
        with Line(session.shows_progress) as line, draft.open("wb") as out:
            advance = counter(line, f"Exporting {name}", None)
            for block in blocks(response):
                out.write(block)
                advance(len(block))
        draft.rename(place)
    except OSError as error:
        raise errors.HutchError(f"cannot write {place}: {reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    session.say(f"Backup exported to {place}")


def restore(session: Session, path: str, source: Path, headers: Mapping[str, str]) -> Document:
    """Send the file to the server, which makes of it what it is a backup of; the operation's last document."""
    if not source.is_file():
        raise errors.NotFound(f"no such backup file: {source}")
    size = source.stat().st_size
    sent = {f"X-{dialect}-{key}": value for key, value in headers.items() if value for dialect in ("LXD", "Incus")}
    sent |= {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    with Line(session.shows_progress) as line:
        advance = counter(line, f"Importing {source.name}", size)
        reply = decoded(session.client.stream("POST", path, _file(source, advance), headers=sent))
    return session.finish(reply, "Importing")


def _file(source: Path, advance: Callable[[int], None]) -> Iterator[bytes]:
    with source.open("rb") as stream:
        while block := stream.read(BLOCK):
            yield block
            advance(len(block))
