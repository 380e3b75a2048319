"""Lines over a number, as SVG: small enough to be kept beside the tables, readable on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 360, 60, 150, 20, 45
_COLOURS = ("#2f6fb0", "#c2552d", "#3b8f4a", "#8a5fb0", "#8c7a1f")


@dataclass(frozen=True)
class Line:
    label: str
    points: Sequence[tuple[float, float]]


def plot(lines: Sequence[Line], across: str, up: str) -> str:
    """An SVG document; both axes begin at 0."""
    most_x = max((x for line in lines for x, _ in line.points), default=1)
    most_y = _round_up(max((y for line in lines for _, y in line.points), default=1))
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + wide * x / most_x, _TOP + high * (1 - y / most_y)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for step in range(5):
        x, y = most_x * step / 4, most_y * step / 4
        (left, level), (column, foot) = place(0, y), place(x, 0)
        parts += [
            f'<path d="M{left:.1f} {level:.1f}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>',
            f'<text x="{left - 6:.1f}" y="{level + 4:.1f}" text-anchor="end">{y:g}</text>',
            f'<text x="{column:.1f}" y="{foot + 16:.1f}" text-anchor="middle">{x:g}</text>',
        ]
    parts += [
        f'<text x="{_LEFT + wide / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>',
        f'<text x="14" y="{_TOP + high / 2}" text-anchor="middle" transform="rotate(-90 14 {_TOP + high / 2})">{escape(up)}</text>',
    ]
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line.points))
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{_WIDTH - _RIGHT + 10}" y="{_TOP + 14 + 18 * number}" fill="{colour}">{escape(line.label)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _round_up(value: float) -> float:
    """The next of 1, 2, 4 or 10 times a power of ten."""
    power = 1.0
    while power * 10 < value:
        power *= 10
    return next(step * power for step in (1, 2, 4, 10) if step * power >= value)
