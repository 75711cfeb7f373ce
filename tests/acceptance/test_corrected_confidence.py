"""A corrected row keeps the confidences of the fields that no person set."""

import csv
from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import Workspace, write_declaration

FIELDS = {
    "tone": 'Literal["praise", "blame", "neutral"]',
    "place": 'Literal["room", "chair", "desk"]',
    "is_urgent": "bool",
}
ROW_COUNT = 12
# The values of the first row and of its correction.
VIEW_QUERIES = (
    """
    SELECT tone_confidence, place_confidence, is_urgent_confidence
    FROM tickets_answered WHERE id = '1'
    """,
    """
    SELECT tone_confidence, place_confidence, is_urgent_confidence
    FROM tickets_answers WHERE id = '1' AND extractor = 'person'
    """,
)
LISTED = "id,place_confidence,confidence"
# Each field with another value than the first answer of the model, by that answer.
OTHER_TONES = {"praise": "blame", "blame": "neutral", "neutral": "praise"}


@pytest.fixture(name="tickets")
def _tickets(served_workspace: Workspace) -> Workspace:
    """Return a workspace whose task `tickets` was answered by a decision model."""
    served_workspace.task = "tickets"
    served_workspace.settings["YES"] = "1"
    text = write_declaration(FIELDS, prompt="Ticket: {text}", items="tickets.csv")
    served_workspace.write_file("tasks/tickets.py", text)
    rows = [
        f"{number},blame for the chair of {number} Žižkov" for number in range(1, ROW_COUNT + 1)
    ]
    served_workspace.write_file("tasks/tickets.csv", "\n".join(["id,text", *rows, ""]))
    served_workspace.run_command("tag", mode="decide")
    return served_workspace


def read_row(workspace: Workspace, row_id: str = "1") -> dict[str, object]:
    """Return a row of the export."""
    (row,) = [row for row in workspace.exported_rows() if row["id"] == row_id]
    return row


def read_probabilities(workspace: Workspace, row_id: str = "1") -> dict[str, Any]:
    """Return the exported probabilities of a row by field."""
    row = read_row(workspace, row_id)
    return {name: row[f"{name}_confidence"] for name in FIELDS}


def correct(workspace: Workspace, **options: int | str) -> None:
    """Correct the first row, or undo an edit of it."""
    workspace.run_command("correct", item="1", who="ada", **options)


def test_uncorrected_fields_keep_their_confidence_for_every_reader(tickets: Workspace) -> None:
    """Exports, views, conditions, lists and `show` have the number of the decision, also undone."""
    row = read_row(tickets)
    probabilities = read_probabilities(tickets)
    correct(tickets, set=f"tone={OTHER_TONES[str(row['tone'])]}")

    expected = {**probabilities, "tone": None}
    assert read_probabilities(tickets) == expected
    for query in VIEW_QUERIES:
        assert run_sql(tickets, query) == [tuple(expected.values())]
    tickets.run_command("export", "out.csv")
    with (tickets.home / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        first_cells, *_ = csv.DictReader(file)
    assert first_cells["tone_confidence"] == ""
    assert float(first_cells["place_confidence"]) == probabilities["place"]

    condition = f"id = '1' AND place.confidence <= {probabilities['place']}"
    (listed_row,) = tickets.read_json("items", where=condition, fields=LISTED)["items"]
    assert listed_row["place_confidence"] == probabilities["place"]
    assert listed_row["confidence"] == min(
        number for number in (probabilities["place"], probabilities["is_urgent"])
    )
    assert tickets.read_json("items", where="id = '1' AND tone.confidence < 1")["items"] == []
    *_, correction = tickets.read_json("show", item="1")["answers"]
    assert correction["confidences"].keys() == {"place", "is_urgent"}
    assert correction["confidences"]["place"]["model"] == "gemini-decision-1"
    tickets.run_command("correct", item="1", undo=1)
    assert read_probabilities(tickets) == probabilities
