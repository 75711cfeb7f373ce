"""The import rule of the house, held over what each module imports when it runs, and what the light commands load.

Which room may import which, and which libraries, stands in `FLOORS` of tests/house.py: a new room or a new library
needs a place there, which is a decision.
"""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from jobs.commands import COMMANDS
from tests.house import FLOOR, FLOORS, LIBRARIES, ROOT, Module, is_down, modules, own, room_of

OURS = ("pipeline", "jobs", "web", "emulator")
SUBJECTS = {"experts", "passages", "images"}
KNOW_SUBJECTS = (
    "jobs.",
    "pipeline.experts.",
    "pipeline.images.",
    "pipeline.passages.",
    "pipeline.workflows.add_expert",
    "pipeline.workflows.python_api",
    "pipeline.workflows.row_importers",
    "pipeline.workflows.shipped_tasks",
    "web.views.",
)
UNNAMED = {"core", "store", "gemini", "engine", "tables", "quality", "index", "batch"}
# They have the name of a task, and the name of the table of a shipped task.
MAY_NAME = {"pipeline.core.setting_parsers", "pipeline.core.settings"}
    "pipeline.core.setting_parsers",
    "pipeline.core.settings",
}  # it has the task's name and the name of a subject's table
FILES_OF_INDEX = {
    f"pipeline.index.{name}"
    for name in ("scoring", "manifest", "build_reader", "tokenizer", "vector_file")
}
BELOW_COMMANDS = {"store", "gemini", "tables"}  # which no command asks itself
DOORS = {
    "emulator.embed.embed_texts": "pipeline.gemini.embed",
    "emulator.server.Server": "pipeline.engine.session",
    "emulator.server.serve": "jobs.server_commands",
}
HEAVY = (
    *("PIL", "asyncio", "bm25s", "charset_normalizer", "difflib", "dotenv", "faiss", "fcntl"),
    *("google", "html", "httpx2", "ir_measures", "jinja2", "logging"),
    *(
        "filelock",
        "jsonlines",
        "numpy",
        "orjson",
        "pandas",
        "pillow_heif",
        "psycopg",
        "pyarrow",
        "pydantic",
    ),
    *(
        "pydantic_core",
        "rapidfuzz",
        "rich",
        "snowballstemmer",
        "sqlalchemy",
        "starlette",
        "tokenizers",
        "tomllib",
    ),
    *("procrastinate", "prometheus_client", "python_calamine", "uvicorn", "xlsxwriter", "zipfile"),
)
SLOW = {
    "pipeline.index.tokenizer",
    "pipeline.core.where_parser",
}  # they compile patterns for longer than most modules take
SHARED_BY_JOBS = {"cli", "command", "commands", "exit_codes", "options", "output", "variables"}


def why_not(module: str, name: str) -> str | None:
    """Return what is wrong with `module` importing `name`, with where it belongs instead; None where nothing is."""
    here = room_of(module)
    there = room_of(name)
    top = name.partition(".")[0]
    if top not in OURS:
        return _why_not_library(here, top)
    if here == there or DOORS.get(name) == module:
        return None
    below = [" and ".join(floor) for floor in FLOORS[FLOOR.get(here, len(FLOORS)) + 1 :]]
    rules = (
        (there == "emulator", f"only {DOORS} lead into the local engine"),
        (here == "jobs" and there in BELOW_COMMANDS, "a command asks the room that it is about"),
        (
            there in SUBJECTS and not module.startswith(KNOW_SUBJECTS),
            "a subject is found by its name; ask the task, or the registry of the workspace",
        ),
        (
            module in FILES_OF_INDEX and there != "core",
            "the index's files know `core` alone; what asks the database or the API embeds, builds or searches",
        ),
        (
            not is_down((here, there)),
            f"{here} may import {', '.join(below) or 'nothing'}; what both need belongs further down",
        ),
    )
    return next((f"{name}: {why}" for is_broken, why in rules if is_broken), None)


def _why_not_library(room: str, library: str) -> str | None:
    """Return what is wrong with a room importing an outside library."""
    owners = [owner for owner, libraries in LIBRARIES.items() if library in libraries]
    if library in sys.stdlib_module_names or room in owners:
        return None
    if not owners:
        return f"{library}: a new library needs an owner in FLOORS of tests/house.py"
    return f"{library}: it belongs to {' and '.join(owners)}; ask there instead"


def test_imports_point_downward() -> None:
    """Every import stays in its room or goes down, each library has its owners, and few know a subject."""
    wrong = {
        f"{module.name} imports {why}"
        for module in modules().values()
        for one in module.imports()
        if (why := why_not(module.name, one.name))
    }
    assert not wrong, "\n  ".join(["", *sorted(wrong)])


