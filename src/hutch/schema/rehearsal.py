"""Whether a running guest's state can be saved here, and brought back elsewhere."""

import msgspec


class CheckpointHost(msgspec.Struct, frozen=True):
    """What must fit for a guest to go on on a host: two of these are compared."""

    kernel: str = ""
    criu: str = ""
    cpu: list[str] = []
    lxcfs: bool = False


class CheckpointCheck(msgspec.Struct, kw_only=True):
    """`trial`: save the state once, in memory, and let the guest go on. `target` is what the other host says of itself."""

    trial: bool = False
    target: CheckpointHost | None = None
