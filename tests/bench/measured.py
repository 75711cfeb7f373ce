"""Run one command and write down what it used: CPU seconds, and the peak of its own memory (VmHWM, Linux)."""

import json
import os
import re
import resource
import sys
from pathlib import Path

from jobs.cli import main

if __name__ == "__main__":
    try:
        main(sys.argv[1:], prog_name="findable")
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        found = {"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": int(peak[1]) / 1024 if peak else 0}
        Path(os.environ["MEASURED_TO"]).write_text(json.dumps(found), encoding="utf-8")
