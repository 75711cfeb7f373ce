"""`make soak MINUTES=30 SEED=7`: a long run of everything at once; exit code 1 when something was violated."""

import argparse
import json
import os
import secrets
import signal
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from tests.soak.soak import Soak


def main() -> int:
    """Soak, print what was seen, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("FINDABLE_MINUTES", "30")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FINDABLE_SEED", secrets.randbelow(10**6))))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the workspace goes")
    asked = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_"))]:
        del os.environ[name]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # started in the background it is ignored, here and below
    folder = asked.folder / f"soak-{asked.seed}-{os.getpid()}"
    folder.mkdir(parents=True)
    with (folder / "actions.log").open("w", encoding="utf-8", buffering=1) as log:
        sys.stderr.write(f"soaking for {asked.minutes:g} minutes, seed {asked.seed}, in {folder}\n")
        with closing(Soak(folder, seed=asked.seed, tell=lambda line: print(line, file=log))) as soak:
            report = soak.run(minutes=asked.minutes)
            (folder / "report.json").write_text(json.dumps(report.document(), indent=1), encoding="utf-8")
            sys.stdout.write(f"{report.text()}\nreport {folder / 'report.json'}, actions {folder / 'actions.log'}\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
