"""Operations, as the API shows them."""

from datetime import datetime
from typing import Any

import msgspec

from hutch.schema.answers.base import Answer


class Operation(Answer):
    """Long work: `status_code` below 200 runs, 200 succeeded, 400 failed (`err` says why), 401 was cancelled."""

    id: str
    kind: str = msgspec.field(name="class")
    description: str
    created_at: datetime
    updated_at: datetime
    status: str
    status_code: int
    resources: dict[str, list[str]]
    metadata: dict[str, Any] | None
    may_cancel: bool
    err: str
    location: str
