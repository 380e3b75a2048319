"""Servers by name: where they are, how they are known again, and who we are to them.

Kept in $HUTCH_CONF, else ~/.config/hutch: `config.json` with the remotes and the default one, `servercerts/NAME.crt` with the
certificate that each had when it was added, `client.crt` and `client.key` with our own identity.
"""

import base64
import hashlib
import http.client
import json
import os
import ssl
from pathlib import Path
from typing import Any

from hutch import errors

LOCAL = "local"
PROTOCOLS = ("lxd", "simplestreams")
PORT = 8443


class TlsConnection(http.client.HTTPConnection):
    """http.client's own class for HTTPS is not there when that was loaded without ssl (cli/main.py)."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, blocksize=1 << 20)
        self.context = context

    def connect(self) -> None:
        super().connect()
        self.sock = self.context.wrap_socket(self.sock)


class Remote:
    """A server over HTTPS. `certificate` is the one it must show, PEM."""

    def __init__(self, name: str, address: str, certificate: str, identity: tuple[Path, Path]) -> None:
        self.name, self.address, self.certificate, self.identity = name, address, certificate, identity
        host, _, port = address.removeprefix("https://").rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)

    def context(self) -> ssl.SSLContext:
        """TLS that accepts this certificate and no other, whatever name is in it, and shows ours."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=self.certificate)
        context.load_cert_chain(*self.identity)
        return context

    def connection(self) -> TlsConnection:
        return TlsConnection(self.host, self.port, self.context())


class Remotes:
    """The file of remotes. `local` is the daemon's Unix socket, always there and never written."""

    def __init__(self, folder: Path | None = None) -> None:
        home = os.environ.get("HUTCH_CONF") or Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "hutch")
        self.folder = folder or Path(home).expanduser()
        self.path = self.folder / "config.json"
        try:
            found: dict[str, Any] = json.loads(self.path.read_text())
        except FileNotFoundError:
            found = {}
        except ValueError as error:
            raise errors.Invalid(f"{self.path} is not JSON: {error}") from error
        self.default: str = os.environ.get("HUTCH_REMOTE") or found.get("default") or LOCAL
        self.addresses: dict[str, str] = found.get("remotes") or {}
        self.projects: dict[str, str] = found.get("projects") or {}
        self.images: dict[str, str] = found.get("images") or {}

    def names(self) -> list[str]:
        return sorted([LOCAL, *self.addresses])

    def get(self, name: str) -> Remote | None:
        """The remote, None for `local`; NotFound for one that is not known."""
        if name == LOCAL:
            return None
        if name not in self.addresses:
            raise errors.NotFound(f"there is no remote {name!r}; `hutch remote list` shows those there are")
        if name in self.images:
            raise errors.Invalid(f"the remote {name!r} only has images, as in `hutch launch {name}:IMAGE`")
        return Remote(name, self.addresses[name], self._pinned(name).read_text(), self.identity())

    def stranger(self, name: str) -> Remote:
        """A server that only has images for us, though it speaks our protocol."""
        return Remote(name, self.addresses[name], self._pinned(name).read_text(), self.identity())

    def protocol_of(self, name: str) -> str:
        """How the remote is spoken to: `lxd`, or another protocol of one that only has images."""
        return self.images.get(name, PROTOCOLS[0])

    def has_only_images(self, name: str) -> bool:
        return name in self.images

    def image_source(self, name: str) -> dict[str, str]:
        """How a daemon reaches the remote for an image: the members that are the same for all its images."""
        pinned = self._pinned(name)
        return {
            "type": "image",
            "mode": "pull",
            "server": self.addresses[name],
            "protocol": self.protocol_of(name),
            "certificate": pinned.read_text() if pinned.exists() else "",
        }

    def add_images(self, name: str, address: str, protocol: str, certificate: str) -> None:
        """A remote that only has images; without a certificate the host's authorities say whether it is the one."""
        self.check_new(name)
        self.images[name], self.addresses[name] = protocol, address
        if certificate:
            self._pinned(name).parent.mkdir(parents=True, exist_ok=True)
            self._pinned(name).write_text(certificate)
        self.save()

    def project_of(self, name: str) -> str:
        """The project that commands work in on this remote when none is given."""
        return self.projects.get(name, "default")

    def work_in(self, name: str, project: str) -> None:
        self.projects[name] = project
        self.save()

    def move(self, name: str, address: str, certificate: str) -> None:
        """A remote is somewhere else now."""
        self._own(name)
        self.addresses[name] = address
        self._pinned(name).write_text(certificate)
        self.save()

    def add(self, name: str, address: str, certificate: str) -> None:
        self.check_new(name)
        self._pinned(name).parent.mkdir(parents=True, exist_ok=True)
        self._pinned(name).write_text(certificate)
        self.addresses[name] = address
        self.save()

    def check_new(self, name: str) -> None:
        if name in self.names():
            raise errors.AlreadyExists(f"there is a remote {name!r} already")
        if not name or set(name) & set("/: ."):
            raise errors.Invalid(f"invalid remote name {name!r}: slashes, colons, dots and spaces are not allowed")

    def remove(self, name: str) -> None:
        self._own(name)
        del self.addresses[name]
        self.projects.pop(name, None)
        self.images.pop(name, None)
        if self.default == name:
            self.default = LOCAL
        self.save()
        self._pinned(name).unlink(missing_ok=True)

    def rename(self, name: str, new: str) -> None:
        self._own(name)
        self.check_new(new)
        if self._pinned(name).exists():
            self._pinned(name).rename(self._pinned(new))
        self.images |= {new: self.images.pop(name)} if name in self.images else {}
        self.addresses[new] = self.addresses.pop(name)
        self.projects |= {new: self.projects.pop(name)} if name in self.projects else {}
        self.default = new if self.default == name else self.default
        self.save()

    def switch(self, name: str) -> None:
        if name not in self.names():
            self.get(name)
        self.default = name
        self.save()

    def _own(self, name: str) -> None:
        if name == LOCAL:
            raise errors.Invalid("the remote 'local' is the daemon of this host and stays as it is")
        if name not in self.images:
            self.get(name)

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {"default": self.default, "remotes": self.addresses, "projects": self.projects, "images": self.images}
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(kept, indent=2) + "\n")
        draft.replace(self.path)

    def _pinned(self, name: str) -> Path:
        return self.folder / "servercerts" / f"{name}.crt"

    def identity(self) -> tuple[Path, Path]:
        """The files of our certificate and key, made on first use."""
        certificate, key = self.folder / "client.crt", self.folder / "client.key"
        if not certificate.exists() or not key.exists():
            from hutch.client.identity import make

            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            make(certificate, key)
        return certificate, key


