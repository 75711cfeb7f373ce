"""Probabilities of decided fields are listed, exported and reviewed beside the fields."""

import json
from typing import Any

import pytest

from tests.acceptance.database import connect, run_sql
from tests.acceptance.product import PASSAGES, PEOPLE, Workspace, write_declaration
from tests.acceptance.table_files import cells_of
from tests.outside.server import Outside

CLOSED_FIELDS = {
    "tone": 'Literal["praise", "blame", "neutral"]',
    "place": 'Literal["room", "chair", "desk"]',
}
# Fields with names of what a list knows about a row.
HOMONYMS = {
    "confidence": 'Literal["low", "high"]',
    "reviewed": 'Literal["partly", "wholly"]',
    "doubtful": 'Literal["calm", "unsure"]',
    "state": 'Literal["solid", "liquid"]',
    "cost": 'Literal["cheap", "dear"]',
}
THRESHOLD = 0.7
TEXTS = (
    "praise for room {}",
    "blame for chair {}",
    "neutral about desk {}",
    "praise and blame for room {}",
)


def read_stored_confidences(workspace: Workspace) -> list[str | None]:
    """Return the confidences of all stored answers as JSON."""
    with connect(workspace) as connection:
        query = "SELECT confidences FROM askrows_answers ORDER BY id"
        return [row[0] for row in connection.execute(query).fetchall()]


@pytest.fixture(name="tickets")
def _tickets(served_workspace: Workspace) -> Workspace:
    """Return a workspace whose commands use the task `tickets`."""
    served_workspace.task = "tickets"
    served_workspace.settings["YES"] = "1"
    return served_workspace


def declare(workspace: Workspace, fields: dict[str, str], row_count: int = 24) -> None:
    """Write the task's file and its rows, with keys that count from 1."""
    text = write_declaration(fields, prompt="Ticket: {text}", items="tickets.csv")
    workspace.write_file("tasks/tickets.py", text)
    lines = ["id,text,tone_confidence"]
    for number in range(1, row_count + 1):
        text = TEXTS[number % len(TEXTS)].format(number)
        lines.append(f'{number},"{text}",own {number}')
    workspace.write_file("tasks/tickets.csv", "\n".join([*lines, ""]))


def read_probabilities(workspace: Workspace) -> dict[str, dict[str, float]]:
    """Return the exported probabilities by row id and field."""
    return {
        str(row["id"]): {
            "tone": row["answer_tone_confidence"],
            "place": row["place_confidence"],
        }
        for row in workspace.exported_rows()
    }


def list_ids(workspace: Workspace, condition: str, **options: Any) -> set[str]:
    """Return the ids of the rows that meet a condition."""
    document = workspace.read_json("items", where=condition, limit=100, **options)
    return {row["id"] for row in document["rows"]}


def find_doubtful(probabilities: dict[str, dict[str, float]], threshold: float) -> set[str]:
    """Return the ids of rows with a lower probability."""
    return {
        row_id for row_id, by_field in probabilities.items() if min(by_field.values()) < threshold
    }


def test_doubtful_rows_are_counted_and_listed_until_a_person_looked(tickets: Workspace) -> None:
    """`status`, `items` and the threshold agree; a correction or a review ends the doubt."""
    declare(tickets, CLOSED_FIELDS)
    tickets.run_command("tag", mode="decide")
    probabilities = read_probabilities(tickets)
    doubtful_ids = find_doubtful(probabilities, THRESHOLD)
    assert 2 < len(doubtful_ids) < len(probabilities)
    assert list_ids(tickets, "doubtful = true") == doubtful_ids
    assert list_ids(tickets, "doubtful = false") == probabilities.keys() - doubtful_ids
    doubtful_row = tickets.read_json("items", where="doubtful = true", limit=1)["rows"][0]
    assert doubtful_row["confidence"] == min(probabilities[doubtful_row["id"]].values())
    strict_ids = find_doubtful(probabilities, 0.9)
    assert list_ids(tickets, "doubtful = true", DOUBTFUL="0.9") == strict_ids

    document = tickets.status()["doubtful"]
    assert (document["count"], document["answered"]) == (len(doubtful_ids), 24)
    assert document["below"] == THRESHOLD

    corrected_id, reviewed_id, *_ = sorted(doubtful_ids)
    tones = {str(row["id"]): row["tone"] for row in tickets.exported_rows()}
    other_tone = "blame" if tones[corrected_id] == "praise" else "praise"
    tickets.run_command("correct", row=corrected_id, set=f"tone={other_tone}", who="ada")
    tickets.run_command("correct", row=reviewed_id, reviewed=True, who="ada")
    remaining_ids = doubtful_ids - {corrected_id, reviewed_id}
    assert list_ids(tickets, "doubtful = true") == remaining_ids
    assert tickets.status()["doubtful"]["count"] == len(remaining_ids)
    assert list_ids(tickets, "tone.confidence IS NULL") == {corrected_id}
    place = probabilities[corrected_id]["place"]
    assert read_probabilities(tickets)[corrected_id] == {"tone": None, "place": place}
    query = "SELECT answer_tone_confidence, place_confidence FROM tickets_answered WHERE id = :id"
    assert run_sql(tickets, query, id=corrected_id) == [(None, place)]
    *_, correction = tickets.read_json("show", row=corrected_id)["answers"]
    assert correction["confidences"]["place"]["model"] == "gemini-decision-1"
    options = {"where": "tone.confidence IS NULL", "fields": "id,confidence"}
    assert [row["confidence"] for row in tickets.read_json("items", **options)["rows"]] == [place]

    tickets.run_command("correct", row=corrected_id, undo=1, who="ada")
    assert list_ids(tickets, "doubtful = true") == remaining_ids | {corrected_id}
    assert read_probabilities(tickets) == probabilities
    tickets.run_command("items", DOUBTFUL="1.5", code=2)


