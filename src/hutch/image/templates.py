"""Files of a guest that are written from its image's templates: at creation, copy, rename or start."""

import asyncio
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hutch.errors import HutchError, Invalid, NotFound
from hutch.image import metadata, pongo2
from hutch.image.filters import text
from hutch.image.metadata import Contents, Metadata, Template
from hutch.kernel import safepath
from hutch.kernel.credentials import as_root_of
from hutch.kernel.idmap import IdMap

METADATA, FOLDER = "metadata.yaml", "templates"


def place(contents: Contents, directory: Path) -> None:
    """Keep what an image says of itself, and its templates, in an instance's folder. Blocks."""
    folder = directory / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, data in contents.templates.items():
        metadata.check_name(name)
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(data)
    (directory / METADATA).write_text(contents.metadata)


def load(directory: Path) -> Metadata | None:
    """What an instance's folder says of its image; None when it says nothing. Blocks."""
    try:
        return metadata.parse((directory / METADATA).read_text())
    except FileNotFoundError:
        return None


async def apply(
    triggers: Sequence[str], root: int, directory: Path, variables: Mapping[str, Any], idmap: Sequence[IdMap]
) -> None:
    """Write the files whose templates ask for one of the triggers into the guest's root behind the descriptor.

    `variables` has `instance`, `config` and `devices`. Invalid names the template that is wrong; the files belong
    to the guest's root, those that exist keep owner and mode.
    """
    document = await asyncio.to_thread(load, directory)
    if document is None:
        return
    for trigger in triggers:
        for path, template in document.templates.items():
            if trigger in template.when:
                content = await asyncio.to_thread(_render, trigger, path, template, directory / FOLDER, variables)
                await as_root_of(idmap, _write, root, path, content, template.create_only)


def _render(trigger: str, path: str, template: Template, folder: Path, variables: Mapping[str, Any]) -> bytes:
    config: Mapping[str, str] = variables.get("config", {})
    instance = {key: _word(value) for key, value in variables.get("instance", {}).items()}
    values = {
        **variables,
        "trigger": trigger,
        "path": path,
        "instance": instance,
        "container": instance,
        "properties": template.properties,
        "config_get": lambda key, default="": config.get(text(key), default),
    }
    try:
        return pongo2.render(_source(folder, template.template), values, lambda name: _source(folder, name)).encode(
            errors="surrogateescape"
        )
    except (Invalid, NotFound) as error:
        raise Invalid(f"template {template.template} for {path}: {error}") from error


def _word(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _source(folder: Path, name: str) -> str:
    metadata.check_name(name)
    try:
        return (folder / name).read_text(errors="surrogateescape")
    except FileNotFoundError:
        raise NotFound(f"the template {name!r} does not exist") from None


def _write(root: int, path: str, content: bytes, create_only: bool) -> None:
    try:
        if (found := _existing(root, path)) is not None:
            if not create_only:
                _overwrite(found, content)
            else:
                os.close(found)
            return
        _make_parents(root, path)
        _fill(safepath.resolve(root, path, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK, 0o644), content)
    except OSError as error:
        raise HutchError(f"the template for {path} cannot be written into the guest: {error.strerror}") from error


def _existing(root: int, path: str) -> int | None:
    try:
        return safepath.resolve(root, path)
    except FileNotFoundError:
        return None


def _overwrite(found: int, content: bytes) -> None:
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(0, "there is something that is no file")
        _fill(safepath.reopen(found, os.O_WRONLY | os.O_TRUNC), content)
    finally:
        os.close(found)


def _fill(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _make_parents(root: int, path: str) -> None:
    for parent in reversed(PurePosixPath(path).parents[:-1]):
        if (found := _existing(root, str(parent))) is None:
            above, name = safepath.parent(root, str(parent))
            try:
                os.mkdir(name, 0o755, dir_fd=above)
            finally:
                os.close(above)
        else:
            os.close(found)
