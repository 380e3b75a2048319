"""Which CPUs guests run on. Those that ask for a number of CPUs are spread evenly over the host's, and anew whenever one
of them starts, ends or changes; a set is taken as it is."""

import os
from collections.abc import Iterator, Mapping, Sequence

from hutch.errors import Invalid, NotFound
from hutch.service.parts import Parts

Key = tuple[str, str]


def numbers(wish: str) -> list[int]:
    """`0-2,5` as numbers."""
    found: set[int] = set()
    for part in wish.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


def spread(wishes: Mapping[Key, str], available: Sequence[int]) -> dict[Key, list[int]]:
    """The CPUs of each guest by its `limits.cpu`; those that ask for most are placed first, on the CPUs that fewest use."""
    load = dict.fromkeys(available, 0)
    found = {key: numbers(wish) for key, wish in wishes.items() if not wish.isdigit()}
    for cpus in found.values():
        for cpu in cpus:
            load[cpu] = load.get(cpu, 0) + 1
    counts = [(key, int(wish)) for key, wish in wishes.items() if wish.isdigit()]
    for key, count in sorted(counts, key=lambda item: (-item[1], item[0])):
        found[key] = sorted(sorted(available, key=lambda cpu: load[cpu])[: max(1, count)])
        for cpu in found[key]:
            load[cpu] += 1
    return found


def here() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def want(parts: Parts, key: Key, wish: str) -> dict[str, str]:
    """Note what a guest that starts, or changes, asks for (empty: nothing); its own setting, where it has one."""
    available = here()
    if wish and not wish.isdigit() and (absent := set(numbers(wish)) - set(available)):
        raise Invalid(f"limits.cpu: this host has no CPU {min(absent)} for the instance {key[1]}")
    if not wish:
        parts.cpus.pop(key, None)
        return {}
    parts.cpus[key] = wish
    return {"cpuset.cpus": _text(spread(parts.cpus, available)[key])}


async def settle(parts: Parts) -> None:
    """Move every guest to its CPUs that is not there yet; one without a limit any more may run on all."""
    for key, cpus in list(_moves(parts)):
        parts.pinned[key] = cpus
        try:
            await parts.runtime.set_limits(*key, {"cpuset.cpus": cpus})
        except NotFound:
            parts.pinned.pop(key, None)
        if key not in parts.cpus:
            parts.pinned.pop(key, None)


def _moves(parts: Parts) -> Iterator[tuple[Key, str]]:
    available = here()
    wanted = {key: _text(cpus) for key, cpus in spread(parts.cpus, available).items()}
    wanted |= {key: _text(available) for key in parts.pinned.keys() - wanted.keys()}
    for key, cpus in wanted.items():
        if parts.pinned.get(key) != cpus and parts.runtime.running(*key) is not None:
            yield key, cpus


async def leave(parts: Parts, key: Key) -> None:
    """A guest has ended: the others may have its CPUs."""
    parts.pinned.pop(key, None)
    if parts.cpus.pop(key, None) is not None:
        await settle(parts)


def _text(cpus: Sequence[int]) -> str:
    return ",".join(map(str, cpus))
