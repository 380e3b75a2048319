"""From a recipe to a finished image file, kept in a cache until the recipe, the builder or the week changes."""

import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hutch.errors import HutchError
from hutch.imagebuild import bootstrap, guest, pack, packages, program
from hutch.imagebuild.recipe import Recipe, named

CACHE = Path("/var/cache/hutch-images")
# Suites move: security updates come about weekly.
MAX_AGE = 7 * 24 * 3600


@dataclass(frozen=True)
class BuiltImage:
    """A unified image, or with `rootfs` the two halves of a split one; `fresh` is False when it came from the cache."""

    path: Path
    rootfs: Path | None
    fingerprint: str
    properties: dict[str, str]
    aliases: tuple[str, ...]
    fresh: bool


def build(
    recipe: Recipe,
    *,
    cache: Path = CACHE,
    progress: Callable[[str], None] = lambda _: None,
    form: str = pack.DEFAULT_FORMAT,
    split: bool = False,
    refresh: bool = False,
) -> BuiltImage:
    """Build `recipe`, or take it from `cache` when it was built there in the last seven days.

    A machine that cannot reach its mirror gets an older image with the same recipe, if there is one, and is told so.
    """
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    note = cache / f"{recipe.stem}.{'split' if split else 'unified'}.{form}.json"
    with _only_one(cache / f"{recipe.stem}.lock", progress):
        found = _remembered(note, recipe)
        if found and not refresh and time.time() - note.stat().st_mtime < MAX_AGE:
            progress(f"Using {found.path} of {_day(note)}")
            return found
        try:
            return _built(recipe, cache, note, progress, form=form, split=split)
        except HutchError as error:
            if not found or refresh:
                raise
            progress(f"Cannot refresh ({error}); using {found.path} of {_day(note)}")
            return found


def cached(name: str, progress: Callable[[str], None] = lambda _: None) -> BuiltImage:
    """A built-in image from the machine's cache, built first when need be."""
    return build(named(name), progress=progress)


def _built(
    recipe: Recipe, cache: Path, note: Path, progress: Callable[[str], None], *, form: str, split: bool
) -> BuiltImage:
    started = time.monotonic()
    with (
        _only_one(cache / "packages.lock", progress),
        _work_folder(cache) as work,
    ):
        rootfs = (_busybox if recipe.variant == "busybox" else _system)(recipe, cache / "packages", work, progress)
        size = rootfs.stat().st_size / packages.MEGABYTE
        progress(f"Packing {size:.0f} MB as {form}")
        created = int(time.time())
        facts = pack.properties(recipe, time.strftime("%Y%m%d_%H:%M", time.gmtime(created)))
        metadata = pack.metadata_nodes(recipe, facts, created)
        packed = pack.pack(metadata, rootfs, work / recipe.stem, form=form, split=split)
        path = packed.path.replace(cache / packed.path.name)
        half = packed.rootfs.replace(cache / packed.rootfs.name) if packed.rootfs else None
    image = BuiltImage(path, half, packed.fingerprint, facts, recipe.aliases, True)
    _remember(note, recipe, image)
    total = sum(part.stat().st_size for part in (path, half) if part) / packages.MEGABYTE
    progress(f"Built {path} ({total:.1f} MB) in {time.monotonic() - started:.0f} s")
    return image


def _system(recipe: Recipe, store: Path, work: Path, progress: Callable[[str], None]) -> Path:
    return bootstrap.build_root(recipe, packages.fetch(recipe, store, progress), work, progress)


def _busybox(recipe: Recipe, store: Path, work: Path, progress: Callable[[str], None]) -> Path:
    package = packages.fetch_one(recipe, "busybox-static", store, progress)
    program.run(["dpkg-deb", "--extract", str(package), str(work / "package")])
    # Debian moved /bin into /usr in 13.
    binary = next(path for path in (work / "package/bin/busybox", work / "package/usr/bin/busybox") if path.exists())
    applets = program.output([str(binary), "--list-full"]).split()
    target = work / "rootfs.tar"
    pack.write_tree(guest.busybox_files(binary.read_bytes(), applets), target)
    return target


def _remember(note: Path, recipe: Recipe, image: BuiltImage) -> None:
    document = {**asdict(image), "path": image.path.name, "rootfs": image.rootfs and image.rootfs.name}
    partial = note.with_suffix(".partial")
    partial.write_text(json.dumps({"key": recipe.key(), "image": document}, indent=1))
    partial.replace(note)


def _remembered(note: Path, recipe: Recipe) -> BuiltImage | None:
    try:
        document = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        return None
    if document.get("key") != recipe.key():
        return None
    stored = document["image"]
    path = note.parent / stored["path"]
    half = note.parent / stored["rootfs"] if stored["rootfs"] else None
    if not path.exists() or (half and not half.exists()):
        return None
    return BuiltImage(path, half, stored["fingerprint"], stored["properties"], tuple(stored["aliases"]), False)


@contextmanager
def _work_folder(cache: Path) -> Iterator[Path]:
    """An empty folder, gone afterwards; what a build that was killed left is removed too, for none other runs now."""
    for stale in cache.glob("build-*"):
        shutil.rmtree(stale)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as folder:
        yield Path(folder)


@contextmanager
def _only_one(lock: Path, progress: Callable[[str], None]) -> Iterator[None]:
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Waiting for another build on this machine")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _day(note: Path) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(note.stat().st_mtime))