def full_address(text: str, usual: int = PORT) -> str:
    """`host`, `host:port` or a URL as https://HOST:PORT, with the usual port where there is none."""
    place = text.removeprefix("https://").rstrip("/")
    if "://" in place:
        raise errors.Invalid(f"invalid address {text!r}: https://HOST:PORT is expected")
    bare = place.count(":") > 1 and not place.startswith("[")
    host, _, port = ("", "", "") if bare else place.rpartition(":")
    if bare or not host or not port.isdigit():
        host, port = (f"[{place}]" if bare else place), str(usual)
    return f"https://{host}:{port}"


def shown_certificate(address: str) -> str:
    """The certificate that the server at `address` shows, PEM: to be looked at before it is trusted."""
    remote_host, _, port = address.removeprefix("https://").rpartition(":")
    try:
        return ssl.get_server_certificate((remote_host.strip("[]"), int(port)), timeout=10)
    except (OSError, ValueError) as error:
        raise errors.Unavailable(f"no server answers at {address}: {error}") from error


def fingerprint(certificate: str) -> str:
    """Hex SHA-256 of a PEM certificate's DER form."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def decode_token(text: str) -> dict[str, Any] | None:
    """A trust token's members (client_name, fingerprint, addresses, secret), None when the text is none."""
    try:
        found = json.loads(base64.b64decode(text, validate=True))
    except ValueError:
        return None
    return found if isinstance(found, dict) and "secret" in found else None


def encode_token(metadata: dict[str, Any]) -> str:
    """What is handed to the owner of a new client, from a token operation's metadata."""
    members = {
        "client_name": metadata["request"]["name"],
        "fingerprint": metadata["fingerprint"],
        "addresses": metadata["addresses"],
        "secret": metadata["secret"],
        "expires_at": metadata.get("expiresAt") or "0001-01-01T00:00:00Z",
    }
    return base64.b64encode(json.dumps(members).encode()).decode()
