"""/1.0/certificates"""

from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.answers.certificate import Certificate
from hutch.schema.certificate import CertificatePost, CertificatePut
from hutch.service import certificates
from hutch.work.operations import Operation

routes = Routes(scoped=False, reads=Permission.TRUSTED, writes=Permission.TRUSTED)
"""A restricted client knows and changes its own certificate only: see `service/certificates.py`."""


@routes("GET", "/1.0/certificates", gives=list[Certificate])
async def list_all(request: Request) -> Any:
    records = certificates.known(request.parts, request.caller)
    return request.listing(records, certificates.document, lambda record: f"/1.0/certificates/{record.fingerprint}")


@routes("POST", "/1.0/certificates", needs=Permission.EVERYBODY)
async def post(request: Request, wanted: CertificatePost) -> Operation | Created:
    """For a new client by token or password, for others by whoever may do everything."""
    if wanted.token and request.caller.is_admin:
        return await certificates.issue(request.parts, wanted)
    record = await certificates.add(request.parts, request.caller, wanted)
    return Created(f"/1.0/certificates/{record.fingerprint}")


@routes("GET", "/1.0/certificates/{fingerprint}", gives=Certificate)
async def get(request: Request) -> Tagged:
    record = certificates.find(request.parts, request.caller, request["fingerprint"])
    return Tagged(certificates.document(record), certificates.editable(record))


async def _put(request: Request, wanted: CertificatePut) -> None:
    await certificates.put(
        request.parts,
        request.caller,
        request["fingerprint"],
        wanted,
        lambda record: request.match_etag(certificates.editable(record)),
    )


@routes("PUT", "/1.0/certificates/{fingerprint}")
async def put(request: Request, wanted: CertificatePut) -> None:
    await _put(request, wanted)


@routes("PATCH", "/1.0/certificates/{fingerprint}")
async def patch(request: Request, wanted: CertificatePut) -> None:
    await _put(request, wanted)


@routes("DELETE", "/1.0/certificates/{fingerprint}")
async def delete(request: Request) -> None:
    await certificates.delete(request.parts, request.caller, request["fingerprint"])
