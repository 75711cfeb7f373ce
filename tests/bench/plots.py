"""A plot as SVG, drawn here so that measuring needs no further library: lines over rows, both axes logarithmic."""

import math
from collections.abc import Mapping, Sequence
from html import escape

Line = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 140, 30, 40  # margins; the legend stands at the right
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e6bbf", "#b7791f")  # told apart also by people who see few colours
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")


def svg(title: str, unit: str, lines: Mapping[str, Line]) -> str:
    """Return a plot of (rows, value) points by name; there must be a point, and no value of 0."""
    xs = [x for line in lines.values() for x, _ in line]
    ys = [y for line in lines.values() for _, y in line]
    across = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _Axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        '<g font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{escape(title)}</text>',
        *_grid(across, up, unit),
    ]
    for number, (name, line) in enumerate(lines.items()):
        parts += _drawn(name, line, number, across, up)
    return "\n".join([*parts, "</g>", "</svg>", ""])


class _Axis:
    """A logarithmic axis: values between powers of ten to places on the page."""

    def __init__(self, least: float, most: float, begin: float, end: float) -> None:
        """Take whole powers of ten below and above."""
        self.low = math.floor(math.log10(least))
        self.high = max(math.ceil(math.log10(most)), self.low + 1)
        self.ticks = [10.0**power for power in range(self.low, self.high + 1)]
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        """Return where a value stands."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self._begin + share * (self._end - self._begin)


def _grid(across: _Axis, up: _Axis, unit: str) -> list[str]:
    parts = []
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in across.ticks:
        x = across.at(tick)
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:,.0f}</text>')
    for tick in up.ticks:
        y = up.at(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.10g} {escape(unit)}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">rows</text>')
    return parts


def _drawn(name: str, line: Line, number: int, across: _Axis, up: _Axis) -> list[str]:
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
    points = [(across.at(x), up.at(y)) for x, y in line]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
    y, x = TOP + 8 + 18 * number, WIDTH - RIGHT + 10
    return [
        f'<polyline points="{path}" fill="none" {style}/>',
        *(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in points),
        f'<path d="M{x} {y}h18" {style}/><text x="{x + 22}" y="{y + 4}">{escape(name)}</text>',
    ]
