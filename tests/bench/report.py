"""What was found: a table of times and ratios for people, and one JSON document for programs."""

import json
import os
import platform
import sqlite3
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.driver import Measured
from tests.bench.trials import BETWEEN, TRIALS, At, Target

LIBRARIES = ("sqlalchemy", "orjson", "pydantic", "numpy", "faiss-cpu", "google-genai", "click", "wordllama")
UNITS = {"wall": 1, "cpu": 1, "peak": 1e6, "anon": 1e6}


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
        return measured.median(measure) if measured else None


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
    told = [
        one
        for name, trial in TRIALS.items()
        for target in trial.targets
        if (one := _verdict(found, name, name, target)) is not None
    ]
    for says, over, under, rows, most in BETWEEN:
        target = Target(says, ("product", rows), ("product", rows), most=most)
        one = _verdict(found, over, under, target)
        told += [one] if one else []
    return told


def _verdict(found: Found, over_name: str, under_name: str, target: Target) -> Verdict | None:
    """Return a target's verdict; None where one side is missing."""
    over = found.value(over_name, target.over, target.measure)
    under = found.value(under_name, target.under, target.measure)
    if over is None or not under:
        return None
    ratio, bound = over / under, target.least if target.least is not None else target.most
    assert bound is not None
    cpu = None
    if target.measure == "wall":
        cpu_over, cpu_under = (
            found.value(n, a, "cpu") for n, a in ((over_name, target.over), (under_name, target.under))
        )
        cpu = cpu_over / cpu_under if cpu_over is not None and cpu_under else None
    met = ratio >= bound if target.least is not None else ratio <= bound
    sign = "≥" if target.least is not None else "≤"
    return Verdict(over_name, target.says, target.over[1], f"{sign} {bound:g}", ratio, cpu, met)


def table(found: Found) -> str:
    """Return all times and all verdicts as text."""
    lines = [f"{'':34} {'rows':>8}  {'wall s':>9} {'CPU s':>9} {'peak MB':>8} {'anon MB':>8}  runs", ""]
    for name, sizes in found.trials.items():
        lines.append(f"{name}: {TRIALS[name].title}")
        for count, ways in sizes.items():
            for way, one in ways.items():
                wall, cpu = one.median("wall"), one.median("cpu")
                peak, anon = one.median("peak") / 1e6, one.median("anon") / 1e6
                lines.append(
                    f"  {way:32} {count:>8,}  {wall:>9.4f} {cpu:>9.4f} {peak:>8.0f} {anon:>8.0f}  {len(one.wall)}"
                )
    lines += ["", f"{'target':52} {'rows':>8}  {'bound':>7} {'found':>8} {'of CPU':>8}"]
    lines += [_told(one) for one in verdicts(found)]
    return "\n".join(lines) + "\n"


def _told(one: Verdict) -> str:
    cpu = f"{one.cpu_ratio:8.2f}" if one.cpu_ratio is not None else " " * 8
    word = "met" if one.met else "MISSED"
    return f"{f'{one.trial}: {one.says}':52} {one.rows:>8,}  {one.bound:>7} {one.ratio:8.2f} {cpu}  {word}"


def document(found: Found) -> dict[str, Any]:
    """Return everything as one JSON document."""
    return {
        "made_at": found.made_at,
        "machine": found.machine,
        "trials": {
            name: {
                str(count): {way: {m: getattr(one, m) for m in UNITS} for way, one in ways.items()}
                for count, ways in sizes.items()
            }
            for name, sizes in found.trials.items()
        },
        "targets": [asdict(one) for one in verdicts(found)],
    }


def write(found: Found, folder: Path) -> None:
    """Write `bench.json`, anew after every trial, so that a run that is ended keeps what it measured."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(document(found), indent=1), encoding="utf-8")
