"""Check the import rule of the packages, and the modules that light commands load.

`FLOORS` of tests/house.py lists the rooms and their libraries. A new room or a new library needs an
entry there, which is a decision.
"""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from jobs.commands import COMMANDS
from tests.house import FLOOR, FLOORS, LIBRARIES, ROOT, Module, is_down, modules, own, room_of

OWN_PACKAGES = ("pipeline", "jobs", "web", "emulator")
SUBJECTS = {"experts", "passages", "images"}
MODULES_THAT_KNOW_SUBJECTS = (
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
ROOMS_WITHOUT_SUBJECTS = {
    "core",
    "store",
    "gemini",
    "engine",
    "tables",
    "quality",
    "index",
    "batch",
}
# The settings contain the name of the task and the name of a subject's table.
MODULES_WITH_SUBJECT_NAMES = {"pipeline.core.setting_parsers", "pipeline.core.settings"}
FILES_OF_INDEX = {
    f"pipeline.index.{name}"
    for name in ("scoring", "manifest", "build_reader", "tokenizer", "vector_file")
}
# Commands do not import these rooms.
BELOW_COMMANDS = {"store", "gemini", "tables"}
DOORS = {
    "emulator.embed.embed_texts": "pipeline.gemini.embed",
    "emulator.server.Server": "pipeline.engine.session",
    "emulator.server.serve": "jobs.server_commands",
}
HEAVY_LIBRARIES = (
    "PIL",
    "asyncio",
    "bm25s",
    "charset_normalizer",
    "difflib",
    "dotenv",
    "faiss",
    "fcntl",
    "google",
    "html",
    "httpx2",
    "ir_measures",
    "jinja2",
    "logging",
    "filelock",
    "jsonlines",
    "numpy",
    "orjson",
    "pandas",
    "pillow_heif",
    "psycopg",
    "pyarrow",
    "pydantic",
    "pydantic_core",
    "rapidfuzz",
    "rich",
    "snowballstemmer",
    "sqlalchemy",
    "starlette",
    "tokenizers",
    "tomllib",
    "procrastinate",
    "prometheus_client",
    "python_calamine",
    "uvicorn",
    "xlsxwriter",
    "zipfile",
)
# These modules compile patterns for longer than most modules take to load.
SLOW_MODULES = {"pipeline.index.tokenizer", "pipeline.core.where_parser"}
SHARED_BY_JOBS = {"cli", "command", "commands", "exit_codes", "options", "output", "variables"}


def find_import_violation(module: str, name: str) -> str | None:
    """Return the reason why `module` must not import `name`; None if it may."""
    importing_room = room_of(module)
    imported_room = room_of(name)
    library = name.partition(".")[0]
    if library not in OWN_PACKAGES:
        return _find_library_violation(importing_room, library)
    if importing_room == imported_room or DOORS.get(name) == module:
        return None
    lower_floors = [
        " and ".join(floor) for floor in FLOORS[FLOOR.get(importing_room, len(FLOORS)) + 1 :]
    ]
    rules = (
        (imported_room == "emulator", f"only {DOORS} lead into the local engine"),
        (
            importing_room == "jobs" and imported_room in BELOW_COMMANDS,
            "a command asks the room that it is about",
        ),
        (
            imported_room in SUBJECTS and not module.startswith(MODULES_THAT_KNOW_SUBJECTS),
            "a subject is found by its name; ask the task, or the registry of the workspace",
        ),
        (
            module in FILES_OF_INDEX and imported_room != "core",
            (
                "the index's files know `core` alone; "
                "what asks the database or the API embeds, builds or searches"
            ),
        ),
        (
            not is_down((importing_room, imported_room)),
            (
                f"{importing_room} may import {', '.join(lower_floors) or 'nothing'}; "
                "what both need belongs further down"
            ),
        ),
    )
    return next((f"{name}: {reason}" for is_broken, reason in rules if is_broken), None)


def _find_library_violation(room: str, library: str) -> str | None:
    """Return the reason why a room must not import an outside library; None if it may."""
    owners = [owner for owner, libraries in LIBRARIES.items() if library in libraries]
    if library in sys.stdlib_module_names or room in owners:
        return None
    if not owners:
        return f"{library}: a new library needs an owner in FLOORS of tests/house.py"
    return f"{library}: it belongs to {' and '.join(owners)}; ask there instead"


def test_imports_point_downward() -> None:
    """Imports lead down, libraries have owners, and few modules know a subject."""
    violations = set[str]()
    for module in modules().values():
        for imported in module.imports():
            reason = find_import_violation(module.name, imported.name)
            if reason:
                violations.add(f"{module.name} imports {reason}")

    assert not violations, "\n  ".join(["", *sorted(violations)])


def test_imports_inside_functions_are_heavy() -> None:
    """Only heavy libraries, and modules that are slow or load them, are imported in functions."""
    known_modules = modules()
    loads = _find_heavy_loads(known_modules)
    violations = set[str]()
    for module in known_modules.values():
        for imported in module.imports():
            is_heavy = imported.name.split(".")[0] in HEAVY_LIBRARIES or loads.get(
                own(imported.name, known_modules)
            )
            if imported.is_late and not is_heavy:
                violations.add(
                    f"{module.name} imports {imported.name} inside a function, "
                    "which is not heavy: import it at the top"
                )

    assert not violations, "\n  ".join(["", *sorted(violations)])


def _find_heavy_loads(known_modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Return the heavy libraries that each module loads directly or by its imports."""
    imports_at_start = {
        name: [imported.name for imported in module.imports() if not imported.is_late]
        for name, module in known_modules.items()
    }
    loaded_libraries = {
        name: {imported.split(".")[0] for imported in names} & set(HEAVY_LIBRARIES)
        | ({name} & SLOW_MODULES)
        for name, names in imports_at_start.items()
    }
    imported_modules = {
        name: {own(imported, known_modules) for imported in names} - {"", name}
        for name, names in imports_at_start.items()
    }
    for _ in known_modules:
        all_libraries = {
            name: loaded_libraries[name].union(
                *(loaded_libraries[imported] for imported in imported_modules[name])
            )
            for name in known_modules
        }
        if all_libraries == loaded_libraries:
            break
        loaded_libraries = all_libraries
    return loaded_libraries


def test_no_subject_is_named_below_the_subjects() -> None:
    """No module below the shipped tasks mentions a subject in code, messages or comments."""
    # Any task may ask about images.
    names = [subject[:-1] for subject in SUBJECTS - {"images"}]

    violations: list[str] = []
    for module in modules().values():
        if module.room not in ROOMS_WITHOUT_SUBJECTS or module.name in MODULES_WITH_SUBJECT_NAMES:
            continue
        violations += [
            f"{module.name}:{number} names a subject; ask the task, and say item: {line.strip()}"
            for number, line in enumerate(module.text.splitlines(), start=1)
            if any(name in line.lower() for name in names)
        ]

    assert not violations, "\n  ".join(["", *violations])


def test_commands_are_thin_and_listed() -> None:
    """Commands do not wait or catch errors, and each has a short summary."""
    for name, module in modules().items():
        if not name.startswith("jobs.") or name.removeprefix("jobs.") in SHARED_BY_JOBS:
            continue
        waits_and_catches = [
            node
            for node in ast.walk(ast.parse(module.text))
            if isinstance(node, ast.While | ast.Try)
        ]
        assert not waits_and_catches, (
            f"{name}: the pipeline decides, and jobs/exit_codes.py turns errors into exit codes"
        )

    summaries = [command.summary for command in COMMANDS.values()]
    assert all(len(summary) <= 62 and summary.endswith(".") for summary in summaries)


LOAD_PROGRAM = """\
import sys
from jobs.cli import main
for words in sys.argv[1:]:
    try:
        main(words.split(), prog_name="findable")
    except SystemExit as done:
        assert not done.code, words
    own = [name for name in sys.modules if name.startswith(("pipeline.", "jobs."))]
    loaded = [name for name in {heavy} if name in sys.modules]
    print("LOADED", words, len(own), *loaded, sep="\\t")
"""
WATCHED_LIBRARIES = (
    "PIL",
    "faiss",
    "google.genai",
    "httpx2",
    "numpy",
    "psycopg",
    "pydantic",
    "rapidfuzz",
    "requests",
    "sqlalchemy",
    "sqlalchemy.dialects.postgresql",
    "starlette",
)
# Every command reads the settings.
SETTINGS = "pipeline.core.settings"
# Modules by command, in a workspace with a person and nothing to send, judge or embed.
# Each mapping runs in a process, so its commands are sorted by the modules that they add.
EXPECTED_LOADS = (
    {
        "--help": (),
        "settings": (),
        **dict.fromkeys(
            (
                "import {data}/people.csv",
                "batches",
                "score",
                "show ann",
                "export {data}/out.csv",
                "batch-poll",
                "batch-ingest",
            ),
            ("httpx2", "sqlalchemy"),
        ),
        "tag --dry": ("httpx2", "pydantic", "sqlalchemy"),
        "batch-submit --dry": ("httpx2", "pydantic", "sqlalchemy"),
    },
    {
        "status": ("sqlalchemy",),
        "items": ("sqlalchemy",),
        "doctor": ("faiss", "httpx2", "numpy", "pydantic", "sqlalchemy"),
    },
)
# Our own modules that a command loads, after those before it in the same process.
MAX_LOADED_MODULES = {"--help": 34, "settings": 37, "status": 175, "items": 190}


def test_commands_load_only_used_libraries(tmp_path: Path) -> None:
    """`--help` loads the settings, `status` the database; no command loads unused libraries.

    `status` and `items` need no models of pydantic, no HTTP library and nothing of PostgreSQL.
    """
    (tmp_path / "people.csv").write_text("Username,Bio\nann,I keep bees.\n")
    environ = {"PYTHONPATH": str(ROOT), "FINDABLE_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for row in EXPECTED_LOADS:
        expected_modules = {
            words.format(data=tmp_path): (SETTINGS, *loaded) for words, loaded in row.items()
        }
        command = [
            sys.executable,
            "-c",
            LOAD_PROGRAM.format(heavy=(SETTINGS, *WATCHED_LIBRARIES)),
            *expected_modules,
        ]
        process = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
        loaded_lines = [
            line.split("\t")[1:]
            for line in process.stdout.splitlines()
            if line.startswith("LOADED")
        ]
        assert {words: tuple(loaded) for words, _, *loaded in loaded_lines} == expected_modules
        for words, count, *_ in loaded_lines:
            max_count = MAX_LOADED_MODULES.get(words)
            assert max_count is None or int(count) <= max_count, (words, count)
