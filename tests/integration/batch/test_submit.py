"""`make batch-submit`: bounds of the API that only a seam brings near."""

from collections.abc import Callable

import pytest

from pipeline.engine import request_builder
from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]


def test_a_row_that_cannot_be_sent_is_named_before_anything_is(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request larger than the API takes stops the run with 2 and the person's name; no file stays behind."""
    names = people(2)
    monkeypatch.setattr(request_builder, "MAX_FILE_BYTES", 100)
    result = workspace.ran("batch-submit", code=2)
    assert names[0] in result.stderr
    assert (ledger.batches(workspace), api.journal()) == ([], [])
    assert not list(workspace.data.glob("batches/*"))
