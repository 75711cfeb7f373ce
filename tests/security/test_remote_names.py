"""Names that a server makes up never become a path here, nor part of another URL than one of its own resources."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.gemini.operations import UnreadableError, read_operation
from pipeline.gemini.transfers import file_in
from tests import ledger
from tests.lab import Api, Workspace

TAILS = (
    "../../../etc/passwd",
    "..",
    ".",
    "a/../../b",
    "a/b",
    "a\\..\\b",
    "%2e%2e/%2e%2e",
    "a%00",
    "a\0b",
    "a\nb",
    "a?key=x",
    "a#b",
    "a:download",
    "a b",
    "\u2025",
    "",
    "a" * 5_000,
    "x@h.example/",
)
WHOLE: tuple[Any, ...] = (
    "/etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x",
    "\\\\host\\share",
    "C:\\x",
    None,
    7,
    ["files/a"],
    {},
)


def test_a_batch_or_a_file_with_such_a_name_is_not_believed() -> None:
    """The whole answer is unreadable, as one without a name; a result or an input of that name is none."""
    for name in [*(f"batches/{tail}" for tail in TAILS), *WHOLE, "files/a"]:
        with pytest.raises(UnreadableError):
            read_operation({"name": name, "metadata": {"state": "BATCH_STATE_SUCCEEDED"}})
    for name in [*(f"files/{tail}" for tail in TAILS), *WHOLE, "batches/a"]:
        with pytest.raises(UnreadableError):
            file_in({"file": {"name": name}})
        inside = {"output": {"responsesFile": name}, "inputConfig": {"fileName": name}}
        metadata = {"state": "BATCH_STATE_SUCCEEDED", **inside}
        batch = read_operation({"name": "batches/a", "metadata": metadata, "response": {"responsesFile": name}})
        assert (batch.result_file, batch.input_file) == (None, None)


def test_a_result_of_such_a_name_is_not_fetched(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, tmp_path: Path
) -> None:
    """Poll asks for nothing under it and writes nothing outside; with a sound answer later all goes on."""
    people(2)
    assert workspace.run("batch-submit").exit_code == 0
    remote = workspace.scalar("SELECT remote_name FROM findable_batches")
    before = {path for path in tmp_path.rglob("*") if "api" not in path.parts}
    stats = {"requestCount": "2", "successfulRequestCount": "2"}
    for name in ("files/../../../escaped", "/escaped", "files/a/../../escaped", "files/" + "a" * 5_000):
        metadata = {"state": "BATCH_STATE_SUCCEEDED", "output": {"responsesFile": name}, "batchStats": stats}
        document = {"name": remote, "metadata": metadata, "done": True, "response": {"responsesFile": name}}
        api.fault("wrong_shape", times=3, args={"document": document}, method="GET", path=r"/batches/\w+$")
        ran = workspace.run("batch-poll", WAIT="0")
        assert "bug" not in ran.stderr
        api.clear_faults()
    assert not [entry for entry in api.journal() if "escaped" in entry["path"] or "a" * 500 in entry["path"]]
    made = {path for path in tmp_path.rglob("*") if "api" not in path.parts} - before
    assert all(path.is_relative_to(workspace.data) for path in made)
    workspace.ran_each("batch-poll", "batch-ingest")
    ledger.check(workspace)
    assert ledger.people(workspace) == {"total": 2, "tagged": 2}


@pytest.mark.parametrize("word", [pytest.param("upload", marks=pytest.mark.full), "create"])
def test_made_up_names_on_the_way_in(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, word: str
) -> None:
    """An upload or a create answered with such a name is one whose reply was lost; later all are tagged once."""
    people(2)
    where = {"upload": r"upload_id=", "create": r":batchGenerateContent$"}[word]
    document = {"file": {"name": "files/../../x"}} if word == "upload" else {"name": "batches/../../x"}
    args = {"document": document, "headers": {"x-goog-upload-status": "final"}}
    api.fault("wrong_shape", times=20, args=args, method="POST", path=where)
    ran = workspace.ran("batch-submit", code=4, RETRY_FOR="0.1")
    assert "bug" not in ran.stderr
    assert not [entry for entry in api.journal() if ".." in entry["path"]]
    api.clear_faults()
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest")
    ledger.check(workspace)
    assert ledger.people(workspace) == {"total": 2, "tagged": 2}
