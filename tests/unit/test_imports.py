"""Check which modules light commands load.

The import rules of the packages are contracts of import-linter in pyproject.toml.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOAD_PROGRAM = """\
import sys
from askrows.jobs.cli import main
for words in sys.argv[1:]:
    try:
        main(words.split(), prog_name="askrows")
    except SystemExit as done:
        assert not done.code, words
    own = [name for name in sys.modules if name.startswith("askrows.")]
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
SETTINGS = "askrows.pipeline.core.settings"
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
            ("pydantic", "sqlalchemy"),
        ),
        "tag --dry": ("pydantic", "sqlalchemy"),
        "batch-submit --dry": ("pydantic", "sqlalchemy"),
    },
    {
        "status": ("sqlalchemy",),
        "items": ("sqlalchemy",),
        "doctor": ("faiss", "numpy", "pydantic", "sqlalchemy"),
    },
)
# Our own modules that a command loads, after those before it in the same process.
MAX_LOADED_MODULES = {"--help": 34, "settings": 37, "status": 175, "items": 190}


def test_commands_load_only_used_libraries(tmp_path: Path) -> None:
    """`--help` loads the settings, `status` the database; no command loads unused libraries.

    `status` and `items` need no models of pydantic, no HTTP library and nothing of PostgreSQL.
    """
    (tmp_path / "people.csv").write_text("Username,Bio\nann,I keep bees.\n")
    environ = {"PYTHONPATH": str(ROOT), "ASKROWS_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
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
