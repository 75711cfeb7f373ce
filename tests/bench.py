"""Run `make bench`: measure the commands at 10,000 and at 100,000 people.

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
# The models have no limit per minute, because waits would be measured.
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
"""
# A gate may fail (6), because the texts consist of a few sentences.
ACCEPTED_EXIT_CODES: Final = (0, 6)
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "import": ("import", "people.csv"),
    "submit": ("batch-submit", "--yes"),
    "poll": ("batch-poll",),
    "ingest": ("batch-ingest",),
    "index": ("index",),
    "search": ("search", "who knows water law"),
    "status": ("status",),
}
# Commands that only wait for the engine are not in the table.
WAITING_COMMANDS: Final = ("poll",)
FIELDS: Final = (
    "water law",
    "beekeeping",
    "soil science",
    "machine learning",
    "tax law",
    "timber framing",
    "type design",
    "glaciology",
    "cheese making",
    "railway signalling",
    "patent law",
    "bridge inspection",
    "plant breeding",
    "organ building",
    "data protection",
    "acoustics",
    "bookbinding",
    "marine biology",
    "public health",
    "renewable energy",
    "event planning",
    "graphic design",
    "supply chain",
    "physiotherapy",
    "game development",
)
SENTENCES: Final = (
    "I have spent {years} years with {field}, first in small places and later for whole regions.",
    (
        "My last work brought {field} and {other} together under one roof, "
        "in time and for less than was feared."
    ),
    "Before that came {other}, from which I learned more than I gave.",
    "Ask me about {field} if you want a plain answer, and about {other} if you have the whole day.",
)


class Usage(NamedTuple):
    """Usage of a process: seconds of wall and of CPU, and MB at its peak."""

    wall: float
    cpu: float
    peak: float


MeasuredRow = tuple[int, str, Usage]


def main() -> None:
    """Measure the commands, and write the page."""
    PAGE.write_text(page(list(measure_commands())), encoding="utf-8")


def measure_commands() -> Iterator[MeasuredRow]:
    """Yield the number of rows, a command, and its usage."""
    from tests.acceptance.engine import Engine
    from tests.acceptance.process import end_sessions

    with tempfile.TemporaryDirectory(prefix="findable-bench-") as name:
        for size in SIZES:
            size_folder = Path(name) / str(size)
            size_folder.mkdir()
            people(size_folder / "people.csv", size)
            (size_folder / "models.toml").write_text(MODELS, encoding="utf-8")
            with Engine(size_folder / "engine") as engine:
                for command, arguments in COMMANDS.items():
                    usage = measure_process(
                        (str(FINDABLE), *arguments),
                        environment(size_folder / "data", engine.url),
                        size_folder,
                    )
                    sys.stdout.write(
                        f"{size:>7,} {command:<7} {usage.wall:7.2f} s, {usage.cpu:7.2f} s CPU\n"
                    )
                    sys.stdout.flush()
                    if command not in WAITING_COMMANDS:
                        yield size, command, usage
        end_sessions()


def people(file: Path, size: int) -> None:
    """Write invented people, equal each time, with a title and about 400 characters."""
    dice = random.Random(SEED)  # noqa: S311 - made-up text, no secret
    with file.open("w", encoding="utf-8", newline="") as csv_file:
        table = csv.writer(csv_file)
        table.writerow(("username", "job_title", "bio", "profile_url", "hourly_rate"))
        for number in range(size):
            field, other_field = dice.sample(FIELDS, 2)
            sentences = " ".join(dice.choices(SENTENCES, k=5)).format(
                years=2 + number % 38, field=field, other=other_field
            )
            address = f"https://people.example/{number:06d}"
            table.writerow(
                (
                    f"person-{number:06d}",
                    f"{field} adviser",
                    f"{sentences} File {number}.",
                    address,
                    40,
                )
            )


def environment(data: Path, url: str) -> dict[str, str]:
    """Return the settings of a workspace on an engine, without waits."""
    settings = {
        "DATA": str(data),
        "BACKEND": "gemini",
        "POLL_FIRST": "0.2",
        "POLL_MOST": "1",
        "LIST_LAG": "0",
    }
    settings["MODELS_FILE"] = str(data.parent / "models.toml")
    findable_variables = {f"FINDABLE_{name}": value for name, value in settings.items()}
    return findable_variables | {"GEMINI_API_KEY": "any", "GOOGLE_GEMINI_BASE_URL": url}


def measure_process(command: tuple[str, ...], settings: Mapping[str, str], folder: Path) -> Usage:
    """Run a process and return its usage.

    Raises:
        AssertionError: The process failed; the message contains its output.
    """
    product_prefixes = ("FINDABLE_", "GEMINI_", "GOOGLE_")
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(product_prefixes)
    } | dict(settings)
    log = folder / "log"
    with log.open("w", encoding="utf-8") as log_file:
        started_at_s = time.perf_counter()
        process = subprocess.Popen(
            command, env=environ, cwd=folder, stdout=log_file, stderr=subprocess.STDOUT
        )
        _, status, resources = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started_at_s
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in ACCEPTED_EXIT_CODES, (
        command,
        process.returncode,
        log.read_text(encoding="utf-8")[-3000:],
    )
    return Usage(wall_s, resources.ru_utime + resources.ru_stime, resources.ru_maxrss / 1024)


def page(rows: list[MeasuredRow]) -> str:
    """Return the page with the measured rows."""
    head = (__doc__ or "").partition("\n\n")[2].strip()
    lines = ["# Performance", "", "## How fast are the commands?", ""]
    lines += ["```sh", "make bench   # writes this page", "```", "", head, ""]
    lines += ["| rows | command | wall s | CPU s | MB |", "| ---: | --- | ---: | ---: | ---: |"]
    for size, command, usage in rows:
        cells = (
            f"{size:,}",
            command,
            f"{usage.wall:.2f}",
            f"{usage.cpu:.2f}",
            f"{usage.peak:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
