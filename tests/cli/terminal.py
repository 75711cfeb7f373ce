"""A command at a terminal: what is typed, and all that is seen."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def typed(folder: Path, *arguments: str, keys: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """Run `findable` at a terminal, type these keys, and return the exit code and what was on the screen."""
    ours, theirs = pty.openpty()
    os.write(ours, keys.encode())
    command = [sys.executable, "-m", "jobs", *arguments]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env={**environ, "PYTHONPATH": str(root)}
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
    os.close(ours)
    return process.returncode, seen.decode("utf-8", "replace").replace("\r\n", "\n")
