"""Draws a distribution as horizontal bars in SVG: text that any browser shows, as wide as a phone."""

from pipeline.quality.escaping import in_svg
from pipeline.quality.figures import Distribution

WIDTH, ROW, TOP = 360, 24, 34  # pixels of the drawing, which scales to where it is shown
LABELS, VALUES = 118, 64  # of the width: on the left, on the right
MOST_LABEL = 17  # characters that fit there
SPACE = "http://www.w3.org/2000/svg"
LOOK = 'role="img" font-family="sans-serif" font-size="12" fill="#222"'


def bars(distribution: Distribution) -> str:
    """Return the SVG of a distribution: the longest bar is the largest value; none is negative."""
    top = max((value for _, value in distribution.bars), default=0) or 1
    height = TOP + ROW * len(distribution.bars) + 8
    title = in_svg(f"{distribution.title} ({distribution.unit})")
    lines = [
        f'<svg xmlns="{SPACE}" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" {LOOK}>',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="20" font-weight="bold">{title}</text>',
    ]
    for number, (label, value) in enumerate(distribution.bars):
        y = TOP + ROW * number
        length = (WIDTH - LABELS - VALUES) * value / top
        lines += [
            f'<text x="{LABELS - 6}" y="{y + 14}" text-anchor="end">{in_svg(label, most=MOST_LABEL)}</text>',
            f'<rect x="{LABELS}" y="{y + 3}" width="{length:.1f}" height="{ROW - 8}" fill="#3b6ea5"/>',
            f'<text x="{LABELS + length + 5:.1f}" y="{y + 14}">{_number(value)}</text>',
        ]
    return "\n".join((*lines, "</svg>", ""))


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,.3f}"
