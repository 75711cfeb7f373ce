"""`docs/performance.md`: every figure of one run of the harness, plots of time and memory, and what to make of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import plots
from tests.bench.driver import REPEATS, Measured
from tests.bench.report import Found, Verdict, verdicts
from tests.bench.trials import TRIALS

PLOTTED = ("requests", "ingest", "score", "index")
NOTES = Path(__file__).with_name("notes.md")  # written by hand: why a bound is missed, and what the figures say

_HEAD = """\
# Performance

Written by `make bench`; do not edit (the notes are `tests/bench/notes.md`). Each trial runs up to three ways on copies
of one generated workspace, each run in a fresh process, alternated; given is the median of {repeats} (naive ways above
10,000 rows: one):

- **product**: the product's functions with every guarantee on: sealed and synced files, claims, leases, validation,
  provenance, account, `synchronous=FULL`;
- **naive**: what a good engineer in a hurry writes: an ORM, a session and commit for each ingested row, `json`, nested
  models, whole files in memory, commits that do not wait (`synchronous=NORMAL`) except for the vector cache;
- **limit**: one process that does the least for the same rows: no validation, one transaction, no waiting for the disk
  of a database.

Results are compared row by row before a time counts. Imports are not measured. Wall and CPU (user and system) are of
the work alone; peak is `VmHWM` of the process with libraries and prepared input; anon is memory of no file, sampled
every 20 ms. The page cache is warm. Ratios hold within one run, most within one trial.
"""


def write(found: Found, folder: Path) -> Path:
    """Write the page and its plots into a folder, and return the page."""
    pictures = folder / "performance"
    pictures.mkdir(parents=True, exist_ok=True)
    page = folder / "performance.md"
    page.write_text(text(found, pictures), encoding="utf-8")
    return page


def text(found: Found, pictures: Path) -> str:
    """Return the page; its plots are written into `pictures`."""
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.machine.items())
    parts = [_HEAD.format(repeats=REPEATS), f"Made {found.made_at[:10]} on: {machine}.\n", _targets(verdicts(found))]
    if NOTES.is_file():
        parts.append(NOTES.read_text(encoding="utf-8"))
    parts.append(_plots(found, pictures))
    parts.append(_figures(found))
    return "\n".join(part for part in parts if part)


def _targets(told: list[Verdict]) -> str:
    lines = ["## Targets", "", "Trial, ratio, rows: found (by CPU) against its bound.", ""]
    for one in told:
        cpu = f" ({one.cpu_ratio:.2f})" if one.cpu_ratio is not None else ""
        word = "met" if one.met else "**missed**"
        lines.append(f"- `{one.trial}` {one.says}, {one.rows:,}: {one.ratio:.2f}{cpu}, {one.bound}, {word}")
    return "\n".join([*lines, ""])


def _plots(found: Found, pictures: Path) -> str:
    """Write the plots of time and memory over rows, and return the part of the page that shows them."""
    lines = ["## Time and memory over the number of rows", ""]
    for name in PLOTTED:
        ordered = sorted(found.trials.get(name, {}).items())
        for measure, unit, divisor in (("wall", "s", 1.0), ("anon", "MB", 1e6)):
            points = {way: _line(ordered, way, measure, divisor) for way in TRIALS[name].ways}
            drawn = {way: line for way, line in points.items() if line and all(y > 0 for _, y in line)}
            if not drawn:
                continue
            title = f"{TRIALS[name].title}: {'wall time' if measure == 'wall' else 'anonymous memory'}"
            path = pictures / f"{name}-{'time' if measure == 'wall' else 'memory'}.svg"
            path.write_text(plots.svg(title, unit, drawn), encoding="utf-8")
            lines.append(f"![{path.stem}](performance/{path.name})")
    return "\n".join([*lines, ""])


def _line(
    ordered: Sequence[tuple[int, Mapping[str, Measured]]], way: str, measure: str, divisor: float
) -> list[tuple[float, float]]:
    return [(rows, ways[way].median(measure) / divisor) for rows, ways in ordered if way in ways]


def _figures(found: Found) -> str:
    """Return every time and every amount of memory as tables, a row for each way and a column for each size."""
    lines = ["## Figures", "", "A column for each number of rows: wall/CPU seconds, peak/anon MB; * ran once.", ""]
    for name, sizes in found.trials.items():
        counts = sorted(sizes)
        rows = [["", *(f"{count:,}" for count in counts)]]
        rows += [
            [way, *(_cell(sizes[count][way]) if way in sizes[count] else "" for count in counts)]
            for way in dict.fromkeys(way for count in counts for way in sizes[count])
        ]
        lines += [f"### {TRIALS[name].title} (`{name}`)", "", "```text", *_aligned(rows), "```", ""]
    return "\n".join(lines)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(one: Measured) -> str:
    times, memory = (one.median("wall"), one.median("cpu")), (one.median("peak") / 1e6, one.median("anon") / 1e6)
    once = "*" if len(one.wall) == 1 else ""
    return f"{times[0]:.4g}/{times[1]:.4g}{once} {memory[0]:.0f}/{memory[1]:.0f}"
