"""A condition with a text that is no choice of its field lists no rows, and the text is named."""

import json
from pathlib import Path

import pytest

from pipeline.engine.task_file import forget_loaded_files
from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page

TASK_TEXT = """\
from typing import Literal

from pydantic import BaseModel
from findable import Task


class Answer(BaseModel):
    tone: Literal["praise", "blame", "mixed"]
    topics: list[Literal["lid", "light"]]
    note: str


task = Task(answer=Answer, items="reviews.csv", prompt="{text}")
"""


@pytest.fixture(name="tones")
def _tones(workspace: Workspace) -> Workspace:
    """Register a task with two closed fields and an open field."""
    reviews.set_up_task(workspace)
    Path("tasks", "reviews.py").write_text(TASK_TEXT, encoding="utf-8")
    forget_loaded_files()
    workspace.ran("batch-submit")
    return workspace


@pytest.mark.parametrize(
    ("where", "note"),
    [
        ("tone = 'praize'", "'praize' is not a choice of tone; did you mean 'praise'?\n"),
        ("answer.tone IN ('Blame', 'MIXD')", "'MIXD' is not a choice of tone"),
        ("topics = 'lyd' AND tone = 'mixed'", "'lyd' is not a choice of topics; did you mean"),
        (
            "tone = 'x'",
            "'x' is not a choice of tone; its choices are praise, blame, mixed\n",
        ),
    ],
)
def test_a_text_that_is_no_choice_is_named(tones: Workspace, where: str, note: str) -> None:
    """The command ends without an error, and its line has the sentence."""
    assert f"no row found: {note}" in tones.ran("items", "--where", where).stdout
    listing = tones.ran("items", "--where", where, "--json")
    assert json.loads(listing.stdout)["items"] == []


def test_other_empty_lists_have_no_note(tones: Workspace) -> None:
    """Choices, other comparisons, columns and open fields are not explained."""
    for where in ("tone = 'BLAME'", "tone CONTAINS 'x'", "note = 'x'", "text = 'praize'"):
        assert tones.ran("items", "--where", where).stdout == "no row found\n"


def test_asking_and_the_page_name_the_choice(tones: Workspace) -> None:
    """The error of `tag` has the suggestion as its hint, and the page shows it."""
    where = "tone = 'praize'"
    assert "did you mean 'praise'?" in tones.ran("tag", "--where", where, code=2).stderr
    with Page(tones) as page:
        html = page.get("/", params={"task": "reviews", "where": where}).text
    assert "No row matches: &#39;praize&#39; is not a choice of tone" in html
