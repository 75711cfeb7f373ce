"""`make test-full`: every test with every case, in parts that are recorded with their commit and skipped while valid.

A part is valid as long as no file of the product differs from those of its commit. One that was interrupted, or in
which a test failed, goes on with what has not passed yet; a change of the product begins it anew. `PART=name` runs that
part whatever is recorded. Nothing is recorded while the product's files are not committed.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "full.json"  # in the repository: what passed on one machine need not be run on another
PRODUCT = ("pipeline", "jobs", "web", "emulator", "findable.py")
EVERY_CASE = {"HYPOTHESIS_PROFILE": "searching", "FAULTS": "all"}
PYTEST = ("-m", "pytest", "-q", "-n", "5", "--dist", "worksteal", "--timeout", "7200")
APART = ("bench", "soak")  # parts of their own


class Part(NamedTuple):
    """What a part runs, on which database; whether it has every case, and goes on where it was interrupted."""

    words: tuple[str, ...]
    database: str = "sqlite"
    goes_on: bool = True


TESTS = (*PYTEST, "tests", *(f"--ignore=tests/{name}" for name in APART))
PARTS = {
    "sqlite": Part(TESTS),
    "postgresql": Part(TESTS, "postgresql"),
    "bench": Part((*PYTEST, "tests/bench")),
    "soak": Part((*PYTEST, "tests/soak")),
    "acceptance": Part((*PYTEST, "tests/acceptance"), goes_on=False),
    "acceptance-postgresql": Part((*PYTEST, "tests/acceptance"), "postgresql", goes_on=False),
    "sweep": Part((*PYTEST, "tests/acceptance/whole_sweep.py"), goes_on=False),
    "sweep-postgresql": Part((*PYTEST, "tests/acceptance/whole_sweep.py"), "postgresql", goes_on=False),
    "mutants": Part(("-m", "tests.acceptance.mutants"), goes_on=False),
}


def main(chosen: str = "") -> int:
    """Run what is not valid, or the one part that is chosen; return 1 where a part failed, 2 where there is no such."""
    if chosen and chosen not in PARTS:
        sys.stderr.write(f"error: there is no part {chosen}; PART= knows {', '.join(PARTS)}\n")
        return 2
    failed = [name for name in ([chosen] if chosen else PARTS) if (chosen or not _valid(name)) and not _passes(name)]
    for name in PARTS:
        found = _recorded().get(name)
        said = f"{found['at']} {found['commit'][:12]} {found['seconds']:.0f} s" if found else "never passed"
        sys.stdout.write(f"{name:21} {'valid' if _valid(name) else 'not valid':10} {said}\n")
    return 1 if failed else 0


def _passes(name: str) -> bool:
    """Run a part, record it where it passed, and return whether it did."""
    began, commit = time.monotonic(), _commit()
    done = ROOT / f".test-full-{name}.done"
    if not _is_of(done.with_suffix(".commit"), commit):
        done.unlink(missing_ok=True)
    done.with_suffix(".commit").write_text(commit, encoding="utf-8")
    environ = os.environ | {"FINDABLE_TEST_DATABASE": PARTS[name].database}
    if PARTS[name].goes_on:
        environ |= EVERY_CASE | {"FULL_DONE": str(done)}
    environ.setdefault("PYTEST_DEBUG_TEMPROOT", os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 - on a disk, as the product is
    sys.stdout.write(f"{name}: begun on {commit[:12] or 'files that are not committed'}\n")
    sys.stdout.flush()
    if subprocess.run([sys.executable, *PARTS[name].words], cwd=ROOT, env=environ, check=False).returncode:
        return False
    for path in (done, done.with_suffix(".commit")):
        path.unlink(missing_ok=True)
    if commit and commit == _commit():
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = {"commit": commit, "at": at, "seconds": round(time.monotonic() - began)}
        RECORD.write_text(json.dumps(_recorded() | {name: entry}, indent=1) + "\n", encoding="utf-8")
    return True


def _valid(name: str) -> bool:
    """Return whether a part passed on the product as it is now."""
    found = _recorded().get(name)
    return found is not None and _same_product(found["commit"])


def _is_of(path: Path, commit: str) -> bool:
    """Return whether what was left by an earlier run is of the product as it is now."""
    return bool(commit) and path.is_file() and _same_product(path.read_text(encoding="utf-8"))


def _recorded() -> dict[str, Any]:
    """Return what is recorded of each part: commit, time, and how long it took."""
    return dict(json.loads(RECORD.read_bytes())) if RECORD.is_file() else {}


def _commit() -> str:
    """Return the commit of the product as it is; an empty text where its files are not committed."""
    return "" if _git("status", "--porcelain", "--", *PRODUCT).stdout else _git("rev-parse", "HEAD").stdout.strip()


def _same_product(commit: str) -> bool:
    """Return whether the product's files are those of a commit."""
    return bool(commit and _commit()) and _git("diff", "--quiet", commit, "HEAD", "--", *PRODUCT).returncode == 0


def _git(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run git here, without a word of its own."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main(os.environ.get("FINDABLE_PART", "")))
