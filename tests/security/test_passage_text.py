"""What passages say is theirs: it stands in the database, the batches' files and a report's samples, and nowhere else.

Not on the screen, in no log at any level, and in no error, whatever the server or the file does.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration import many_passages as passages
from tests.lab import Api, Workspace

CANARY = "quince-lantern-seventeen"  # in every text, in the middle of a sentence
EXCERPT = 200  # characters of a line that tells of one
MAY_HOLD = ("batches", "reports")
CALLING = (
    ("passages-pilot", "--n", "3", "--yes"),
    ("passages-backfill", "--skip-pilot", "--wait", "--yes"),
    ("doctor",),
)
LOOKING = (
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
UNANSWERED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"code": 503, "message": "later"}),
    ("drop", {}),
)


def put(workspace: Workspace, folder: Path) -> str:
    """Import passages with the canary, beside lines that are none; return what was said but of those lines.

    The user who typed the command is shown a short excerpt of each, for it is their file that is to be mended.
    """
    lines = [
        json.dumps({"id": f"p-{n}", "text": f"{passages.text_of(n)} The {CANARY} closes it."})
        for n in range(5)
    ]
    bad = [
        f'{{"id": "cut", "text": "begins well and then the {CANARY} {"and more " * 50}',
        json.dumps({"id": "", "text": f"no id, but a {CANARY}"}),
        json.dumps({"id": "p-1", "text": f"another one of p-1 with its {CANARY}"}),
        json.dumps({"id": "list", "text": [f"a list of {CANARY}"]}),
        json.dumps([CANARY]),
    ]
    path = folder / "passages.jsonl"
    path.write_text("".join(f"{line}\n" for line in [*lines, *bad]), encoding="utf-8")
    import_passages_run = workspace.run("import-passages", str(path), "--debug", DEBUG="1")
    assert workspace.scalar("SELECT count(*) FROM passages") == len(lines), (
        import_passages_run.output
    )
    told = [
        line for line in import_passages_run.output.splitlines() if line.startswith("rejected: ")
    ]
    assert len(told) == len(bad)
    assert max(map(len, told)) < EXCERPT
    return "".join(
        line
        for line in import_passages_run.output.splitlines()
        if not line.startswith("rejected: ")
    )


def run(workspace: Workspace, *commands: tuple[str, ...]) -> str:
    """Run commands with all that shows more, and return all they printed."""
    said = ""
    for words in commands:
        process = workspace.run(
            *words, "--debug", TASK="passages", DEBUG="1", RETRY_FOR="0.02", POLL_PATIENCE="0.05"
        )
        assert "this is a bug" not in process.stderr, process.output
        said += process.output
    return said


@pytest.mark.parametrize("failures", [FAILURES, pytest.param(UNANSWERED, marks=pytest.mark.full)])
def test_no_text_is_shown_or_logged(
    workspace: Workspace,
    api: Api,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    failures: Sequence[tuple[str, dict[str, Any]]],
) -> None:
    """Every command of passages at full debug, then a search through what was printed, logged and written."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2", "httpcore2.http11", "httpcore2.connection"):
        caplog.set_level(logging.DEBUG, name)
    caplog.set_level(
        logging.INFO, "sqlalchemy.engine"
    )  # statements; each row is told of one level deeper
    said = put(workspace, tmp_path)
    for word, args in failures:
        api.fault(word, times=10_000, args=args)
        said += run(workspace, *CALLING)
        api.clear_faults()
    said += run(workspace, *CALLING, *LOOKING)
    said = said.replace(
        f"bad request about {CANARY}", ""
    )  # a server that repeats a request in its refusal is quoted
    assert CANARY not in said
    assert [
        record.getMessage()[:200] for record in caplog.records if CANARY in record.getMessage()
    ] == []
    written = [
        path
        for path in workspace.data.rglob("*")
        if path.is_file() and not path.name.startswith("findable.db")
    ]
    found = {
        path.relative_to(workspace.data).parts[0]
        for path in written
        if CANARY.encode() in path.read_bytes()
    }
    assert found <= {*MAY_HOLD, "local-engine"}
