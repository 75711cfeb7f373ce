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

Written by `make bench` (do not edit; what is written by hand stands in `tests/bench/notes.md`). Each trial is done up
to three ways on copies of one generated workspace, every run in a fresh process, the ways alternated, and the median of
{repeats} is given (naive ways of the chain once above 10,000 rows):

- **product**: through the product's own steps and public functions, with every guarantee on: sealed and synced files,
  claims, leases, validation, provenance, account, `synchronous=FULL`;
- **naive**: what a good engineer in a hurry writes: an ORM, to ingest a session and a commit for each row, `json` and
  nested models, whole files in memory. Its commits do not wait for the disk (`synchronous=NORMAL`), in its favour, but
  for the blobs that the vector cache is held against;
- **limit**: one process that does the least that makes the same rows: no validation, one transaction, no waiting for
  the disk where a database is written.

What the ways made, where there is more than one, is compared row by row before a time is believed: request lines
(parsed) and claims; tags, scores, answers, attempts, claims and the account of the batch; metadata and vectors of the
index. Imports are not measured. Wall and CPU time (user and system) are of the work alone; peak is `VmHWM` of the whole
process, libraries and what was prepared included, and anon what of it is no file's (looked at every 20 ms). The page
cache is warm. Ratios hold within one run, and but for those of a first and a second pass within one trial.
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
    """Return the table of targets."""
    lines = ["## Targets", "", "| trial | ratio | rows | bound | found | of CPU | |", "|---|---|---|---|---|---|---|"]
    for one in told:
        cpu = f"{one.cpu_ratio:.2f}" if one.cpu_ratio is not None else ""
        word = "met" if one.met else "**missed**"
        title = TRIALS[one.trial].title
        lines.append(f"| {title} | {one.says} | {one.rows:,} | {one.bound} | {one.ratio:.2f} | {cpu} | {word} |")
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
            lines.append(f"![{title}](performance/{path.name})")
    return "\n".join([*lines, ""])


def _line(
    ordered: Sequence[tuple[int, Mapping[str, Measured]]], way: str, measure: str, divisor: float
) -> list[tuple[float, float]]:
    """Return (rows, median) of one way at every size it was run at."""
    return [(rows, ways[way].median(measure) / divisor) for rows, ways in ordered if way in ways]


def _figures(found: Found) -> str:
    """Return every time and every amount of memory as tables."""
    lines = ["## Figures", ""]
    for name, sizes in found.trials.items():
        lines += [f"### {TRIALS[name].title} (`{name}`)", ""]
        lines += ["| way | rows | wall s | CPU s | peak MB | anon MB | runs |", "|---|---|---|---|---|---|---|"]
        for count, ways in sorted(sizes.items()):
            for way, one in ways.items():
                wall, cpu = one.median("wall"), one.median("cpu")
                peak, anon = one.median("peak") / 1e6, one.median("anon") / 1e6
                lines.append(
                    f"| {way} | {count:,} | {wall:.4g} | {cpu:.4g} | {peak:.0f} | {anon:.0f} | {len(one.wall)} |"
                )
        lines.append("")
    return "\n".join(lines)