@pytest.mark.alike
def test_confidences_are_beside_their_fields_everywhere(tickets: Workspace) -> None:
    """Views, exports, lists and `show` have the same numbers; columns of the user keep theirs.

    The numbers have at most four decimals, so that no number is shown as another than is compared.
    """
    declare(tickets, CLOSED_FIELDS)
    tickets.run_command("tag", mode="decide")
    probabilities = read_probabilities(tickets)

    query = "SELECT id, answer_tone_confidence, place_confidence, tone_confidence"
    for row_id, tone, place, own in run_sql(tickets, f"{query} FROM tickets_answered"):
        assert {"tone": tone, "place": place} == probabilities[str(row_id)]
        assert (tone, place) == (round(tone, 4), round(place, 4))
        assert own == f"own {row_id}"
    query = "SELECT count(*) FROM tickets_answers WHERE tone_confidence BETWEEN 0 AND 1"
    assert run_sql(tickets, query) == [(24,)]

    tickets.run_command("export", "out.csv")
    header, *rows = cells_of(tickets.home / "out.csv")
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        assert float(cells["answer_tone_confidence"]) == probabilities[cells["id"]]["tone"]
        assert cells["tone_confidence"] == f"own {cells['id']}"

    names = "id,tone,answer_tone_confidence,confidence,doubtful"
    listing = tickets.read_json("items", fields=names, sort="confidence", limit=100)["rows"]
    least = [row["confidence"] for row in listing]
    assert least == sorted(min(numbers.values()) for numbers in probabilities.values())
    assert all(row["doubtful"] == (row["confidence"] < THRESHOLD) for row in listing)

    dotted_options = {"fields": "id,tone.confidence", "sort": "-tone.confidence", "limit": 100}
    listing = tickets.read_json("items", **dotted_options)["rows"]
    assert {row["id"]: row["answer_tone_confidence"] for row in listing} == {
        row_id: numbers["tone"] for row_id, numbers in probabilities.items()
    }
    tones = [row["answer_tone_confidence"] for row in listing]
    assert tones == sorted(tones, reverse=True)

    (answer,) = tickets.read_json("show", row="1")["answers"]
    stored_numbers = {name: member["probability"] for name, member in answer["confidences"].items()}
    assert stored_numbers == probabilities["1"]
    assert {member["model"] for member in answer["confidences"].values()} == {"gemini-decision-1"}


@pytest.mark.alike
@pytest.mark.parametrize("condition", ["tone.confidence < 0.8", "NOT tone.confidence >= 0.8"])
def test_confidence_of_a_field_is_a_condition(tickets: Workspace, condition: str) -> None:
    """A condition compares the number; `answer.` may precede the field."""
    declare(tickets, CLOSED_FIELDS)
    tickets.run_command("tag", mode="decide")
    probabilities = read_probabilities(tickets)
    expected_ids = {row_id for row_id, numbers in probabilities.items() if numbers["tone"] < 0.8}
    assert expected_ids
    assert list_ids(tickets, condition) == expected_ids
    assert list_ids(tickets, f"({condition}) AND place = 'room'") == {
        row_id for row_id in list_ids(tickets, "place = 'room'") if row_id in expected_ids
    }
    assert list_ids(tickets, "answer.tone.confidence < 0.8") == expected_ids
    message = tickets.run_command("items", where="confidences < 1", code=2).stderr
    names = "answer_tone_confidence, place_confidence, confidence, doubtful, reviewed"
    assert f"there are also {names}" in message


