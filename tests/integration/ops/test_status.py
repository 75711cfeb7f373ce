"""`status`, `score`, `parked` and `unpark`: their texts and sums; reading changes nothing."""

import json
from collections.abc import Callable

import pytest

from askrows.pipeline.ops import status
from tests.integration import reviews
from tests.lab import Api, Workspace


def test_cost_of_lost_replies_is_not_shown_as_running(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """A live call with a lost reply may have cost its estimate, and is not running."""
    people(1)
    api.script_fault("drop", path=":generateContent")
    assert workspace.run("tag-live", CALL_TIMEOUT="2").exit_code == 0

    # The whole estimate may be lost.
    spent = json.loads(workspace.ran("status", "--json").stdout)["spent"]
    assert spent["lost"] == spent["estimated"] > 0

    (line,) = [
        text_line
        for text_line in workspace.run("status").stdout.splitlines()
        if text_line.startswith("spent")
    ]
    assert line.endswith(f", ~${spent['lost']:.4f} perhaps lost")


@pytest.mark.full
def test_a_raised_version_of_the_task_file_is_counted_before_it_is_used(
    workspace: Workspace,
) -> None:
    """`status` counts rows under the version of the present file, and stores nothing."""
    reviews.set_up_task(workspace).ran("tag-live")
    former_status = workspace.ran("status").stdout
    assert "task file" not in former_status
    path = reviews.write_task_file(version=2)

    document = json.loads(workspace.ran("status", "--json").stdout)
    assert document["reviews"]["answered"] == 0
    assert document["reviews"]["open"] == len(reviews.TEXTS)
    assert document["file_version"] == "reviews@2"
    assert document["next"] == "make tag TASK=reviews"
    text = workspace.ran("status").stdout
    assert "task file  declares reviews@2 now; earlier answers stay" in text

    # Nothing was stored: the former file has its former status.
    reviews.write_task_file(version=1)
    assert workspace.ran("status").stdout == former_status

    # The file is not run, so a version that is computed is not known before a command runs it.
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace("version=1", "version=1 + 1"), encoding="utf-8")
    assert workspace.ran("status").stdout == former_status


def test_the_model_of_the_task_file_is_named(workspace: Workspace) -> None:
    """`status` has the model that the present file declares."""
    reviews.set_up_task(workspace)
    path = reviews.write_task_file()
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace("version=1", 'model="gemini-3.5-flash"'), encoding="utf-8")
    workspace.ran("tag-live")

    assert json.loads(workspace.ran("status", "--json").stdout)["model"] == "gemini-3.5-flash"


@pytest.mark.parametrize(
    ("reason", "short_reason"),
    [
        (
            "it failed 2 times; last: does-not-validate: tone: no",
            "it failed 2 times; last: invalid answer",
        ),
        ("it failed 2 times; last: error 14: busy: x", "it failed 2 times; last: error 14"),
        ("the key: is wrong", "the key"),
    ],
)
def test_shortened_reasons_keep_the_last_failure(reason: str, short_reason: str) -> None:
    """Only the part about a single row is removed."""
    assert status._shorten_reason(reason) == short_reason
