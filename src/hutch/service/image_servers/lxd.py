"""Images of a server that speaks this API: its public ones, or one that a secret opens."""

from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import MultipartReader

from hutch.errors import HutchError, NotFound, Unsupported
from hutch.schema.base import strings
from hutch.service import image_form
from hutch.service.image_import import Upload
from hutch.service.image_server import ImageServer, Offer


class Driver(ImageServer):
    """Aliases are resolved there, the fingerprint is checked here."""

    async def find(self) -> Offer:
        fingerprint = self.source.fingerprint
        if not fingerprint:
            fingerprint = await self._by_alias(self.source.alias)
        found: dict[str, Any] = await self._get(fingerprint, secret=self.source.secret)
        if found.get("type", "container") != "container":
            raise Unsupported("Images of virtual machines cannot be used here: this server runs containers")
        return Offer(
            fingerprint=str(found["fingerprint"]),
            size=int(found.get("size") or 0),
            filename=str(found.get("filename") or ""),
            public=bool(found.get("public")),
            properties=strings(found.get("properties")),
            profiles=[str(name) for name in found.get("profiles") or []],
        )

    async def _by_alias(self, alias: str) -> str:
        """What it stands for; a word that is no alias may be the beginning of a fingerprint."""
        try:
            return str((await self._get("aliases", alias)).get("target", ""))
        except NotFound:
            if set(alias.lower()) <= set("0123456789abcdef"):
                return alias
            raise

    async def _get(self, *words: str, **query: str) -> Any:
        url = "/".join([f"{self.address}/1.0/images", *(quote(word, safe="") for word in words)])
        async with self.session.get(f"{url}?{self._query(**query)}") as answer:
            document = await answer.json(content_type=None)
            if answer.status == 404:
                raise NotFound("Image not found")
            if answer.status != 200 or not isinstance(document.get("metadata"), dict):
                raise HutchError(f"{self.source.server} says: {document.get('error') or answer.status}")
            return document["metadata"]

    def _query(self, **query: str) -> str:
        return urlencode({key: value for key, value in {**query, "project": self.source.project}.items() if value})

    async def fetch(self, offer: Offer, upload: Upload) -> None:
        url = f"{self.address}/1.0/images/{offer.fingerprint}/export?{self._query(secret=self.source.secret)}"
        async with self.session.get(url) as answer:
            if answer.status != 200:
                raise HutchError(f"{self.source.server} does not give the image: status {answer.status}")
            if answer.content_type == "multipart/form-data":
                await image_form.receive(MultipartReader(answer.headers, answer.content), upload)
            else:
                await upload.digest.receive(answer.content.iter_any(), upload.arrived.main)
