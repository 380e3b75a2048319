"""Everything that can go wrong, by what the caller can do about it.

HutchError                 500  a failure with a sentence for the user
├── Invalid                400  the request must be changed
├── Forbidden              403  the caller may not do this
├── NotFound               404  the thing named does not exist
├── Conflict               409  the state of a thing stands in the way
│   └── AlreadyExists      409  the name is taken
├── PreconditionFailed     412  the thing changed since it was read
├── TooLarge               413  the request is longer than is taken
├── Unsupported            501  this host or driver cannot do it
├── Unavailable            503  try again later, or elsewhere
├── ToolFailed             500  a program that hutch runs failed
└── Cancelled              400  the caller, or the end of the daemon, stopped the work
"""

from collections.abc import Sequence


class HutchError(Exception):
    """A failure with a sentence for the user. `status` is the HTTP code it maps to."""

    status = 500


class Invalid(HutchError):
    status = 400


class Forbidden(HutchError):
    status = 403


class NotFound(HutchError):
    status = 404


class Conflict(HutchError):
    status = 409


class AlreadyExists(Conflict):
    pass


class PreconditionFailed(HutchError):
    status = 412


class TooLarge(HutchError):
    status = 413


class Unsupported(HutchError):
    status = 501


class Unavailable(HutchError):
    status = 503


class Cancelled(HutchError):
    status = 400


class ToolFailed(HutchError):
    """A program ended with a status that was not expected, or ran out of time.

    `argv` is the command, `code` its exit status (negative: the signal that ended it), `stderr` its last lines.
    """

    def __init__(self, argv: Sequence[str], code: int, stderr: str) -> None:
        self.argv, self.code, self.stderr = list(argv), code, stderr.strip()
        last = self.stderr.splitlines()[-1] if self.stderr else "no message"
        super().__init__(f"{argv[0]} failed with status {code}: {last}")
