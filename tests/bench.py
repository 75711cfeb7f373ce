"""`make bench`: what the commands take at 10,000 and at 100,000 people.

Each command is a process, on generated people, with the local engine. Wall time, CPU (user and
system) and peak memory include its imports. `index` mostly waits for the engine.
`ROWS=10000,100000` sets the numbers of people.
"""

import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "performance.md"
FINDABLE: Final = Path(sys.executable).with_name("findable")
SIZES: Final = tuple(int(size) for size in (os.environ.get("ROWS") or "10000,100000").split(","))
SEED: Final = 4
MODELS: Final = """
[models."gemini-3.5-flash-lite"]
kind = "generate"
price_in = 0.30
price_out = 2.50
priced_on = 2026-10-07
source = "the pricing page"
thinking = { thinkingLevel = "MINIMAL" }
input_limit = 1_048_576
output_limit = 65_536

[models."gemini-embedding-2"]
kind = "embed"
price_in = 0.20
price_out = 0.0
priced_on = 2026-10-07
source = "the pricing page"
input_limit = 8_192
dims = [128, 3072]
task_in_text = true
"""  # without limits of what is asked in a minute, which would be what is measured
FINE: Final = (
    0,
    6,
)  # 6: a gate failed, as it may where the same few sentences are said again and again
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "import": ("import", "people.csv"),
    "submit": ("batch-submit", "--yes"),
    "poll": ("batch-poll",),
    "ingest": ("batch-ingest",),
    "index": ("index",),
    "search": ("search", "who knows water law"),
    "status": ("status",),
}
WAITS: Final = ("poll",)  # for the engine; nothing of ours is measured
FIELDS: Final = (
    *(
        "water law",
        "beekeeping",
        "soil science",
        "machine learning",
        "tax law",
        "timber framing",
        "type design",
    ),
    *(
        "glaciology",
        "cheese making",
        "railway signalling",
        "patent law",
        "bridge inspection",
        "plant breeding",
    ),
    *(
        "organ building",
        "data protection",
        "acoustics",
        "bookbinding",
        "marine biology",
        "public health",
    ),
    *(
        "renewable energy",
        "event planning",
        "graphic design",
        "supply chain",
        "physiotherapy",
        "game development",
    ),
)
SENTENCES: Final = (
    "I have spent {years} years with {field}, first in small places and later for whole regions.",
    "My last work brought {field} and {other} together under one roof, in time and for less than was feared.",
    "Before that came {other}, from which I learned more than I gave.",
    "Ask me about {field} if you want a plain answer, and about {other} if you have the whole day.",
)


class Taken(NamedTuple):
    """What a process took: seconds of wall and of CPU, MB at its peak."""

    wall: float
    cpu: float
    peak: float


Row = tuple[int, str, Taken]


def main() -> None:
    """Measure, and write the page."""
    PAGE.write_text(page(list(measured())), encoding="utf-8")


def measured() -> Iterator[Row]:
    """Yield rows, a command, and what it took."""
    from tests.acceptance.engine import Engine
    from tests.acceptance.process import end_sessions

    with tempfile.TemporaryDirectory(prefix="findable-bench-") as name:
        for size in SIZES:
            here = Path(name) / str(size)
            here.mkdir()
            people(here / "people.csv", size)
            (here / "models.toml").write_text(MODELS, encoding="utf-8")
            with Engine(here / "engine") as engine:
                for command, words in COMMANDS.items():
                    taken = took(
                        (str(FINDABLE), *words), environment(here / "data", engine.url), here
                    )
                    sys.stdout.write(
                        f"{size:>7,} {command:<7} {taken.wall:7.2f} s, {taken.cpu:7.2f} s CPU\n"
                    )
                    sys.stdout.flush()
                    if command not in WAITS:
                        yield size, command, taken
        end_sessions()


def people(file: Path, size: int) -> None:
    """Write people that nobody is, the same each time: a title and some 400 characters each."""
    dice = random.Random(SEED)  # noqa: S311 - made-up text, no secret
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("username", "job_title", "bio", "profile_url", "hourly_rate"))
        for number in range(size):
            field, other = dice.sample(FIELDS, 2)
            said = " ".join(dice.choices(SENTENCES, k=5)).format(
                years=2 + number % 38, field=field, other=other
            )
            address = f"https://people.example/{number:06d}"
            table.writerow(
                (f"person-{number:06d}", f"{field} adviser", f"{said} File {number}.", address, 40)
            )


def environment(data: Path, url: str) -> dict[str, str]:
    """Return the settings of a workspace on an engine that answers at once, and no wait."""
    settings = {
        "DATA": str(data),
        "BACKEND": "gemini",
        "POLL_FIRST": "0.2",
        "POLL_MOST": "1",
        "LIST_LAG": "0",
    }
    settings["MODELS_FILE"] = str(data.parent / "models.toml")
    own = {f"FINDABLE_{name}": value for name, value in settings.items()}
    reached = {"GOOGLE_GEMINI_BASE_URL": url, "FINDABLE_TRUST": url}
    return own | {"GEMINI_API_KEY": "any", **reached}


def took(words: tuple[str, ...], settings: Mapping[str, str], folder: Path) -> Taken:
    """Return what a process takes.

    Raises:
        AssertionError: it failed; what it said is told.
    """
    ours = ("FINDABLE_", "GEMINI_", "GOOGLE_")
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(ours)
    } | dict(settings)
    log = folder / "log"
    with log.open("w", encoding="utf-8") as out:
        began = time.perf_counter()
        process = subprocess.Popen(
            words, env=environ, cwd=folder, stdout=out, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in FINE, (
        words,
        process.returncode,
        log.read_text(encoding="utf-8")[-3000:],
    )
    return Taken(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def page(rows: list[Row]) -> str:
    """Return the page: what was measured, and how."""
    head = (__doc__ or "").partition("\n\n")[2].strip()
    lines = ["# Performance", "", "## How fast are the commands?", ""]
    lines += ["```sh", "make bench   # writes this page", "```", "", head, ""]
    lines += ["| rows | command | wall s | CPU s | MB |", "| ---: | --- | ---: | ---: | ---: |"]
    for size, command, now in rows:
        cells = (f"{size:,}", command, f"{now.wall:.2f}", f"{now.cpu:.2f}", f"{now.peak:,.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
