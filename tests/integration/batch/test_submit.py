"""`make batch-submit`: bounds of the API that only a seam brings near."""

from collections.abc import Callable

import pytest

from pipeline.batch import budget
from pipeline.engine import questions
from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]


def test_a_row_that_cannot_be_sent_is_named_before_anything_is(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request larger than the API takes stops the run with 2 and the person's name; no file stays behind."""
    names = people(2)
    monkeypatch.setattr(questions, "MAX_FILE_BYTES", 100)
    result = workspace.ran("batch-submit", code=2)
    assert names[0] in result.stderr
    assert (ledger.batches(workspace), api.journal()) == ([], [])
    assert not list(workspace.data.glob("batches/*"))


def test_no_more_bytes_are_uploaded_than_the_api_keeps(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads of batches that are not over count together; the one that would be too much waits as prepared."""
    people(4)
    api.configure(paused=True)
    assert workspace.run("batch-submit", "--limit", "2").exit_code == 0
    size = workspace.scalar("SELECT request_size FROM findable_batches")
    monkeypatch.setattr(budget, "MAX_STORED_BYTES", int(size * 1.5))
    result = workspace.ran("batch-submit", code=4)
    assert "bytes would be uploaded" in result.stderr
    assert ledger.batches(workspace) == ["submitted", "prepared"]
    assert len([one for one in api.seen("POST", "/upload/") if "upload_id=" not in one["path"]]) == 1
