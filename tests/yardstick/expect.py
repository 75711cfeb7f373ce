"""Writes what the version that made the fixtures says, writes and asks: `expected.json`, and request files beside it.

Only that version may do so: `.venv/bin/python -m tests.yardstick.expect`, in its worktree, with this folder copied
there. What differs from one database to the other, or from one run to the next, is kept as its type alone.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import postgresql
from tests.lab import DATABASE, ROOT
from tests.yardstick.collected import (
    ANY,
    commands,
    digests,
    documents,
    exits,
    indexes,
    live_requests,
    make_values,
    requests,
    tables,
    targets,
    variants,
    words,
)
from tests.yardstick.opened import HERE, NEXT_DAY, Kept, opened

EXPECTED = HERE / "expected.json"
REQUESTS = {"people": HERE / "requests-people.jsonl", "passages": HERE / "requests-passages.jsonl"}

PARTS: dict[str, Callable[[Kept], Any]] = {
    "documents": documents,
    "exits": exits,
    "live": live_requests,
    "words": words,
}


def collect(kept: Kept, folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, bytes]]]:
    """Return all of it, and the request files of each variant."""
    found: dict[str, Any] = {"commands": commands(), "targets": targets(), "values": make_values()}
    found["tables"] = {DATABASE: tables(kept.workspace())}
    found["indexes"] = {DATABASE: indexes(kept.workspace())}
    found |= {name: part(kept) for name, part in PARTS.items()}
    written = {name: requests(kept, variant) for name, variant in variants(folder).items()}
    found["requests"] = {name: digests(one) for name, one in written.items()}
    return found, {name: files for name, (_, files) in written.items()}


def common(one: Any, other: Any) -> Any:
    """Return what two collections share, with types where they differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: common(one[name], other[name]) for name in one if name in other}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [common(*pair) for pair in zip(one, other, strict=True)]
    return one if one == other else ANY.format(type(one).__name__)


def write_one(told: Path) -> None:
    """Write what is collected on the database that is set, twice over, into a file."""
    postgresql.announce()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        root = Path(name)
        os.chdir(root)
        found, files = collect(opened("gemini", root / "one", age=NEXT_DAY), root)
        again, _ = collect(opened("gemini", root / "other", age=NEXT_DAY), root)
    own = {part: found.pop(part) for part in ("tables", "indexes")}
    shared = common(found, {part: again[part] for part in found})
    told.write_text(json.dumps({"own": own, "shared": shared}))
    if DATABASE == "sqlite":
        for subject, path in REQUESTS.items():
            path.write_bytes(b"".join(files[f"{subject}, plain"].values()))


def main() -> None:
    """Write `expected.json`, from what both databases come to."""
    if len(sys.argv) > 1:
        write_one(Path(sys.argv[1]))
        return
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for database in ("sqlite", "postgresql"):
            path = Path(name) / database
            environ = {**os.environ, "FINDABLE_TEST_DATABASE": database}
            command = [sys.executable, "-W", "ignore", "-m", "tests.yardstick.expect", str(path)]
            subprocess.run(command, env=environ, check=True, cwd=ROOT)
            found[database] = json.loads(path.read_text())
    expected = common(found["sqlite"]["shared"], found["postgresql"]["shared"])
    for part in ("tables", "indexes"):
        expected[part] = {database: found[database]["own"][part][database] for database in found}
    EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
