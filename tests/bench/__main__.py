"""Measure the product beside the naive ways and the limits, and write down what came of it.

make bench                1,558, 10,000 and 100,000 rows
make bench FULL=1         also 5,500,000, and 55,000, where memory is compared
make bench ONLY=ingest,score
make bench QUICK=1        200 rows, one run each: that all ways agree, not how long they take
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench import driver, report
from tests.bench.trials import TRIALS

QUICK_ROWS = 200
ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run what is asked for; 0 when every way came to the same, whatever the times."""
    full, quick = bool(os.environ.get("FULL")), bool(os.environ.get("QUICK"))
    only = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(TRIALS)
    target = Path(os.environ.get("BENCH_TO", str(ROOT / "data" / "bench")))
    most = int(os.environ.get("ROWS", "0"))
    strange = [name for name in only if name not in TRIALS]
    if strange:
        sys.stderr.write(f"there is no trial {strange[0]!r}; there are {', '.join(TRIALS)}\n")
        return 2
    for name in [name for name in os.environ if name.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_"))]:
        del os.environ[name]
    kept = os.environ.get("BENCH_GROUNDS")
    folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="findable-bench-"))
    found = report.Found.read(target) if os.environ.get("ADD") else report.Found()
    try:
        for name in only:
            trial = TRIALS[name]
            sizes = [QUICK_ROWS] if quick else [count for count in trial.sizes if not most or count <= most]
            for count in sorted([*sizes, *(trial.full if full else ())]):
                repeats = 1 if quick else driver.REPEATS
                found.add(name, count, driver.run(name, trial, count, folder=folder, repeats=repeats, tell=_tell))
                report.write(found, target)
    finally:
        if not kept:
            shutil.rmtree(folder)
    report.write_page(found, target)
    if not (quick or most or {name for name, trial in TRIALS.items() if trial.sizes} - found.trials.keys()):
        report.write_page(found, ROOT / "docs")
    sys.stdout.write(f"{report.figures(found)}\n{report.targets(found)}")
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
