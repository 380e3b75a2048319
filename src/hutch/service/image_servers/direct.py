"""An image behind a URL, which says in its headers what the image's fingerprint is and where the file lies."""

import os

from hutch.errors import HutchError, Invalid
from hutch.service.image_import import Upload
from hutch.service.image_server import ImageServer, Offer
from hutch.service.images import architectures


class Driver(ImageServer):
    """`source.server` is the URL. What it answers is LXD's: the headers LXD-Image-Hash and LXD-Image-URL."""

    _url = ""

    async def find(self) -> Offer:
        headers = {"LXD-Server-Architectures": ", ".join(architectures()), "LXD-Server-Version": os.uname().release}
        async with self.session.head(self.source.server, headers=headers, allow_redirects=True) as answer:
            if answer.status != 200:
                raise HutchError(f"{self.source.server} is answered with status {answer.status}")
            fingerprint = answer.headers.get("LXD-Image-Hash", "").lower()
            self._url = answer.headers.get("LXD-Image-URL", "")
        if len(fingerprint) != 64:
            raise Invalid(f"{self.source.server} names no image: the header LXD-Image-Hash is missing")
        if not self._url.startswith("https://"):
            raise Invalid(f"{self.source.server} does not say by an https:// URL in LXD-Image-URL where the image is")
        return Offer(fingerprint=fingerprint, filename=self._url.partition("?")[0].rpartition("/")[2])

    async def fetch(self, offer: Offer, upload: Upload) -> None:
        async with self.session.get(self._url) as answer:
            if answer.status != 200:
                raise HutchError(f"{self._url} is answered with status {answer.status}")
            await upload.digest.receive(answer.content.iter_any(), upload.arrived.main)
