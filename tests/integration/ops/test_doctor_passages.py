"""`make doctor` where passages are: every quotation is held against its text, and each planted fault is found."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration import many_passages as passages
from tests.lab import Workspace, ran

CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
COUNT = 6
ONE = "(SELECT min(id) FROM passage_concepts WHERE evidence IS NOT NULL)"


@pytest.fixture
def filled(workspace: Workspace, begun: Callable[..., None]) -> Workspace:
    """A workspace of people and passages, both with their answers; TASK says passages."""

    def prepare() -> None:
        """Import and ask."""
        people = workspace.data.with_name("people.csv")
        people.write_text("Username,Bio\nann,I keep bees.\nbob,I teach water law.\n")
        ran(workspace, "import", str(people))
        passages.put(workspace, COUNT)
        for task in ("experts", "passages"):
            workspace.ran_each(*CHAIN, TASK=task)
        ran(workspace, "index")

    begun(prepare)
    workspace.environ["FINDABLE_TASK"] = "passages"
    return workspace


def _doctor(workspace: Workspace, *args: str, **values: str) -> tuple[int, dict[str, Any]]:
    """Return doctor's exit code and document."""
    result = workspace.run("doctor", "--json", *args, **values)
    found: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, found


def _as_text(workspace: Workspace, expression: str) -> str:
    """Return SQL that makes JSON of a text, as the column has it."""
    return f"CAST({expression} AS jsonb)" if workspace.on_postgresql else expression


def _evidence(workspace: Workspace, document: object) -> None:
    """Put another evidence into the first concept."""
    cell = _as_text(workspace, ":cell")
    workspace.change(
        f"UPDATE passage_concepts SET evidence = {cell} WHERE id = {ONE}",  # noqa: S608 - ours
        cell=json.dumps(document),
    )


def _moved(workspace: Workspace) -> None:
    """Move one quotation by one character."""
    (cell,) = workspace.query(f"SELECT evidence FROM passage_concepts WHERE id = {ONE}")[0]  # noqa: S608 - ours
    document = json.loads(cell) if isinstance(cell, str) else cell
    document["support"][0]["start"] += 1
    document["support"][0]["end"] += 1
    _evidence(workspace, document)


FAULTS: dict[str, tuple[Callable[[Workspace], None], str]] = {
    "moved": (_moved, "1 quotations that are not what the text says at their place, of p-0000"),
    "another text": (
        lambda workspace: workspace.change(
            "UPDATE passages SET text = 'other' WHERE id = 'p-0003'"
        ),
        "not what the text says at their place, of p-0003",
    ),
    "empty support": (
        lambda workspace: _evidence(
            workspace, {"surface": "x", "support": [], "context": "", "quality": {}}
        ),
        "1 quotations that are not what the text says at their place, of p-0000",
    ),
    "answer gone": (
        lambda workspace: workspace.change(
            "UPDATE findable_answers SET applied = false WHERE item_id = 'p-0002'"
        ),
        "1 concepts without an applied answer, of p-0002",
    ),
    "concepts gone": (
        lambda workspace: workspace.change(
            "DELETE FROM passage_concepts WHERE passage_id = 'p-0001'"
        ),
        "1 applied answers without concepts, of p-0001",
    ),
}


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("name", FAULTS)
def test_what_contradicts_is_found(filled: Workspace, name: str) -> None:
    """Each planted contradiction is told with the passage it is of, and the exit code is 5."""
    plant, said = FAULTS[name]
    plant(filled)
    code, found = _doctor(filled)
    assert (
        code,
        [finding["contradiction"] for finding in found["findings"] if said in finding["said"]],
    ) == (
        5,
        [True],
    ), found
    assert sum(finding["contradiction"] for finding in found["findings"]) == 1
    assert found["rows"]["passages"]["faults"] > 0
