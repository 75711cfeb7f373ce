"""Runs trials: every way in a fresh process on a copy of its workspace, alternated, the median of three.

The same work must come to the same: what each way made is compared before any of its times is believed.
"""

import json
import os
import select
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.grounds import Grounds
from tests.bench.trials import Trial

ROOT = Path(__file__).parents[2]
REPEATS = 3
LOOK_S = 0.02  # between looks at a process's memory


@dataclass
class Measured:
    """One way at one size: seconds of wall and CPU, bytes at the peak, of them anonymous, and `own`: not SQLite's.

    `rest` is the CPU less what the run says that a part of it took.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    anon: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)
    outcome: dict[str, Any] = field(default_factory=dict)

    def median(self, measure: str) -> float:
        """Return the median of one measure."""
        runs: list[float] = getattr(self, measure)
        return statistics.median(runs)


class DifferentError(Exception):
    """Two ways did not come to the same, so their times say nothing."""


def run(
    name: str, trial: Trial, count: int, *, folder: Path, repeats: int, tell: Callable[[str], None]
) -> dict[str, Measured]:
    """Measure every way of a trial with `count` rows; return what was measured by way.

    Raises:
        DifferentError: the ways that must come to the same did not.
        subprocess.CalledProcessError: a way failed; what it said stands on standard error.
    """
    kept = Grounds(folder / "grounds")
    found: dict[str, Measured] = {}
    for turn in range(repeats):
        for way in trial.ways:
            if turn and way in trial.slow and count > trial.once_above:
                continue
            data = folder / "runs" / f"{name}-{count}"
            shutil.rmtree(data, ignore_errors=True)
            kept.copy(trial.ground, count, data)
            one = _measure(trial, way, data)
            shutil.rmtree(data)
            measured = found.setdefault(way, Measured())
            outcome = one.pop("outcome")
            measured.outcome = outcome if trial.told else _same(name, way, measured.outcome, outcome)
            for measure, value in one.items():
                getattr(measured, measure).append(value)
            tell(f"{name} {count:,} {way}: {one['wall']:.3f} s, CPU {one['cpu']:.3f} s, {one['peak'] / 1e6:.0f} MB")
    compared = [way for way in found if way not in trial.apart]
    for way in compared:
        _same(name, way, found[compared[0]].outcome, found[way].outcome)
    return found


def _same(name: str, way: str, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    if before and before != now:
        parts = [part for part in before.keys() | now.keys() if before.get(part) != now.get(part)]
        told = "; ".join(f"{part}: {before.get(part)} and {now.get(part)}" for part in parts)
        raise DifferentError(f"{name}, {way}: not the same result as before: {told}")
    return now


def _measure(trial: Trial, way: str, data: Path) -> dict[str, Any]:
    """Run one way in a fresh process; return its wall, cpu, peak, anon and outcome."""
    line = [
        str(trial.pythons.get(way, sys.executable)),
        "-m",
        "tests.bench.measure",
        trial.ways[way],
        trial.outcome,
        str(data),
    ]
    environ = {**os.environ, **trial.environ}
    with subprocess.Popen(line, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        most = 0
        while not select.select([process.stdout], [], [], LOOK_S)[0]:  # it speaks when the work is done, or it ends
            most = max(most, anonymous_bytes(process.pid))
        said = process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line)
    found: dict[str, Any] = json.loads(said.partition("\n")[2])
    own = max(0, most - found.pop("sqlite"))
    return {**found, "anon": most, "own": own}


def cpu_seconds(pid: int) -> float:
    """Return how long a process has worked, in seconds, its children not."""
    numbers = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def anonymous_bytes(pid: int) -> int:
    """Return how much memory of a process and its children is no file's, in bytes; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return 0
    own = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:")), 0)
    return own + sum(anonymous_bytes(int(child)) for child in children)
