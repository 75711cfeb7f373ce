"""Which of several answers to a row counts is one rule for every command, the view, the index and Python."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.acceptance.database import schema, sql
from tests.acceptance.product import Workspace, declaration
from tests.acceptance.test_python import script
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

ROWS = {1: "a lamp", 2: "a chair", 3: "a kettle"}
FIELDS = {"mood": "str", "topics": "list[str]"}
# Version 2 was begun last and is the current one; it has no answer to row 3.
FIRST = {1: "one", 2: "one", 3: "one"}
NEWEST = {1: "two", 2: "two", 3: "one"}
CORRECTED = {1: "own", 2: "one", 3: "one"}
HEAD = "import json\n\nimport findable\n\nws = findable.open(quiet=True)\n"
ANSWERED = "print(json.dumps({one.key: one.answer.mood for one in ws.answers('r')}))\n"


def declare(workspace: Workspace, version: int) -> None:
    """Write the file of the task in one of its versions."""
    more = [f"version={version}", "index='{text} {mood}'", "key='id'"]
    text = declaration(FIELDS, prompt=f"version {version}: {{text}}", items="r.csv", more=more)
    workspace.put("tasks/r.py", text)


def answer(request: Json) -> Json:
    """Return the version that was asked."""
    mood = "two" if "version 2" in user_text(request) else "one"
    return {"mood": mood, "topics": [f"of {mood}"]}


def moods(rows: list[dict[str, Any]]) -> dict[int, str]:
    """Return the mood of each row."""
    return {int(row.get("id") or row["key"]): row["mood"] for row in rows}


def check_readers(
    workspace: Workspace, expected: Mapping[int, str], *, exported: bool = True, **options: str
) -> None:
    """Assert that lists, filters, counts, sorting, words and exports go by the same answers."""
    in_order = workspace.read("items", sort="mood", fields="id,mood", limit=9, **options)["items"]
    assert moods(in_order) == expected
    assert [row["mood"] for row in in_order] == sorted(expected.values())

    mood = expected[2]
    for filters in ({"where": f"mood = '{mood}'"}, {"find": mood}, {"tag": f"of {mood}"}):
        listed = workspace.read("items", fields="id", limit=9, **filters, **options)["items"]
        assert {int(row["id"]) for row in listed} == {
            number for number in expected if expected[number] == mood
        }
    counts = workspace.read("items", counts=True, **options)["fields"]["mood"]
    assert {count["value"]: count["count"] for count in counts} == Counter(expected.values())
    if exported:
        assert moods(workspace.exported("r", **options)) == expected


def viewed(workspace: Workspace) -> dict[int, str]:
    """Return what the view shows of each row."""
    return {int(key): mood for key, mood in sql(workspace, "SELECT id, mood FROM r_answered")}


def test_one_rule_decides_which_answer_counts(
    workspace: Workspace, outside_server: Outside
) -> None:
    """Of two versions the current one; the preferred one once it is given or stored, for all that reads answers."""
    workspace.task = "r"
    workspace.settings["YES"] = "1"
    workspace.url = outside_server.url
    outside_server.answerer = answer
    workspace.put(
        "tasks/r.csv", "id,text\n" + "".join(f"{number},{text}\n" for number, text in ROWS.items())
    )
    declare(workspace, 1)
    workspace.do("tag", mode="live")
    declare(workspace, 2)
    workspace.do("tag", mode="live", limit=2)
    workspace.do("index")
    check_readers(workspace, NEWEST, exported=False)
    assert viewed(workspace) == NEWEST

    # A reading command takes the setting, and stores nothing.
    tables = schema(workspace)
    check_readers(workspace, FIRST, PREFER_VERSIONS="r@1")
    assert script(
        workspace, ANSWERED, head=HEAD.replace("True)", "True, prefer_versions='r@1')")
    ) == {str(number): mood for number, mood in FIRST.items()}
    assert schema(workspace) == tables
    assert viewed(workspace) == NEWEST

    # A writing command stores it.
    workspace.do("unpark", all=True, PREFER_VERSIONS="r@1")
    check_readers(workspace, FIRST)
    assert viewed(workspace) == FIRST
    assert script(workspace, ANSWERED, head=HEAD) == {
        str(number): mood for number, mood in FIRST.items()
    }
    assert workspace.status()["index"]["behind"] == 2
    workspace.do("index")
    assert workspace.status()["index"]["behind"] == 0
    assert workspace.found("lamp", where="mood = 'two'", rank="words") == []
    assert workspace.found("lamp", where="mood = 'one'", rank="words") == ["1"]
    workspace.do("correct", item="1", set="mood=own; topics=of own")
    assert viewed(workspace) == CORRECTED

    # It stays over a change of the task and a reading of its rows, until another one is stored.
    workspace.put(
        "tasks/r.csv", "id,text\n" + "".join(f"{number},{text}!\n" for number, text in ROWS.items())
    )
    workspace.do("preflight")
    check_readers(workspace, CORRECTED)
    workspace.do("unpark", all=True, PREFER_VERSIONS="none")
    check_readers(workspace, {**NEWEST, 1: "own"}, exported=False)
    assert viewed(workspace) == {**NEWEST, 1: "own"}


def test_an_export_by_preference_says_whose_answers_it_has(
    workspace: Workspace, outside_server: Outside
) -> None:
    """A row without an answer of the preferred version has the next one, which is counted."""
    workspace.task = "r"
    workspace.settings["YES"] = "1"
    workspace.url = outside_server.url
    outside_server.answerer = answer
    workspace.put("tasks/r.csv", "id,text\n1,a lamp\n2,a chair\n")
    declare(workspace, 1)
    workspace.do("tag", mode="live")
    declare(workspace, 2)
    workspace.do("tag", mode="live", limit=1)

    error_output = workspace.do("export", "out.csv", PREFER_VERSIONS="r@2").err
    with Path(workspace.home / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["mood"]) for row in rows] == [("1", "two"), ("2", "one")]
    assert "wrote r@1/" in error_output
    assert "wrote r@2/" in error_output
