"""Commands, views, the index and Python choose the same answer of several to a row."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.database import read_schema, run_sql
from tests.acceptance.product import Workspace, write_declaration
from tests.acceptance.scripts import PREAMBLE, script
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

ROWS = {1: "a lamp", 2: "a chair", 3: "a kettle"}
FIELDS = {"mood": "str", "topics": "list[str]"}
# Version 2 started last and is current; it has no answer to row 3.
FIRST = {1: "one", 2: "one", 3: "one"}
NEWEST = {1: "two", 2: "two", 3: "one"}
CORRECTED = {1: "own", 2: "one", 3: "one"}
PRINT_MOODS = "print(json.dumps({answer.key: answer.answer.mood for answer in ws.answers('r')}))\n"


def declare(workspace: Workspace, version: int) -> None:
    """Write the task file with a version."""
    arguments = [f"version={version}", "index='{text} {mood}'", "key='id'"]
    text = write_declaration(
        FIELDS, prompt=f"version {version}: {{text}}", items="r.csv", extra_arguments=arguments
    )
    workspace.write_file("tasks/r.py", text)


def answer(request: Json) -> Json:
    """Return an answer that names the version of the request."""
    mood = "two" if "version 2" in user_text(request) else "one"
    return {"mood": mood, "topics": [f"of {mood}"]}


def moods(rows: list[dict[str, Any]]) -> dict[int, str]:
    """Return the mood of each row."""
    return {int(row.get("id") or row["key"]): row["mood"] for row in rows}


def check_readers(
    workspace: Workspace,
    expected: Mapping[int, str],
    **options: str,
) -> None:
    """Assert that lists, filters, counts, sorting, words and exports use the same answers."""
    sorted_rows = workspace.read_json("items", sort="mood", fields="id,mood", limit=9, **options)[
        "rows"
    ]
    assert moods(sorted_rows) == expected
    assert [row["mood"] for row in sorted_rows] == sorted(expected.values())

    mood = expected[2]
    for filters in ({"where": f"mood = '{mood}'"}, {"find": mood}, {"tag": f"of {mood}"}):
        rows = workspace.read_json("items", fields="id", limit=9, **filters, **options)["rows"]
        expected_ids = {number for number in expected if expected[number] == mood}
        assert {int(row["id"]) for row in rows} == expected_ids

    for number, preferred_mood in expected.items():
        answers = workspace.read_json("show", row=str(number), **options)["answers"]
        shown_moods = [answer["answer"]["mood"] for answer in answers if answer["preferred"]]
        assert shown_moods == [preferred_mood]

    counts = workspace.read_json("items", counts=True, **options)["fields"]["mood"]
    assert {count["value"]: count["count"] for count in counts} == Counter(expected.values())
    assert moods(workspace.exported_rows("r", **options)) == expected


def moods_in_view(workspace: Workspace) -> dict[int, str]:
    """Return the mood of each row in the view."""
    return {int(key): mood for key, mood in run_sql(workspace, "SELECT id, mood FROM r_answered")}


@pytest.mark.promise("readers")
def test_one_rule_decides_which_answer_counts(
    workspace: Workspace, outside_server: Outside
) -> None:
    """All readers use the current version, or the preferred version of a setting or the store."""
    workspace.task = "r"
    workspace.settings["YES"] = "1"
    workspace.url = outside_server.url
    outside_server.answerer = answer
    lines = [f"{number},{text}\n" for number, text in ROWS.items()]
    workspace.write_file("tasks/r.csv", "id,text\n" + "".join(lines))
    declare(workspace, 1)
    workspace.run_command("tag", mode="live")
    declare(workspace, 2)
    workspace.run_command("tag", mode="live", limit=2)
    workspace.run_command("index")
    check_readers(workspace, NEWEST)
    assert moods_in_view(workspace) == NEWEST
    workspace.run_command("items", sort="topics", code=2)

    # A command that only reads uses the setting and stores nothing.
    tables = read_schema(workspace)
    check_readers(workspace, FIRST, PREFER_VERSIONS="r@1")
    first_moods = {str(number): mood for number, mood in FIRST.items()}
    head = PREAMBLE.replace("True)", "True, prefer_versions='r@1')")
    assert script(workspace, PRINT_MOODS, head=head) == first_moods
    assert read_schema(workspace) == tables
    assert moods_in_view(workspace) == NEWEST

    # A command that writes stores the preference.
    workspace.run_command("unpark", all=True, PREFER_VERSIONS="r@1")
    check_readers(workspace, FIRST)
    assert moods_in_view(workspace) == FIRST
    assert script(workspace, PRINT_MOODS, head=PREAMBLE) == first_moods
    assert workspace.status()["index"]["behind"] == 2
    workspace.run_command("index")
    assert workspace.status()["index"]["behind"] == 0
    assert workspace.search("lamp", where="mood = 'two'", rank="words") == []
    assert workspace.search("lamp", where="mood = 'one'", rank="words") == ["1"]
    workspace.run_command("correct", row="1", set="mood=own; topics=of own")
    assert moods_in_view(workspace) == CORRECTED

    # The preference survives new texts of the rows until another preference is stored.
    lines = [f"{number},{text}!\n" for number, text in ROWS.items()]
    workspace.write_file("tasks/r.csv", "id,text\n" + "".join(lines))
    workspace.run_command("preflight")
    check_readers(workspace, CORRECTED)
    workspace.run_command("unpark", all=True, PREFER_VERSIONS="none")
    check_readers(workspace, {**NEWEST, 1: "own"})
    assert moods_in_view(workspace) == {**NEWEST, 1: "own"}
