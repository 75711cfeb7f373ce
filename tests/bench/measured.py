"""Run one command and write down what it used: CPU seconds, and the peak of its own memory (VmHWM, Linux)."""

import json
import os
import resource
import sys
from pathlib import Path

from jobs.cli import main
from tests.bench.measure import peak_bytes

if __name__ == "__main__":
    try:
        main(sys.argv[1:], prog_name="findable")
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        found = {"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": peak_bytes() / 2**20}
        Path(os.environ["MEASURED_TO"]).write_text(json.dumps(found), encoding="utf-8")
