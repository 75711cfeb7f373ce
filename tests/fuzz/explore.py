"""The coverage-guided fuzzer: `make fuzz SECONDS=60`, each target for its share of the time in a process of its own.

It goes on from the good inputs and from what was found before. An input that breaks a promise is kept as
`corpus/<target>/broken-…`, where the tests find it, and the run ends with exit code 1. With `KEEP=1` the inputs that
reached new lines are kept as well, one for each line that no other reaches.
"""

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

CORPUS = Path(__file__).parent / "corpus"
LONGEST_INPUT = 4096  # bytes
SLOWEST_S = 10  # one input that takes longer is a promise broken
MOST_MIB = 2048
OURS = tuple(str(Path(__file__).parents[2] / top) for top in ("pipeline", "emulator"))
INSIDE = "inside"  # the word by which a process knows that it is a target's own


def main() -> int:
    """Run every target, or those that are named, and return how it went: 0, or 1 when a promise was broken."""
    if sys.argv[1:2] == [INSIDE]:
        _fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="targets; all of them without")
    seconds, keep = os.environ.get("FINDABLE_SECONDS") or "60", os.environ.get("FINDABLE_KEEP", "0") not in {"", "0"}
    parser.add_argument("--seconds", type=float, default=seconds, help="for all of them together")
    parser.add_argument("--keep", action="store_true", default=keep, help="keep the inputs that reached new lines")
    asked = parser.parse_args()
    from tests.fuzz.targets import TARGETS

    names = asked.names or list(TARGETS)
    broken = [name for name in names if not _explore(name, seconds=asked.seconds / len(names), keep=asked.keep)]
    print(f"{len(names)} targets, {len(broken)} with broken promises {' '.join(broken)}".rstrip())  # noqa: T201
    return 1 if broken else 0


def _explore(name: str, *, seconds: float, keep: bool) -> bool:
    """Fuzz one target; return whether it kept its promises."""
    from tests.fuzz.targets import seeds

    with tempfile.TemporaryDirectory() as folder:
        found, good = Path(folder, "found"), Path(folder, "good")
        for each in (found, good):
            each.mkdir()
        for number, seed in enumerate(seeds(name)):
            (good / str(number)).write_bytes(seed)
        kept = CORPUS / name
        kept.mkdir(parents=True, exist_ok=True)
        limits = [f"-max_len={LONGEST_INPUT}", f"-timeout={SLOWEST_S}", f"-rss_limit_mb={MOST_MIB}"]
        began = time.monotonic()
        run = [f"-max_total_time={max(1, int(seconds))}", f"-artifact_prefix={kept}/broken-", "-print_final_stats=1"]
        code = _start(name, [*limits, *run, str(found), str(good), str(kept)], log=Path(folder, "log"))
        count = len(list(found.iterdir()))
        said = "kept its promises" if code == 0 else f"BROKE A PROMISE (see {kept})"
        print(f"{name}: {said}; {count} new inputs in {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
        if code:
            print(Path(folder, "log").read_text(errors="replace")[-4000:], flush=True)  # noqa: T201
        elif keep:
            _keep_few(name, found, kept)
        return code == 0


def _keep_few(name: str, found: Path, kept: Path) -> None:
    """Put into the corpus, shortest first, each input that reaches a line no other does; those that broke once stay."""
    from tests.fuzz.targets import TARGETS, seeds

    reached = set().union(*(_lines_reached(TARGETS[name], seed) for seed in seeds(name)))
    reached |= set().union(*(_lines_reached(TARGETS[name], path.read_bytes()) for path in kept.glob("*")))
    for path in sorted(found.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        new = _lines_reached(TARGETS[name], path.read_bytes()) - reached
        if new:
            shutil.copy(path, kept / path.name[:12])
            reached |= new


def _lines_reached(target: "Target", data: bytes) -> set[tuple[str, int]]:
    """Return the lines of the product, as (file, number), that an input reaches."""
    reached: set[tuple[str, int]] = set()

    def trace(frame: FrameType, _event: str, _value: object) -> Any:
        """Note a line of ours, and look into nothing else."""
        file = frame.f_code.co_filename
        if not file.startswith(OURS):
            return None
        reached.add((file, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return reached


def _start(name: str, flags: list[str], *, log: Path) -> int:
    """Run one target in a process of its own, what it says in a file, and return its exit code."""
    command = [sys.executable, "-m", "tests.fuzz.explore", INSIDE, name, *flags]
    with log.open("w") as said:
        return subprocess.run(command, stdout=said, stderr=said, check=False, env={**os.environ}).returncode


def _fuzz(name: str, flags: list[str]) -> None:
    """Become the fuzzer of one target; does not return."""
    atheris: Any = importlib.import_module("atheris")  # not among what is always installed
    with atheris.instrument_imports(include=["pipeline", "emulator"]):
        from tests.fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *flags], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
