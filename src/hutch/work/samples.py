"""Samples of metrics as Prometheus reads them, and the last ones that were taken."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Samples:
    """Lines of samples by metric, as Prometheus reads them."""

    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items() if text)
        self.lines.setdefault(name, []).append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@dataclass
class Measured:
    """The last measurement: of guests by project."""

    taken: float = float("-inf")
    guests: dict[str, Samples] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
