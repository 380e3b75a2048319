"""How fast a link sends: one token bucket as its root queue, through iproute2's tc."""

from hutch.kernel.run import run

_LATENCY, _LEAST_BURST = "50ms", 128 * 1024


async def shape(link: str, rate: int) -> None:
    """Let the link send at most `rate` bits a second; 0 takes the limit away."""
    if not rate:
        await run(["tc", "qdisc", "delete", "dev", link, "root"], ok=(0, 1, 2))
        return
    # A hundredth of a second at full speed, and never less than the largest packet of a veth.
    burst = max(_LEAST_BURST, rate // 800)
    bucket = ["rate", f"{rate}bit", "burst", f"{burst}b", "latency", _LATENCY]
    await run(["tc", "qdisc", "replace", "dev", link, "root", "tbf", *bucket])
