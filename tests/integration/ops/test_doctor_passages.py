"""`make doctor` compares every quotation with its passage, and finds each planted fault."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration import many_passages as passages
from tests.lab import Workspace, ran

CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
COUNT = 6
FIRST_CONCEPT = "(SELECT min(id) FROM passage_concepts WHERE evidence IS NOT NULL)"


@pytest.fixture
def answered_workspace(workspace: Workspace, begun: Callable[..., None]) -> Workspace:
    """Prepare people and passages with their answers; TASK is passages."""

    def prepare() -> None:
        """Import and tag."""
        people = workspace.data.with_name("people.csv")
        people.write_text("Username,Bio\nann,I keep bees.\nbob,I teach water law.\n")
        ran(workspace, "import", str(people))
        passages.import_passages(workspace, COUNT)
        for task in ("experts", "passages"):
            workspace.ran_each(*CHAIN, TASK=task)
        ran(workspace, "index")

    begun(prepare)
    workspace.environ["ASKROWS_TASK"] = "passages"
    return workspace


def _run_doctor(workspace: Workspace, *args: str, **values: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the document of `doctor`."""
    result = workspace.run("doctor", "--json", *args, **values)
    document: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, document


def _as_text(workspace: Workspace, expression: str) -> str:
    """Return SQL that converts a text to the type of the column."""
    return f"CAST({expression} AS jsonb)" if workspace.on_postgresql else expression


def _set_evidence(workspace: Workspace, document: object) -> None:
    """Replace the evidence of the first concept."""
    cell = _as_text(workspace, ":cell")
    assignment = f"evidence = {cell} WHERE id = {FIRST_CONCEPT}"
    statement = f"UPDATE passage_concepts SET {assignment}"  # noqa: S608 - ours
    workspace.change(statement, cell=json.dumps(document))


def _move_quotation(workspace: Workspace) -> None:
    """Move a quotation by a character."""
    query = f"SELECT evidence FROM passage_concepts WHERE id = {FIRST_CONCEPT}"  # noqa: S608 - ours
    (cell,) = workspace.query(query)[0]
    document = json.loads(cell) if isinstance(cell, str) else cell
    document["support"][0]["start"] += 1
    document["support"][0]["end"] += 1
    _set_evidence(workspace, document)


# Name: a function that plants the fault, and part of doctor's message.
FAULTS: dict[str, tuple[Callable[[Workspace], None], str]] = {
    "moved": (
        _move_quotation,
        "1 quotations that differ from the text at their offsets, of p-0000",
    ),
    "another text": (
        lambda workspace: workspace.change(
            "UPDATE passages SET text = 'other' WHERE id = 'p-0003'"
        ),
        "differ from the text at their offsets, of p-0003",
    ),
    "empty support": (
        lambda workspace: _set_evidence(
            workspace, {"surface": "x", "support": [], "context": "", "quality": {}}
        ),
        "1 quotations that differ from the text at their offsets, of p-0000",
    ),
    "answer gone": (
        lambda workspace: workspace.change(
            "UPDATE askrows_answers SET applied = false WHERE row_id = 'p-0002'"
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


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_doctor_finds_each_planted_contradiction(answered_workspace: Workspace, name: str) -> None:
    """Doctor exits with 5, and names the passage of the contradiction."""
    plant, message = FAULTS[name]
    plant(answered_workspace)
    exit_code, document = _run_doctor(answered_workspace)

    matches = [finding for finding in document["findings"] if message in finding["said"]]
    contradictions = [finding["contradiction"] for finding in matches]
    assert (exit_code, contradictions) == (5, [True]), document
    assert sum(finding["contradiction"] for finding in document["findings"]) == 1
    assert document["rows"]["passages"]["faults"] > 0
