"""A part that is read while its work ends is loaded again, so that it never stays outdated."""

import threading
from collections.abc import Callable
from html import escape
from typing import Any

import pytest

from askrows.pipeline.ops import listed_rows
from askrows.web.views import settings
from askrows.web.views.ask_again import ASK_WORK_KIND
from tests.lab import Workspace
from tests.page import LONG_S, Page

PERSON = {"username": "ada"}


@pytest.mark.alike
@pytest.mark.parametrize(
    ("path", "work_names", "reader"),
    [
        ("/parts/index?task=experts", ("index experts", ""), (settings, "read_snapshot")),
        (
            "/parts/row?task=experts&key=ada",
            (ASK_WORK_KIND.format("experts"), "ada"),
            (listed_rows, "read_row_details"),
        ),
    ],
    ids=["index", "row"],
)
def test_work_that_ends_during_a_load_is_followed(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    work_names: tuple[str, str],
    reader: tuple[Any, str],
) -> None:
    """Work that ends after its result was read counts as running in this load only."""
    workspace.begin()
    with Page(workspace) as page:
        page.post("/api/admin/experts", json=PERSON)
        kind, row_key = work_names
        may_end = threading.Event()
        work = page.desk.background_work.start(
            kind, lambda _: may_end.wait(LONG_S), task="experts", row_key=row_key
        )
        module, name = reader
        read: Callable[..., Any] = getattr(module, name)

        def read_and_end(*arguments: Any, **options: Any) -> Any:
            """Read, and let the work end before the page is rendered."""
            document = read(*arguments, **options)
            may_end.set()
            assert work.thread is not None
            work.thread.join()
            return document

        monkeypatch.setattr(module, name, read_and_end)
        loads_again = f'hx-get="{escape(path)}"'
        assert loads_again in page.get(path).text
        assert loads_again not in page.get(path).text
