"""Draw means with their intervals as SVG, which scales to where it is shown."""

from collections.abc import Mapping

from pipeline.core.text import escape_svg
from pipeline.index.lab.intervals import Estimate

WIDTH, ROW, TOP = 480, 26, 34  # pixels
LEFT, RIGHT = 130, 60  # of the width: names, and values
MOST_LABEL = 18  # characters that fit there
SPACE = "http://www.w3.org/2000/svg"
LOOK = 'role="img" font-family="sans-serif" font-size="12" fill="#222"'


def interval_plot(title: str, rows: Mapping[str, Estimate]) -> str:
    """Return a line for each name: its mean as a dot, its interval as a bar, on one scale from zero."""
    height = TOP + ROW * len(rows) + 8
    scale = (WIDTH - LEFT - RIGHT) / (max((row.high for row in rows.values()), default=0) or 1)
    told = escape_svg(title)
    lines = [
        f'<svg xmlns="{SPACE}" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" {LOOK}>',
        f"<title>{told}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="20" font-weight="bold">{told}</text>',
    ]
    for number, (name, row) in enumerate(rows.items()):
        y = TOP + ROW * number + ROW // 2
        low, mean, high = (LEFT + max(0.0, value) * scale for value in (row.low, row.mean, row.high))
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{escape_svg(name, most=MOST_LABEL)}</text>',
            f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="#9bb8d3" stroke-width="6"/>',
            f'<circle cx="{mean:.1f}" cy="{y}" r="4" fill="#3b6ea5"/>',
            f'<text x="{high + 8:.1f}" y="{y + 4}">{row.mean:.3f}</text>',
        ]
    return "\n".join((*lines, "</svg>", ""))
