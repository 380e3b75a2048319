"""What every server of images does, and how it is reached: by HTTPS, known by its certificate or by the host's authorities."""

import asyncio
import hashlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import aiohttp

from hutch import __version__
from hutch.errors import HutchError, Invalid, NotFound, Unavailable
from hutch.schema.image import ImageSource
from hutch.service.image_import import Upload

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
_DOCUMENT = 64 << 20


@dataclass(frozen=True)
class Offer:
    """An image as its server describes it. `size` is in bytes, 0 when it is not known."""

    fingerprint: str
    size: int = 0
    filename: str = ""
    public: bool = False
    properties: dict[str, str] = field(default_factory=dict)
    profiles: list[str] = field(default_factory=list)


class ImageServer(ABC):
    """A server, and the image on it that `source` names by alias or fingerprint."""

    def __init__(self, session: aiohttp.ClientSession, source: ImageSource) -> None:
        self.session, self.source = session, source
        self.address = source.server.rstrip("/")

    @abstractmethod
    async def find(self) -> Offer:
        """What the name stands for now. NotFound when the server has no such image for this host."""

    @abstractmethod
    async def fetch(self, offer: Offer, upload: Upload) -> None:
        """Write the image's files; whether they are the right ones is the caller's to check by their fingerprint."""

    async def document(self, url: str) -> bytes:
        """A document, of a size that fits into memory."""
        async with self.session.get(url) as answer:
            if answer.status != 200:
                raise HutchError(f"{url} is answered with status {answer.status}")
            data = await answer.content.read(_DOCUMENT)
            while len(data) < _DOCUMENT and (more := await answer.content.read(_DOCUMENT - len(data))):
                data += more
            if len(data) >= _DOCUMENT:
                raise Invalid(f"{url} is too large")
            return data


@asynccontextmanager
async def session(source: ImageSource) -> AsyncIterator[aiohttp.ClientSession]:
    """HTTPS to the source's server."""
    connector = aiohttp.TCPConnector(ssl=await asyncio.to_thread(_trust, source.certificate))
    headers = {"User-Agent": f"hutch {__version__}"}
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, headers=headers) as made:
        yield made


def _trust(certificate: str) -> aiohttp.Fingerprint | ssl.SSLContext:
    """The server must show this very certificate (PEM), or, when none is given, one that the host's authorities signed."""
    if not certificate:
        return ssl.create_default_context()
    try:
        return aiohttp.Fingerprint(hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest())
    except ValueError as error:
        raise Invalid(f"the server's certificate is no PEM: {error}") from error


@contextmanager
def named_errors(source: ImageSource, what: str = "fetched from") -> Iterator[None]:
    """What goes wrong on the way is told with the server's name."""
    try:
        yield
    except aiohttp.ServerFingerprintMismatch as error:
        raise Invalid(f"{source.server} has another certificate than the one that was given") from error
    except NotFound as error:
        raise NotFound(f"{source.server}: {error}") from error
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"the image cannot be {what} {source.server}: {error or 'no answer'}") from error
