"""`make batch-submit`: limits of the API that a test must lower to reach."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from askrows.pipeline.provider import providers
from askrows.pipeline.tasks import request_builder
from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]


def test_a_row_that_is_too_large_is_named_before_any_call(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request above the size limit exits with 2 and the person's name, and leaves no file."""
    names = people(2)
    # The real limit is too large for a test.
    small = replace(providers.GEMINI, max_file_bytes=100)
    monkeypatch.setattr(request_builder, "find_provider", lambda _backend: small)

    result = workspace.ran("batch-submit", code=2)
    assert names[0] in result.stderr
    assert (ledger.batches(workspace), api.journal()) == ([], [])
    assert not list(workspace.data.glob("batches/*"))