def test_imports_inside_functions_are_of_what_is_heavy() -> None:
    """Only heavy libraries, and modules of ours that are slow or load such, are imported where they are used."""
    known = modules()
    loads = _loads(known)
    wrong = {
        f"{module.name} imports {one.name} inside a function, which is not heavy: import it at the top"
        for module in known.values()
        for one in module.imports()
        if one.is_late
        and one.name.split(".")[0] not in HEAVY
        and not loads.get(own(one.name, known))
    }
    assert not wrong, "\n  ".join(["", *sorted(wrong)])


def _loads(known: Mapping[str, Module]) -> dict[str, set[str]]:
    """Return of each module the heavy libraries that it loads when it is imported, by itself or by what it imports."""
    at_once = {
        name: [one.name for one in module.imports() if not one.is_late]
        for name, module in known.items()
    }
    found = {
        name: {one.split(".")[0] for one in names} & set(HEAVY) | ({name} & SLOW)
        for name, names in at_once.items()
    }
    below = {
        name: {own(one, known) for one in names} - {"", name} for name, names in at_once.items()
    }
    for _ in known:
        grown = {name: found[name].union(*(found[one] for one in below[name])) for name in known}
        if grown == found:
            break
        found = grown
    return found


def test_no_subject_is_named_below_the_subjects() -> None:
    """From `core` to `live` their names stand nowhere: neither in code, nor in messages, nor in comments."""
    said = [
        f"{module.name}:{number} names a subject; ask the task, and say item: {line.strip()}"
        for module in modules().values()
        if module.room in UNNAMED and module.name not in MAY_NAME
        for number, line in enumerate(module.text.splitlines(), start=1)
        if any(
            subject[:-1] in line.lower() for subject in SUBJECTS - {"images"}
        )  # which any task may ask about
    ]
    assert not said, "\n  ".join(["", *said])


def test_commands_are_thin_and_listed() -> None:
    """A command takes options, calls and prints, without waiting or catching; the list says of each what it does."""
    for name, module in modules().items():
        if not name.startswith("jobs.") or name.removeprefix("jobs.") in SHARED_BY_JOBS:
            continue
        found = [
            node
            for node in ast.walk(ast.parse(module.text))
            if isinstance(node, ast.While | ast.Try)
        ]
        assert not found, (
            f"{name}: the pipeline decides, and jobs/exit_codes.py turns errors into exit codes"
        )
    assert all(
        len(said) <= 62 and said.endswith(".")
        for said in (one.summary for one in COMMANDS.values())
    )


LOADED = """\
import sys
from jobs.cli import main
for words in sys.argv[1:]:
    try:
        main(words.split(), prog_name="findable")
    except SystemExit as done:
        assert not done.code, words
    print("LOADED", words, *(name for name in {heavy} if name in sys.modules), sep="\\t")
"""
LOOKED_FOR = (
    *("google.genai", "faiss", "numpy", "pydantic", "rapidfuzz", "requests", "sqlalchemy"),
    "starlette",
)
SETTINGS = "pipeline.core.settings"  # which every command reads
LOADS = (  # with one person here and nothing to send, judge or embed; a process for each row, which adds what it needs
    {
        "--help": (),
        "settings": (),
        **dict.fromkeys(
            (
                *(
                    "import {data}/people.csv",
                    "status",
                    "batches",
                    "score",
                    "show ann",
                    "export {data}/out.csv",
                ),
                *("batch-poll", "batch-ingest", "preflight", "batch-submit --dry"),
            ),
            ("pydantic", "sqlalchemy"),
        ),
    },
    {"doctor": ("faiss", "numpy", "pydantic", "sqlalchemy")},
)


def test_commands_load_what_they_use_and_no_more(tmp_path: Path) -> None:
    """`--help` loads the settings, `status` the database beside, and no command loads what it has no use for."""
    (tmp_path / "people.csv").write_text("Username,Bio\nann,I keep bees.\n")
    environ = {"PYTHONPATH": str(ROOT), "FINDABLE_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for row in LOADS:
        wanted = {words.format(data=tmp_path): (SETTINGS, *loaded) for words, loaded in row.items()}
        command = [sys.executable, "-c", LOADED.format(heavy=(SETTINGS, *LOOKED_FOR)), *wanted]
        process = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
        told = [
            line.split("\t")[1:]
            for line in process.stdout.splitlines()
            if line.startswith("LOADED")
        ]
        assert {words: tuple(loaded) for words, *loaded in told} == wanted
