"""Texts of passages are stored only in the database, batch files and samples of a report.

Screen, logs and errors never contain them, even if the server or the file fails.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration import many_passages as passages
from tests.lab import Api, Workspace

# Every text contains this phrase in the middle of a sentence.
CANARY = "quince-lantern-seventeen"
# A message about a rejected line has fewer characters.
MAX_EXCERPT_CHARS = 200
FOLDERS_WITH_TEXTS = ("batches", "reports")
CALL_COMMANDS = (
    ("passages-pilot", "--n", "3", "--yes"),
    ("passages-backfill", "--skip-pilot", "--wait", "--yes"),
    ("doctor",),
)
READ_COMMANDS = (
    ("passages-status",),
    ("qc",),
    ("versions",),
    ("batches",),
    ("parked",),
    ("rollback", "passage-concepts@1", "--yes"),
)
FAILURES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"code": 400, "message": f"bad request about {CANARY}"}),
    ("wrong_shape", {"document": {"candidates": "no"}}),
)
SERVER_FAILURES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"code": 503, "message": "later"}),
    ("drop", {}),
)


def import_passages(workspace: Workspace, folder: Path) -> str:
    """Import passages with the canary and invalid lines; return the output without those lines.

    The output has a short excerpt of each invalid line, because the user must correct the file.
    """
    lines = [
        json.dumps({"id": f"p-{n}", "text": f"{passages.text_of(n)} The {CANARY} closes it."})
        for n in range(5)
    ]
    bad_lines = [
        f'{{"id": "cut", "text": "begins well and then the {CANARY} {"and more " * 50}',
        json.dumps({"id": "", "text": f"no id, but a {CANARY}"}),
        json.dumps({"id": "p-1", "text": f"another one of p-1 with its {CANARY}"}),
        json.dumps({"id": "list", "text": [f"a list of {CANARY}"]}),
        json.dumps([CANARY]),
    ]
    path = folder / "passages.jsonl"
    path.write_text("".join(f"{line}\n" for line in [*lines, *bad_lines]), encoding="utf-8")
    import_run = workspace.run("import-passages", str(path), "--debug", DEBUG="1")
    assert workspace.scalar("SELECT count(*) FROM passages") == len(lines), import_run.output
    rejected_lines = [
        line for line in import_run.output.splitlines() if line.startswith("rejected\t")
    ]
    assert len(rejected_lines) == len(bad_lines)
    assert max(map(len, rejected_lines)) < MAX_EXCERPT_CHARS
    return "".join(
        line for line in import_run.output.splitlines() if not line.startswith("rejected\t")
    )


def run_commands(workspace: Workspace, *commands: tuple[str, ...]) -> str:
    """Run commands at full debug, and return their output."""
    output = ""
    for command in commands:
        process = workspace.run(
            *command, "--debug", TASK="passages", DEBUG="1", RETRY_FOR="0.02", POLL_PATIENCE="0.05"
        )
        assert "this is a bug" not in process.stderr, process.output
        output += process.output
    return output


@pytest.mark.parametrize(
    "failures", [FAILURES, pytest.param(SERVER_FAILURES, marks=pytest.mark.full)]
)
def test_no_text_is_shown_or_logged(
    workspace: Workspace,
    api: Api,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    failures: Sequence[tuple[str, dict[str, Any]]],
) -> None:
    """Output, logs and written files of all commands at full debug are searched."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2", "httpcore2.http11", "httpcore2.connection"):
        caplog.set_level(logging.DEBUG, name)
    # SQLAlchemy logs statements at this level, and rows only below it.
    caplog.set_level(logging.INFO, "sqlalchemy.engine")

    output = import_passages(workspace, tmp_path)
    for word, args in failures:
        api.script_fault(word, times=10_000, args=args)
        output += run_commands(workspace, *CALL_COMMANDS)
        api.clear_faults()
    output += run_commands(workspace, *CALL_COMMANDS, *READ_COMMANDS)

    # The message of a server is quoted, even if it repeats the request.
    output = output.replace(f"bad request about {CANARY}", "")
    assert CANARY not in output
    assert [
        record.getMessage()[:200] for record in caplog.records if CANARY in record.getMessage()
    ] == []
    written_paths = [
        path
        for path in workspace.data.rglob("*")
        if path.is_file() and not path.name.startswith("askrows.db")
    ]
    folders_with_canary = {
        path.relative_to(workspace.data).parts[0]
        for path in written_paths
        if CANARY.encode() in path.read_bytes()
    }
    assert folders_with_canary <= {*FOLDERS_WITH_TEXTS, "local-engine"}
