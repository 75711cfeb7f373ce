"""Answers must have the JSON types of their task, and dates must follow ISO 8601."""

import json
from typing import Any

import pytest

from tests.acceptance.product import Workspace, write_declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

FIELDS = {
    "day": "date",
    "moment": "datetime",
    "clock": "time",
    "length": "timedelta",
    "count": "int",
    "share": "float",
    "is_new": "bool",
    "level": "Literal[1, 2]",
}
GOOD: dict[str, Any] = {
    "day": "2024-01-31",
    "moment": "2024-01-31T10:00:00Z",
    "clock": "10:00:00",
    "length": "PT90M",
    "count": 3.0,
    "share": 3,
    "is_new": True,
    "level": "1",
}
# A lax conversion would store these values as others.
INVALID_VALUES: list[tuple[str, Any]] = [
    ("day", "0"),
    ("day", 20240101),
    ("moment", "1700000000"),
    ("moment", 20240101),
    ("clock", "36000"),
    ("length", "1 day"),
    ("count", True),
    ("count", "3"),
    ("share", "0.5"),
    ("is_new", "true"),
    ("is_new", 1),
    ("level", True),
]


@pytest.mark.parametrize("mode", ["batch", "live"])
@pytest.mark.promise("valid")
def test_values_of_another_type_are_invalid(
    served_workspace: Workspace, outside_server: Outside, mode: str
) -> None:
    """A wrong value is invalid and named by its field; 3.0 is a valid integer."""
    task_file = write_declaration(
        FIELDS, prompt="Dates of: {text}", items="rows.csv", extra_arguments=["key='id'"]
    )
    served_workspace.write_file(
        "tasks/dates.py", f"from datetime import date, datetime, time, timedelta\n{task_file}"
    )
    rows = [f"wrong-{number},row {number}\n" for number in range(len(INVALID_VALUES))]
    served_workspace.write_file(
        "tasks/rows.csv", "id,text\n" + "".join(rows) + "good,row good\ncompact,row compact\n"
    )
    served_workspace.task = "dates"

    def answer(request: Json) -> Json:
        """Return the reply of a row, which the last word of its text selects."""
        word = user_text(request).split()[-1].strip("<>/abcdefghijklmnopqrstuvwxyz_ ")
        if "compact" in user_text(request):
            return GOOD | {"day": "20240131"}
        if not word.isdecimal():
            return GOOD
        field, value = INVALID_VALUES[int(word)]
        return GOOD | {field: value}

    outside_server.answerer = answer

    served_workspace.run_command("tag", mode=mode, yes=True, wait=True)
    # Each wrong value must be refused in its own request.
    invalid_requests = {
        request["row"]: request
        for request in served_workspace.logged_requests()
        if request["outcome"] != "answered"
    }
    assert sorted(invalid_requests) == sorted(
        f"wrong-{number}" for number in range(len(INVALID_VALUES))
    )
    for number, (field, _) in enumerate(INVALID_VALUES):
        request = invalid_requests[f"wrong-{number}"]
        assert request["outcome"] == "invalid"
        assert field in request["reason"] or "ISO 8601" in request["reason"], request

    valid_rows = {
        row["id"]: row
        for row in served_workspace.exported_rows()
        if row["id"] in {"good", "compact"}
    }
    for row in valid_rows.values():
        assert (row["day"], row["count"], row["share"], row["level"]) == ("2024-01-31", 3, 3.0, 1)

    # A person's value is validated, too; JSON has no NaN.
    correction = served_workspace.run_command("correct", "good", set="share=NaN", who="ada", code=2)
    assert "share must be a finite number" in correction.stderr

    request = served_workspace.sealed_requests(1)[0]["request"]
    schema = json.dumps(request["generationConfig"]["responseSchema"])
    for format_name in ("date", "date-time", "time", "duration"):
        assert f'"format": "{format_name}"' in schema


def test_text_null_is_counted_in_the_quality_report(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The text "null" is a valid answer; the report counts it by field."""
    served_workspace.write_file("tasks/rows.csv", "id,text\n1,bees\n2,water\n3,law\n4,wax\n")
    served_workspace.write_file(
        "tasks/notes.py",
        write_declaration({"note": "str", "why": "str"}, prompt="{text}", items="rows.csv"),
    )
    served_workspace.task = "notes"
    outside_server.answerer = lambda request: {
        "note": "null" if "bees" in user_text(request) else "a note",
        "why": "because",
    }
    served_workspace.run_command("tag", mode="live", yes=True)
    (report_file,) = sorted((served_workspace.data / "reports").glob("notes-*.md"))[-1:]
    report = report_file.read_text(encoding="utf-8")
    assert 'note: the text "null" in 1 answer' in report
    assert "answers with the word null as a text" in report
