"""What was found: one JSON document, and `docs/performance.md`: every figure, plots, and what to make of them."""

import json
import os
import platform
import sqlite3
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import plots
from tests.bench.driver import REPEATS, Measured
from tests.bench.trials import BETWEEN, TRIALS, At, Target

LIBRARIES = ("sqlalchemy", "orjson", "pydantic", "numpy", "faiss-cpu", "google-genai", "click", "wordllama")
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


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def machine() -> dict[str, Any]:
    """Return what it ran on: processor, cores, how busy they were, memory, and the versions that matter."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "memory_gib": round(memory / 2**20),
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in LIBRARIES},
    }


@dataclass
class Found:
    """Everything measured: trial -> rows -> way, and on what machine it was."""

    trials: dict[str, dict[int, dict[str, Measured]]] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=machine)
    made_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def read(cls, folder: Path) -> "Found":
        """Return what an earlier run wrote into a folder; nothing where there is none."""
        path = folder / "bench.json"
        if not path.is_file():
            return cls()
        said = json.loads(path.read_text(encoding="utf-8"))
        found = cls(machine=said["machine"], made_at=said["made_at"])
        for name, sizes in said["trials"].items():
            for count, ways in sizes.items():
                found.add(name, int(count), {way: Measured(**one) for way, one in ways.items()})
        return found

    def add(self, name: str, count: int, measured: dict[str, Measured]) -> None:
        """Keep one trial at one size."""
        self.trials.setdefault(name, {})[count] = measured

    def value(self, name: str, at: At, measure: str) -> float | None:
        """Return the median of a measure, or None where it was not measured."""
        measured = self.trials.get(name, {}).get(at[1], {}).get(at[0])
        return measured.median(measure) if measured and getattr(measured, measure) else None


@dataclass(frozen=True)
class Verdict:
    """One target, and what was found: the ratio, that of CPU beside it, and whether the bound holds."""

    trial: str
    says: str
    rows: int
    bound: str
    ratio: float
    cpu_ratio: float | None
    met: bool


def verdicts(found: Found) -> list[Verdict]:
    """Return every target for which both sides were measured."""
    wanted = [(name, name, target) for name, trial in TRIALS.items() for target in trial.targets]
    told = [_verdict(found, over, under, target) for over, under, target in (*wanted, *BETWEEN)]
    return [one for one in told if one is not None]


def _verdict(found: Found, over: str, under: str, target: Target) -> Verdict | None:
    """Return a target's verdict; None where one side is missing."""

    def ratio(measure: str) -> float | None:
        """Return one side divided by the other."""
        above = found.value(over, target.over, measure)
        below = found.value(under, target.under, target.below or measure)
        return above / below if above is not None and below else None

    if (seen := ratio(target.measure)) is None:
        return None
    cpu = ratio("cpu") if target.measure == "wall" else None
    if target.least is not None:
        return Verdict(over, target.says, target.over[1], f"≥ {target.least:g}", seen, cpu, seen >= target.least)
    assert target.most is not None
    return Verdict(over, target.says, target.over[1], f"≤ {target.most:g}", seen, cpu, seen <= target.most)


def document(found: Found) -> dict[str, Any]:
    """Return everything as one JSON document."""
    return {
        "made_at": found.made_at,
        "machine": found.machine,
        "trials": {
            name: {str(count): {way: asdict(one) for way, one in ways.items()} for count, ways in sizes.items()}
            for name, sizes in found.trials.items()
        },
        "targets": [asdict(one) for one in verdicts(found)],
    }


def write(found: Found, folder: Path) -> None:
    """Write `bench.json`, anew after every trial, so that a run that is ended keeps what it measured."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(document(found), indent=1), encoding="utf-8")


def write_page(found: Found, folder: Path) -> Path:
    """Write the page and its plots into a folder, and return the page."""
    pictures = folder / "performance"
    pictures.mkdir(parents=True, exist_ok=True)
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.machine.items())
    parts = [_HEAD.format(repeats=REPEATS), f"Made {found.made_at[:10]} on: {machine}.\n", targets(found)]
    parts += [NOTES.read_text(encoding="utf-8"), _plots(found, pictures), figures(found)]
    page = folder / "performance.md"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def targets(found: Found) -> str:
    """Return every target with what was found of it."""
    lines = ["## Targets", "", "Trial, ratio, rows: found (by CPU) against its bound.", ""]
    for one in verdicts(found):
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
            medians = {
                way: [(rows, ways[way].median(measure) / divisor) for rows, ways in ordered if way in ways]
                for way in TRIALS[name].ways
            }
            drawn = {way: line for way, line in medians.items() if line and all(y > 0 for _, y in line)}
            if not drawn:
                continue
            title = f"{TRIALS[name].title}: {'wall time' if measure == 'wall' else 'anonymous memory'}"
            path = pictures / f"{name}-{'time' if measure == 'wall' else 'memory'}.svg"
            path.write_text(plots.svg(title, unit, drawn), encoding="utf-8")
            lines.append(f"![{path.stem}](performance/{path.name})")
    return "\n".join([*lines, ""])


def figures(found: Found) -> str:
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
        if TRIALS[name].told:
            last = sizes[counts[-1]]
            lines += [*(f"- {way}: {_outcome(one)}" for way, one in last.items()), ""]
    return "\n".join(lines)


def _outcome(one: Measured) -> str:
    """Return what came of a way, as it says it of itself."""
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in one.outcome.items()
    )


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(one: Measured) -> str:
    times, memory = (one.median("wall"), one.median("cpu")), (one.median("peak") / 1e6, one.median("anon") / 1e6)
    once = "*" if len(one.wall) == 1 else ""
    return f"{times[0]:.4g}/{times[1]:.4g}{once} {memory[0]:.0f}/{memory[1]:.0f}"
