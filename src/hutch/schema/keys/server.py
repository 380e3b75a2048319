"""Settings of the server."""

from hutch.schema.keys.base import Key, text

KEYS: dict[str, Key] = {
    "images.compression_algorithm": text("Compression of new images", "gzip"),
}
