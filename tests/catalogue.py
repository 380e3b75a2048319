"""A folder that is a server of images in the simplestreams format once it is served by HTTPS."""

import hashlib
import json
import shutil
import ssl
from pathlib import Path
from typing import Any

from hutch.access import x509


class Catalogue:
    """The images that were added, newer ones of an alias beside the older. `folder` is what is to be served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.products: dict[str, Any] = {}
        (folder / "streams/v1").mkdir(parents=True)

    def add(self, name: str, version: str, metadata: Path, rootfs: Path | None = None, *, arch: str = "amd64") -> str:
        """An image under an alias: a split one with a squashfs, or a unified one. Its fingerprint."""
        product = self.products.setdefault(
            f"test:{name}:{arch}",
            {"aliases": f"{name},{name}/default", "arch": arch, "os": "Test", "release": name, "versions": {}},
        )
        product["variant"] = "default"
        items = self._split(name, version, metadata, rootfs) if rootfs else self._unified(name, version, metadata)
        product["versions"][version] = {"items": items}
        self.write()
        first = next(iter(items.values()))
        return str(first.get("combined_squashfs_sha256") or first["sha256"])

    def _split(self, name: str, version: str, metadata: Path, rootfs: Path) -> dict[str, Any]:
        both = hashlib.sha256(metadata.read_bytes() + rootfs.read_bytes()).hexdigest()
        kinds = ("lxd.tar.xz", "incus.tar.xz")
        about = {kind: self._file(name, version, kind, metadata) | {"combined_squashfs_sha256": both} for kind in kinds}
        return about | {"root.squashfs": self._file(name, version, "squashfs", rootfs)}

    def _unified(self, name: str, version: str, path: Path) -> dict[str, Any]:
        return {"all": self._file(name, version, "lxd_combined.tar.gz", path)}

    def _file(self, name: str, version: str, ftype: str, source: Path) -> dict[str, Any]:
        path = f"images/{name}/{version}/{ftype}"
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        return {"ftype": ftype, "path": path, "size": source.stat().st_size, "sha256": digest}

    def write(self) -> None:
        stream = {"datatype": "image-downloads", "path": "streams/v1/images.json", "format": "products:1.0"}
        index = {"format": "index:1.0", "index": {"images": stream | {"products": list(self.products)}}}
        (self.folder / "streams/v1/index.json").write_text(json.dumps(index))
        document = {"format": "products:1.0", "datatype": "image-downloads", "products": self.products}
        (self.folder / "streams/v1/images.json").write_text(json.dumps(document))


def tls(folder: Path) -> tuple[ssl.SSLContext, str]:
    """The context of a server with a certificate of its own, made in `folder`, and the certificate, PEM."""
    certificate, key = x509.server(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate.read_text()
