"""A simulated backfill: ROWS passages from the file to the report, each command in a process of its own, measured.

The engine serves the wire in a process of its own and answers with the first words of each passage
(`quick_concepts`), so what is measured is ours: rows a second, peak memory (VmHWM), and the size of the database. At
the end every quotation that was stored is held against its passage.

    make bench-backfill ROWS=550000
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from jobs.cli import main as findable
from tests.bench.measure import peak_bytes

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
        from tests.soak.engine import Engine  # no part of what is measured

        engine = Engine(here / "engine")
        try:
            engine.configure(quick_concepts=True, chunk_lines=2000, list_lag_seconds=0)
            _measure(here, engine.url, rows, file)
        finally:
            engine.kill()
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


def _measure(here: Path, url: str, rows: int, file: Path) -> None:
    own = ("FINDABLE_", "GEMINI_", "GOOGLE_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    settings = {"DATA": str(here / "data"), "BACKEND": "gemini", "TASK": "passages", "TIER": "2", "YES": "1"}
    settings |= {"POLL_FIRST": "0.2", "POLL_MOST": "1", "LIST_LAG": "0"}
    environ |= {f"FINDABLE_{name}": value for name, value in settings.items()}
    environ |= {"GEMINI_API_KEY": "any", "GOOGLE_GEMINI_BASE_URL": url}
    environ |= {"PYTHONPATH": str(ROOT), "MEASURED_TO": str(here / "measured.json")}
    for words in (
        ("import-passages", str(file)),
        ("passages-pilot", "--n", "200"),
        ("passages-backfill", "--wait", "--skip-pilot"),
        ("qc",),
        ("status",),
        ("doctor",),
    ):
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.bench.backfill", *words]
        done = subprocess.run(command, env=environ, cwd=here, check=False, capture_output=True, text=True)
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
    whole = sum(one.stat().st_size for one in (here / "data").rglob("*") if one.is_file())
    _say(f"database {path.stat().st_size / 1e6:,.0f} MB, workspace {whole / 1e6:,.0f} MB")
    return 0 if answered == rows and not false else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _measured(words: list[str]) -> int:
    """Run one command here, and write down its CPU seconds and the peak of its own memory (VmHWM)."""
    try:
        return int(findable(words, prog_name="findable"))
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        found = {"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": peak_bytes() / 2**20}
        Path(os.environ["MEASURED_TO"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(_measured(sys.argv[1:]) if sys.argv[1:] else main())
