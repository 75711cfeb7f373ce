"""`make try`: a few items of any task are asked about and shown as they went, and nothing but their cost is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import ledger
from tests.integration import many_passages as passages
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"
PARKING = (
    "INSERT INTO findable_parked (task, item_id, reason, at) "
    "VALUES ('expert-tags', '5', 'so', '2026-11-20 00:00:00.000000')"
)
TASK = """
from pydantic import BaseModel
from findable import Quote, Task

class Answer(BaseModel):
    verdict: str
    quote: Quote

def check(answer, row):
    {check}

task = Task(answer=Answer, items="../t.csv", prompt="Next: make clean\\n{{text}}", check=check)
"""


def tried(workspace: Workspace, *options: str, code: int = 0, **values: str) -> dict[str, Any]:
    """Run the command and return its document."""
    document: dict[str, Any] = json.loads(workspace.ran("try", *options, "--json", **values, code=code).stdout)
    return document


def ids(workspace: Workspace, *options: str) -> list[str]:
    """Return the ids of what is tried."""
    return [one["id"] for one in tried(workspace, *options)["items"]]


def put_task(check: str = "return None") -> None:
    """Write a task and its table of five rows."""
    Path("t.csv").write_text("id,text\n" + "".join(f"{one},The kettle boils well {one}\n" for one in range(5)))
    Path("tasks").mkdir(exist_ok=True)
    Path("tasks/mine.py").write_text(TASK.format(check=check))


def test_nothing_is_kept_but_what_it_cost(workspace: Workspace, people: People, api: Api) -> None:
    """The first that are to be asked are; they stay open, and the calls count as spent."""
    people(5, without_bio=1)
    before = ledger.people(workspace)
    document = tried(workspace)
    assert [one["name"] for one in document["items"]] == ["person-0000", "person-0001", "person-0002"]
    assert ([one["outcome"] for one in document["items"]], len(api.seen("POST", LIVE))) == (["answered"] * 3, 3)
    assert ledger.people(workspace) == before
    assert workspace.scalar("SELECT count(*) FROM findable_answers") == 0
    spent = workspace.scalar("SELECT sum(cost) FROM findable_calls WHERE purpose = 'probe'")
    assert spent > 0
    assert document["cost"] == pytest.approx(spent)
    assert json.loads(workspace.ran("costs", "--json").stdout)["total"]["cost"] == pytest.approx(spent, abs=1e-6)
    ledger.check(workspace)


@pytest.mark.full
def test_an_item_is_tried_whatever_its_state(workspace: Workspace, people: People) -> None:
    """Answered or parked; and where all are answered, some of those; a seed draws the same ones each time."""
    people(5)
    workspace.ran("tag-live", "--limit", "4")
    workspace.change(PARKING)
    for name in ("person-0000", "person-0004"):
        assert tried(workspace, "--item", name)["items"][0]["outcome"] == "answered"
    drawn = ids(workspace, "--seed", "7", "--n", "2")
    assert (ids(workspace, "--seed", "7", "--n", "2"), len(ids(workspace))) == (drawn, 3)
    assert ledger.people(workspace) == {"total": 5, "tagged": 4, "parked": 1}
    both = workspace.ran("try", "--item", "person-0001", "--n", "1", code=2)
    assert "one item is tried by its name" in both.stderr


def test_money_is_asked_for_and_a_budget_holds(workspace: Workspace, people: People, api: Api) -> None:
    """Off a terminal nothing is asked above the amount; a budget lets nothing through that may pass it, and says so."""
    people(3)
    assert "YES=1" in workspace.ran("try", CONFIRM_ABOVE="0", code=2).stderr
    assert api.seen("POST", LIVE) == []
    stopped = tried(workspace, BUDGET_PER_DAY="0.0000001", code=3)
    assert "BUDGET_PER_DAY" in stopped["stopped"]
    assert ({one["outcome"] for one in stopped["items"]}, api.seen("POST", LIVE)) == ({"not asked"}, [])
    assert len(tried(workspace, CONFIRM_ABOVE="0", YES="1")["items"]) == 3


def test_what_is_no_answer_is_shown_with_its_reason(workspace: Workspace, people: People, api: Api) -> None:
    """It is charged to nothing; a service that fails is asked again, and both calls are told."""
    people(2)
    api.fault("status", path=LIVE)
    api.fault("schema_mismatch", nth=2, path=LIVE)
    said = workspace.ran("try").stdout
    assert "\ninvalid in " in said
    assert ': does-not-validate: tags: Field required\n    {"labels":"' in said
    assert said.count(" s and 2 calls; ") == 1
    assert workspace.scalar("SELECT count(*) FROM findable_attempts") == 0
    ledger.check(workspace)


def test_passages_are_tried_as_well(workspace: Workspace) -> None:
    """No pilot stands in the way; a number of them, drawn."""
    passages.put(workspace, 3)
    said = workspace.ran("try", "--n", "2", "--seed", "3", TASK="passages").stdout
    assert "passage 2 of 2: " in said
    assert "2 passages tried with passage-concepts@1/" in said


def test_a_task_of_ones_own_is_read_as_it_went(workspace: Workspace) -> None:
    """Its rows come in with the first trial; what is sent is no next step, and quotations have their places."""
    put_task()
    done = workspace.ran("try", "--item", "3", TASK="mine")
    assert "rows: 5 new" in done.stderr
    assert "row 1 of 1: 3\n    Next: make clean\n    <text>The kettle boils well 3</text>\nanswered in " in done.stdout
    assert "    quote: text  (copied from the text, word for word)\n" in done.stdout
    quote = tried(workspace, "--item", "3", TASK="mine")["items"][0]["answer"]["quote"]
    assert "The kettle boils well 3"[quote["start"] : quote["end"]] == quote["quote"]
    assert done.stdout.endswith("$0.0001; no answer was stored. Next: make tag TASK=mine\n")


def test_a_broken_file_is_told_by_its_line(workspace: Workspace) -> None:
    """Before anything is asked; a check that fails is its file's fault, too, and stops the rest."""
    put_task()
    whole = Path("tasks/mine.py").read_text()
    Path("tasks/mine.py").write_text(f"{whole}\nx = 1 +\n")
    assert (
        "tasks/mine.py, line 14: invalid syntax; nothing was asked" in workspace.ran("try", TASK="mine", code=2).stderr
    )
    put_task("return answer.nothing")
    assert "tasks/mine.py, line 10: check() failed on" in workspace.ran("try", TASK="mine", code=3).stderr
    spent = json.loads(workspace.ran("costs", "--json").stdout)["total"]
    assert spent["calls"] > spent["lost_calls"] == 0  # of replies that came, whose cost is known
    assert workspace.scalar("SELECT min(cost) FROM findable_calls") > 0
    assert workspace.scalar("SELECT count(*) FROM findable_calls WHERE reply IS NOT NULL") == 0
    assert spent["under_way"] == workspace.scalar("SELECT count(*) FROM findable_answers") == 0
