"""What a server of files in the simplestreams format has, as the API describes images: to be listed."""

import http.client
import json
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from hutch import errors
from hutch.client.remotes import TlsConnection

Document = dict[str, Any]
_MOST = 64 << 20
_METADATA = ("incus.tar.xz", "lxd.tar.xz")
_ROOTFS = {"squashfs": "combined_squashfs_sha256", "root.tar.xz": "combined_rootxz_sha256"}
_COMBINED = ("incus_combined.tar.gz", "lxd_combined.tar.gz")


def images(address: str, certificate: str) -> list[Document]:
    """The newest container image of each product. `certificate` is the one that the server must show (PEM), or empty."""
    context = ssl.create_default_context(cadata=certificate or None)
    if certificate:
        context.check_hostname = False
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    index = _fetched(address, "streams/v1/index.json", context)
    found = []
    for stream in (index.get("index") or {}).values():
        if stream.get("datatype", "image-downloads") == "image-downloads":
            products = _fetched(address, str(stream.get("path", "")), context).get("products") or {}
            found += [image for product in products.values() if (image := _newest(product)) is not None]
    return found


def _fetched(address: str, path: str, context: ssl.SSLContext) -> Document:
    place = urlsplit(address)
    connection = TlsConnection(place.hostname or "", place.port or 443, context)
    try:
        connection.request("GET", f"{place.path.rstrip('/')}/{quote(path)}", headers={"User-Agent": "hutch"})
        answer = connection.getresponse()
        text = answer.read(_MOST)
        if answer.status != 200:
            raise errors.HutchError(f"{address}/{path} is answered with status {answer.status}")
        document: Document = json.loads(text)
        return document
    except (OSError, http.client.HTTPException) as error:
        raise errors.Unavailable(f"the images of {address} cannot be listed: {error}") from error
    except ValueError as error:
        raise errors.Invalid(f"{address} is no server of images in the simplestreams format") from error
    finally:
        connection.close()


def _newest(product: Document) -> Document | None:
    for version in sorted(product.get("versions") or {}, reverse=True):
        items = list((product["versions"][version].get("items") or {}).values())
        for fingerprint, size in _offers(items):
            title = product.get("release_title") or product.get("release", "")
            return {
                "fingerprint": fingerprint,
                "aliases": [{"name": name.strip()} for name in str(product.get("aliases", "")).split(",")],
                "architecture": product.get("arch", ""),
                "properties": {
                    "description": f"{product.get('os', '')} {title} {product.get('arch', '')} ({version})",
                    "os": product.get("os", ""),
                    "release": product.get("release", ""),
                    "variant": product.get("variant", ""),
                },
                "public": True,
                "size": size,
                "type": "container",
                "uploaded_at": f"{version[:4]}-{version[4:6]}-{version[6:8]}T00:00:00Z",
            }
    return None


def _offers(items: list[Document]) -> Iterator[tuple[str, int]]:
    """Fingerprint and size of what can be had of a version, the best first."""
    by_type = {item.get("ftype", ""): item for item in items}
    for ftype in _METADATA:
        metadata = by_type.get(ftype, {})
        for rootfs, key in _ROOTFS.items():
            if metadata.get(key) and rootfs in by_type:
                yield metadata[key], int(metadata.get("size", 0)) + int(by_type[rootfs].get("size", 0))
    for ftype in _COMBINED:
        if by_type.get(ftype, {}).get("sha256"):
            yield by_type[ftype]["sha256"], int(by_type[ftype].get("size", 0))
