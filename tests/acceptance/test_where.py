"""A condition selects the same rows in `items`, which reads the database, and in `search`."""

import json
import re
from typing import Any

import pytest

from tests.acceptance.product import Workspace, write_declaration
from tests.acceptance.scripts import PREAMBLE, script
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

# Requests have the id of a town. The stars are texts, as in a CSV file; the beds are JSON values.
TOWNS: dict[int, dict[str, Any]] = {
    1: {
        "city": "Straße",
        "stars": "3",
        "beds": 3,
        "day": "2026-01-31",
        "tone": "own",
        "parts": ["Bar", "3"],
    },
    2: {
        "city": "STRASSE",
        "stars": "03",
        "beds": 3.0,
        "day": "2026-02-01",
        "tone": "own",
        "Topics": "own",
    },
    3: {"city": "strasse", "stars": "3.0", "beds": "03", "day": "", "tone": "", "parts": None},
    4: {
        "city": "\ufb01lm \uff2e\uff21\uff2d\uff25",
        "stars": "1e1",
        "beds": True,
        "parts": {"in": ["bar", 3]},
    },
    5: {
        "city": "İzmir",
        "stars": "many",
        "beds": 1e-7,
        "day": "2025-12-31",
        "parts": [["BAR"], False],
    },
    6: {"city": "", "stars": None, "beds": 12, 'a "b"\\c': "odd", "parts": "a bar"},
}
ANSWERS: dict[int, dict[str, Any]] = {
    1: {
        "tone": "Gut",
        "level": 3,
        "is_open": True,
        "topics": ["Maße", "law"],
        "since": "2026-01-31",
    },
    2: {"tone": "GUT", "level": 30, "is_open": False, "topics": [], "since": None},
    3: {"tone": "", "level": -3, "is_open": True, "topics": ["MASSE"], "since": "2025-01-31"},
    4: {"tone": "schlecht", "level": 4, "is_open": False, "topics": ["x"], "since": "2026-03-01"},
    5: {"tone": "3", "level": 5, "is_open": True, "topics": ["Law"], "since": None},
    6: {"tone": "gut!", "level": 6, "is_open": True, "topics": ["y", "massen"], "since": None},
}
FIELDS = {
    "tone": "str",
    "level": "int",
    "is_open": "bool",
    "topics": "list[str]",
    "since": "str | None",
}
CASES: dict[str, set[int]] = {
    "city = 'strasse' AND city CONTAINS 'ß' AND city = 'straẞe'": {1, 2, 3},
    "city != 'strasse'": {4, 5},
    "NOT city = 'strasse'": {4, 5},
    "city CONTAINS 'SS'": {1, 2, 3},
    "city = 'film name'": {4},
    "city CONTAINS '\uff49'": {4, 5},
    "city CONTAINS 'E'": {1, 2, 3, 4},
    "city = 'İZMİR' OR city = 'i\u0307zmir'": {5},
    "city IN ('straSSE', 'FILM Name', 'x')": {1, 2, 3, 4},
    "city NOT IN ('straSSE', 'x')": {4, 5},
    "city IS NOT NULL AND city < 'g'": {4},
    "city >= 'STRASSE'": {1, 2, 3},
    "stars = 3 AND stars <= 3": {1, 2, 3},
    "stars != 3": {4},
    "NOT stars > 3": {1, 2, 3},
    "stars = '3'": {1},
    "stars IN ('many', 10)": {4, 5},
    "stars NOT IN ('many', 10)": {1, 2, 3},
    "beds = 3": {1, 2, 3},
    "beds = '3'": {1},
    "beds = TRUE": {4},
    "beds = '0.0000001'": {5},
    "beds = 1": set(),
    "day < '2026-02'": {1, 5},
    "day != '2026-01-31'": {2, 5},
    "parts CONTAINS 'bar'": {1, 4, 5, 6},
    '"a ""b""\\c" = \'ODD\'': {6},
    "level = 3": {1},
    "level > 3 AND NOT level = 30": {4, 5, 6},
    "level IN (-3, 5)": {3, 5},
    "is_open = TRUE": {1, 3, 5, 6},
    "is_open != TRUE": {2, 4},
    "topics = 'masse'": {1, 3},
    "topics != 'law'": {3, 4, 6},
    "Topics = 'own'": {2},
    "topics CONTAINS 'masse'": {1, 3, 6},
    "topics IS NULL": {2},
    "since >= '2026'": {1, 4},
    # A column of the source has its own name; a field of the answer with that name gets a prefix.
    "tone = 'own'": {1, 2},
    "answer.tone = 'gut'": {1, 2},
    "answer_tone = 'gut'": {1, 2},
    "answer.tone = 3": {5},
}
LIST_AND_SEARCH = """
def list_and_search(condition):
    rows = ws.rows("towns", where=condition)
    hits = ws.search("town", 100, "towns", rank="words", where=condition)
    return [int(row["id"]) for row in rows], [int(hit.metadata["id"]) for hit in hits]

print(json.dumps([list_and_search(condition) for condition in conditions]))
"""


def answer(request: Json) -> Json:
    """Return the answer about the town whose id is in the prompt."""
    return ANSWERS[int(user_text(request).split(">")[1].split("<")[0])]


def prepare_towns(workspace: Workspace, server: Outside) -> None:
    """Tag and index all towns."""
    workspace.task = "towns"
    workspace.settings["YES"] = "1"
    index = "index='town {id}'"
    workspace.write_file(
        "tasks/towns.py",
        write_declaration(
            FIELDS, prompt="{id}", items="towns.jsonl", extra_arguments=[index, "key='id'"]
        ),
    )
    lines = []
    for number, town in TOWNS.items():
        lines.append(json.dumps({"id": number, **town}, ensure_ascii=False))
    workspace.write_file("tasks/towns.jsonl", "\n".join(lines))
    workspace.url = server.url
    server.answerer = answer
    workspace.run_command("tag", mode="live")
    workspace.run_command("index")


@pytest.mark.promise("readers")
def test_condition_selects_the_same_rows_in_lists_and_searches(
    workspace: Workspace, outside_server: Outside
) -> None:
    """Lists and searches compare texts, numbers, lists, blank cells and names in the same way."""
    prepare_towns(workspace, outside_server)

    id_pairs = script(workspace, f"conditions = {[*CASES]!r}\n{LIST_AND_SEARCH}", head=PREAMBLE)

    for condition, (list_ids, search_ids) in zip(CASES, id_pairs, strict=True):
        assert set(list_ids) == CASES[condition], condition
        assert set(search_ids) == CASES[condition], condition

    condition = "city = 'strasse' OR stars = 10 OR topics = 'law' AND NOT is_open != TRUE"
    rows = workspace.read_json("items", where=condition, limit=100)["rows"]
    assert sorted(int(row["id"]) for row in rows) == [1, 2, 3, 4, 5]
    assert workspace.read_json("items", where=condition, counts=True)["total"] == 5
    assert sorted(workspace.search("town", where=condition, rank="words")) == [
        "1",
        "2",
        "3",
        "4",
        "5",
    ]

    messages = [
        workspace.run_command(*verb, where="towm = 1", code=2).stderr
        for verb in (("items",), ("search", "town"))
    ]
    assert all("WHERE, character 1: there is no column 'towm'" in message for message in messages)
    assert all(re.search("answer[._]tone", message) for message in messages)
