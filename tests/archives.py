"""Small image files, well formed or hostile, made member by member."""

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

METADATA = "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: test\n"
_MODES = {"none": "w", "gzip": "w:gz", "bzip2": "w:bz2", "xz": "w:xz"}


def member(name: str, data: bytes = b"", kind: bytes | None = None, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar; `kind` is one of tarfile's types, a name that ends in a slash a folder."""
    info = tarfile.TarInfo(name.rstrip("/") if len(name) > 1 else name)
    info.type = kind or (tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)
    info.mode = 0o755 if info.type == tarfile.DIRTYPE else 0o644
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


Members = Iterable[tuple[tarfile.TarInfo, bytes]]


def tar(path: Path, members: Members, compression: str = "none") -> Path:
    """A tar of the members, in order."""
    plain = path.with_name(path.name + ".plain") if compression in ("zstd", "lzma") else path
    with tarfile.open(plain, _MODES.get(compression, "w"), format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    if plain != path:
        words = ["zstd", "-q", "-c"] if compression == "zstd" else ["xz", "--format=lzma", "-c"]
        path.write_bytes(subprocess.run([*words, plain], stdout=subprocess.PIPE, check=True).stdout)
        plain.unlink()
    return path


def image(
    path: Path, *more: tuple[tarfile.TarInfo, bytes], compression: str = "none", metadata: str = METADATA
) -> Path:
    """A unified image with an almost empty root and the members given."""
    start = [
        member("metadata.yaml", metadata.encode()),
        member("rootfs/"),
        member("rootfs/etc/"),
        member("rootfs/etc/hostname", b"localhost\n"),
    ]
    return tar(path, [*start, *more], compression)


def squashfs(path: Path, folder: Path, *options: str) -> Path:
    """A squashfs of a folder."""
    words = ["mksquashfs", folder, path, "-quiet", "-no-progress", "-noappend", *options]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return path
