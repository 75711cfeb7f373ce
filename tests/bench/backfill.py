"""A simulated backfill: ROWS passages from the file to the report, each command in a process of its own, measured.

The engine serves the wire in a process of its own and answers with the first words of each passage
(`quick_concepts`), so what is measured is ours: rows a second, peak memory (VmHWM), and the size of the database. At
the end every quotation that was stored is held against its passage.

    make bench-backfill ROWS=550000
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = 50_000
WORDS = 140  # of a passage, about 1,000 characters, as abstracts have
KNOWN = 9_000  # different words, drawn as in a language: few are frequent
TOKENS = 250  # a passage has by our own measure, for the projection
SEED = 550


def main() -> int:
    """Run it, and print a line for each command; 0 when all were answered and no quotation is false."""
    rows = int(os.environ.get("ROWS") or ROWS)
    with tempfile.TemporaryDirectory(prefix="findable-backfill-", dir=os.environ.get("BENCH_GROUNDS")) as name:
        here = Path(name)
        file = here / "passages.jsonl"
        with file.open("wb") as out:
            out.writelines(passages(rows))
        _say(f"{rows:,} passages, {file.stat().st_size / 1e6:,.0f} MB")
        with _engine(here) as url:
            _measure(here, url, rows, file)
        return _account(here, rows)


def passages(rows: int) -> Iterator[bytes]:
    """Yield JSON lines of made-up passages, the same ones each time."""
    dice = random.Random(SEED)  # noqa: S311 - made-up text, no secret
    syllables = [first + second for first in "bdfgklmnprstv" for second in "aeiou"]
    known = ["".join(dice.choices(syllables, k=dice.randint(1, 5))) for _ in range(KNOWN)]
    weights = [1 / (rank + 3) for rank in range(KNOWN)]
    for number in range(rows):
        words = dice.choices(known, weights, k=dice.randint(WORDS // 2, WORDS * 3 // 2))
        sentences = [" ".join(words[at : at + 14]).capitalize() + "." for at in range(0, len(words), 14)]
        yield json.dumps({"id": f"p{number:07d}", "text": " ".join(sentences), "source": "made up"}).encode() + b"\n"


class _engine:  # noqa: N801 - reads as a verb at its one use
    """The local engine in a process of its own, for the length of a block; gives its URL."""

    def __init__(self, here: Path) -> None:
        self._here = here

    def __enter__(self) -> str:
        environ = {**os.environ, "FINDABLE_DATA": str(self._here / "engine"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "jobs", "emulator", "--port", "0"]
        self._process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, cwd=self._here)
        assert self._process.stderr is not None
        url = next(line for line in self._process.stderr if "http://" in line).split("protocol at ")[1].split()[0]
        self._process.stderr.close()  # its access log is not read
        settings = json.dumps({"quick_concepts": True, "chunk_lines": 2000}).encode()
        request = urllib.request.Request(f"{url}/_emu/settings", settings, {"Content-Type": "application/json"})  # noqa: S310 - loopback
        urllib.request.urlopen(request).close()  # noqa: S310 - loopback
        return url

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def _measure(here: Path, url: str, rows: int, file: Path) -> None:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_"))
    }
    environ |= {
        "PYTHONPATH": str(ROOT),
        "FINDABLE_DATA": str(here / "data"),
        "FINDABLE_BACKEND": "gemini",
        "FINDABLE_TASK": "passages",
        "FINDABLE_TIER": "2",
        "FINDABLE_POLL_FIRST": "0.2",
        "FINDABLE_POLL_MOST": "1",
        "FINDABLE_LIST_LAG": "0",
        "FINDABLE_YES": "1",
        "GEMINI_API_KEY": "any",
        "GOOGLE_GEMINI_BASE_URL": url,
    }
    for words in (
        ("import-passages", str(file)),
        ("passages-pilot", "--n", "200"),
        ("passages-backfill", "--wait", "--skip-pilot"),
        ("qc",),
        ("status",),
        ("doctor",),
    ):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.measured", *words],
            env={**environ, "MEASURED_TO": str(here / "measured.json"), "PYTHONPATH": str(ROOT)},
            cwd=here,
            check=False,
            capture_output=True,
            text=True,
        )
        took = time.monotonic() - began
        found = json.loads((here / "measured.json").read_text(encoding="utf-8"))
        _say(
            f"{' '.join(word for word in words if '/' not in word)}: exit {done.returncode}, {took:,.1f} s, "
            f"{rows / took:,.0f} rows/s, CPU {found['cpu_s']:,.1f} s, peak {found['peak_mb']:,.0f} MB"
        )
        tail = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if line.strip()][-4:]
        _say("    " + "\n    ".join(tail))


def _account(here: Path, rows: int) -> int:
    """Print what is stored; hold each quotation against its passage."""
    import sqlite3

    path = here / "data" / "findable.db"
    database = sqlite3.connect(path)
    (answered,) = database.execute("SELECT count(DISTINCT passage_id) FROM passage_concepts").fetchone()
    query = (
        "SELECT count(*), coalesce(sum(substr(p.text, json_extract(s.value, '$.start') + 1, "
        "json_extract(s.value, '$.end') - json_extract(s.value, '$.start')) <> json_extract(s.value, '$.quote')), 0) "
        "FROM passage_concepts c JOIN passages p ON p.id = c.passage_id, json_each(c.evidence, '$.support') s"
    )
    quotations, false = database.execute(query).fetchone()
    (concepts,) = database.execute("SELECT count(*) FROM passage_concepts").fetchone()
    _say(f"{answered:,} of {rows:,} have concepts: {concepts:,}, with {quotations:,} quotations, {false} false")
    for name, size in database.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 6"):
        _say(f"    {name}: {size / 1e6:,.0f} MB")
    _say(f"database {path.stat().st_size / 1e6:,.0f} MB, workspace {_size(here / 'data') / 1e6:,.0f} MB")
    return 0 if answered == rows and not false else 1


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
