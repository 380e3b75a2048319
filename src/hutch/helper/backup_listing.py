"""Reads an untrusted backup's tar to its end, confined, and says what is in it or why it must not be unpacked.

`python -m hutch.helper.backup_listing FILE COMPRESSION LIMIT` prints one JSON object: `problem` with a sentence, or the
members of image.backup.Contents. See helper.tar_listing, whose checks hold here for each of the trees in a backup.
"""

import sys
import tarfile
from typing import Any

from hutch.helper.tar_listing import Listing, Problem, tell

INDEX, OWN = "backup/index.yaml", "backup/container"
_SMALL = {INDEX: "index", f"{OWN}/backup.yaml": "config", f"{OWN}/metadata.yaml": "metadata"}


class BackupListing(Listing):
    """`trees` are the folders, and files of block volumes, that something can be made of."""

    def __init__(self, limit: int) -> None:
        super().__init__("backup", limit)
        self.small: dict[str, str] = {}
        self.trees: set[str] = set()

    def _tree(self, words: list[str]) -> str:
        """The tree that the entry belongs to, empty for what lies beside them."""
        match words:
            case ["backup", "container", "rootfs", *_]:
                return "backup/container/rootfs"
            case ["backup", "snapshots", name, "rootfs", *_]:
                return f"backup/snapshots/{name}/rootfs"
            case ["backup", "volume", *_]:
                return "backup/volume"
            case ["backup", "volume-snapshots", name, *_]:
                return f"backup/volume-snapshots/{name}"
            case ["backup", "volume.img" | "volume.iso" as name]:
                return f"backup/{name}"
        return ""

    def _inside_root(self, words: list[str]) -> str | None:
        if words[:1] != ["backup"]:
            raise Problem(f"has the entry {'/'.join(words)!r} outside of backup/")
        tree = self._tree(words)
        return "/".join(words[tree.count("/") + 1 :]) if tree else None

    def _check_kind(self, member: tarfile.TarInfo, inside: str | None) -> None:
        tree = self._tree(self._words(member.name))
        if member.islnk() and self._tree(self._words(member.linkname)) != tree:
            raise Problem(f"has the entry {member.name!r} as a hard link out of its tree, to {member.linkname!r}")
        file = tree.endswith((".img", ".iso"))
        if tree and inside == "" and not (member.isreg() if file else member.isdir()):
            raise Problem(f"has as {member.name!r} something that is no {'file' if file else 'directory'}")
        super()._check_kind(member, None if file else inside)
        if tree:
            self.trees.add(tree)

    def _check_node(self, member: tarfile.TarInfo, inside: str | None) -> None:
        if member.ischr() and inside is not None and (member.devmajor, member.devminor) == (0, 0):
            return  # The mark of a deleted file, which every filesystem takes: what a guest's own overlays consist of.
        super()._check_node(member, inside)

    def _keep(self, member: tarfile.TarInfo, words: list[str], archive: tarfile.TarFile) -> None:
        name = "/".join(words)
        if name in _SMALL:
            self.small[_SMALL[name]] = self._content(member, archive).decode(errors="replace")
        elif words[:3] == [*OWN.split("/"), "templates"]:
            super()._keep(member, words[2:], archive)

    def check_whole(self) -> None:
        if "index" not in self.small:
            raise Problem("has no backup/index.yaml, so it is no backup")

    def document(self) -> dict[str, Any]:
        seen = super().document()
        return (
            self.small
            | {key: seen[key] for key in ("templates", "entries", "size", "nodes")}
            | {"trees": sorted(self.trees)}
        )


def main(path: str, compression: str, limit: str) -> None:
    tell(path, BackupListing(int(limit)), compression)


if __name__ == "__main__":
    main(*sys.argv[1:])
