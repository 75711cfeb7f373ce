"""The coverage-guided fuzzer: `make fuzz SECONDS=60`, each target for its share of the time in a process of its own.

It goes on from the good inputs and from what was found before. An input that breaks a promise is kept as
`corpus/<target>/broken-…`, where the tests find it, and the run ends with exit code 1. With `KEEP=1` the inputs that
reached new lines are kept as well, the fewest that reach all of them.
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
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
LONGEST_INPUT = 4096  # bytes
SLOWEST_S = 10  # one input that takes longer is a promise broken
MOST_MIB = 2048
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
            _keep_fewest(name, found, good, kept, limits=limits, folder=Path(folder))
        return code == 0


def _keep_fewest(name: str, found: Path, good: Path, kept: Path, *, limits: list[str], folder: Path) -> None:
    """Put the fewest inputs that reach all lines beyond the good ones into the corpus; those that broke once stay."""
    fewest = folder / "fewest"
    shutil.copytree(good, fewest)
    _start(name, [*limits, "-merge=1", str(fewest), str(found), str(kept)], log=folder / "merge")
    for old in kept.iterdir():
        if not old.name.startswith("broken-"):
            old.unlink()
    for path in fewest.iterdir():
        if not (good / path.name).exists():
            shutil.copy(path, kept / path.name)


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