@pytest.mark.alike
def test_task_without_confidences_keeps_its_columns(tickets: Workspace) -> None:
    """Nothing is added to the exports, views and status of a task that no decision answered."""
    declare(tickets, CLOSED_FIELDS, 4)
    tickets.run_command("tag", mode="live")
    (row, *_) = tickets.exported_rows()
    assert [name for name in row if name.endswith("confidence")] == ["tone_confidence"]
    query = "SELECT * FROM tickets_answered WHERE id = '1'"
    assert (
        len(run_sql(tickets, query)[0])
        == len({"id", "text", "tone_confidence", *CLOSED_FIELDS}) + 3
    )
    assert "doubtful" not in tickets.status()
    assert list_ids(tickets, "doubtful = true") == set()
    assert len(list_ids(tickets, "doubtful = false")) == 4
    message = tickets.run_command("items", where="place.confidence < 1", code=2).stderr
    assert "there is no column 'place.confidence'" in message


def test_answer_of_an_equal_row_has_its_confidences(
    tickets: Workspace, outside_server: Outside
) -> None:
    """Rows with equal texts are decided once, with equal probabilities.

    A forgotten row loses its own.
    """
    declare(tickets, CLOSED_FIELDS, 1)
    header = "id,text,tone_confidence\n"
    tickets.write_file("tasks/tickets.csv", f"{header}1,a lamp,x\n2,a lamp,y\n")
    tickets.run_command("tag", mode="decide")
    tickets.write_file("tasks/tickets.csv", f"{header}1,a lamp,x\n2,a lamp,y\n3,a lamp,z\n")
    tickets.run_command("tag", mode="decide")
    assert len(outside_server.decisions) == 1
    probabilities = read_probabilities(tickets)
    assert probabilities["1"]["tone"] is not None
    assert probabilities["1"] == probabilities["2"] == probabilities["3"]

    tickets.run_command("forget", row="2", yes=True)
    stored_confidences = read_stored_confidences(tickets)
    assert sorted(value is None for value in stored_confidences) == [False, False, True]


def import_people_and_passages(workspace: Workspace) -> None:
    """Import three people and three passages, and let a model answer them."""
    workspace.import_people(3)
    workspace.run_command("tag", mode="live", yes=True)
    passages = [{"id": f"p-{number}", "text": f"Bees make honey {number}."} for number in range(3)]
    lines = "".join(f"{json.dumps(passage)}\n" for passage in passages)
    workspace.write_file("passages.jsonl", lines)
    workspace.run_command("import_passages", "passages.jsonl")
    workspace.run_command("tag", mode="live", yes=True, skip_pilot=True, TASK=PASSAGES)


@pytest.mark.alike
@pytest.mark.parametrize("subject", [PEOPLE, PASSAGES])
def test_review_of_people_and_passages_is_a_condition(workspace: Workspace, subject: str) -> None:
    """A generating model gives no confidence; `reviewed` finds the rows that a person marked."""
    import_people_and_passages(workspace)
    options = {"TASK": subject}
    row_ids = list_ids(workspace, "reviewed = false", **options)
    assert len(row_ids) == 3
    assert list_ids(workspace, "reviewed = true", **options) == set()
    assert "doubtful" not in workspace.status(**options)
    assert not [name for row in workspace.exported_rows(subject) for name in row if "_conf" in name]

    (row, *_) = workspace.read_json("items", **options)["rows"]
    name = row.get("username", row["id"])
    workspace.run_command("correct", name, reviewed=True, who="ada", **options)
    assert list_ids(workspace, "reviewed = true", **options) == {row["id"]}


def test_fields_with_names_of_judgements_are_told_apart(tickets: Workspace) -> None:
    """A plain name is about the row, `answer.NAME` is the field, and no column hides another."""
    declare(tickets, HOMONYMS, row_count=8)
    tickets.run_command("tag", mode="decide")
    tickets.run_command("export", "out.csv", cost=True)
    header, *lines = (tickets.home / "out.csv").read_text().splitlines()
    names = header.split(",")
    assert len(set(names)) == len(names)
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines]
    assert {row["cost"] for row in rows} <= {"cheap", "dear"}
    assert all(float(row["answer_cost"]) > 0 for row in rows)

    fields = "id,answer.confidence,confidence,answer.reviewed,reviewed,doubtful,state"
    listed_rows = tickets.read_json("items", fields=fields)["rows"]
    for row, listed in zip(rows, listed_rows, strict=True):
        least = min(float(row[f"{name}_confidence"]) for name in HOMONYMS)
        assert listed["confidence"] == least
        assert listed["answer_confidence"] == row["answer_confidence"]
        assert listed["answer_reviewed"] == row["answer_reviewed"]
        assert listed["doubtful"] == (least < THRESHOLD)
        assert (listed["reviewed"], listed["row_state"]) == (False, "answered")
        assert listed["state"] == row["state"]

    least_numbers = {row["id"]: row["confidence"] for row in listed_rows}
    low_ids = {row["id"] for row in rows if row["answer_confidence"] == "low"}
    assert list_ids(tickets, "answer.confidence = 'low'") == low_ids
    assert list_ids(tickets, "reviewed = false AND answer.reviewed IS NOT NULL") == set(
        least_numbers
    )
