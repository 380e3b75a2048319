"""Images of a server that only has files: catalogues in the simplestreams format and what they name."""

from collections.abc import AsyncIterator
from urllib.parse import quote

from aiohttp import StreamReader

from hutch.errors import HutchError, Invalid
from hutch.image import simplestreams
from hutch.image.simplestreams import Entry
from hutch.service.image_import import Upload
from hutch.service.image_server import ImageServer, Offer
from hutch.service.images import architectures


class Driver(ImageServer):
    """What arrives is at most as long as the catalogue says, and right when the fingerprint is the catalogue's."""

    _entry: Entry

    async def find(self) -> Offer:
        index = await self.document(f"{self.address}/{simplestreams.INDEX}")
        known: list[Entry] = []
        for path in simplestreams.documents(index):
            known += simplestreams.entries(await self.document(self._url(path)))
        self._entry = simplestreams.choose(known, self.source.fingerprint or self.source.alias, architectures())
        filename = self._entry.files[-1].path.rpartition("/")[2]
        return Offer(
            fingerprint=self._entry.fingerprint,
            size=self._entry.size,
            filename=filename,
            public=True,
            properties=self._entry.properties,
        )

    def _url(self, path: str) -> str:
        return f"{self.address}/{quote(path)}"

    async def fetch(self, offer: Offer, upload: Upload) -> None:
        arrived = upload.arrived
        for file, target in zip(self._entry.files, (arrived.main, arrived.rootfs), strict=False):
            async with self.session.get(self._url(file.path)) as answer:
                if answer.status != 200:
                    raise HutchError(f"{self.source.server} does not give {file.path}: status {answer.status}")
                await upload.digest.receive(_at_most(answer.content, file.size, file.path), target)


async def _at_most(content: StreamReader, size: int, name: str) -> AsyncIterator[bytes]:
    left = size
    async for chunk in content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise Invalid(f"{name} is longer than the {size} bytes that the server's catalogue tells")
        yield chunk
