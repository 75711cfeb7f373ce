"""What the page counts is what it lists, and a short list leads to all of it."""

import json
import re
from html import unescape
from typing import Any

from tests.acceptance.product import Workspace, write_declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

ROW_COUNT = 25
REGIONS = ("North", "north", "NORTH ", "Süd", "SÜD", "1", 1, 1.0, True, "true")


def answer(request: Json) -> Json:
    """Return a topic of the row alone, and another in two spellings."""
    (number,) = re.findall(r"the lamp (\d+)", user_text(request))
    return {"topics": [f"topic {number}", "Lid", "lid"]}


def answer_notes(workspace: Workspace, outside_server: Outside) -> None:
    """Answer a task with more topics than are shown, and build its index."""
    rows = [
        {"id": f"n{number}", "text": f"the lamp {number}", "region": REGIONS[number % 10]}
        for number in range(ROW_COUNT)
    ]
    workspace.write_file("tasks/notes.jsonl", "\n".join(map(json.dumps, rows)))
    declaration = write_declaration(
        {"topics": "list[str]"},
        prompt="{text}",
        items="notes.jsonl",
        extra_arguments=['index="{text}"'],
    )
    workspace.write_file("tasks/notes.py", declaration)
    workspace.task = "notes"
    workspace.url = outside_server.url
    outside_server.answerer = answer
    workspace.run_command("tag", mode="live", yes=True)
    workspace.run_command("index")


def test_counts_are_those_of_the_lists_behind_them(
    workspace: Workspace, outside_server: Outside
) -> None:
    """Each value has as many rows as its condition lists, and the page leads to all values."""
    answer_notes(workspace, outside_server)
    fields = workspace.read_json("items", counts=True)["fields"]
    assert fields["topics"][0] == {"value": "lid", "count": ROW_COUNT, "where": "topics = 'lid'"}
    assert len(fields["topics"]) == 12
    counts: list[dict[str, Any]] = [*fields["region"], *fields["topics"][:2]]
    assert {count["value"].lower() for count in fields["region"]} >= {"north", "süd", "true", "1"}
    for count in counts:
        listed = workspace.read_json("items", where=count["where"], counts=True)
        assert listed["total"] == count["count"], count

    with workspace.serve_page(readonly=True) as client:
        facets = unescape(client.get("/parts/facets", params={"task": "notes"}).text)
        assert re.findall(r"(\d+) more</summary>", facets) == [str(ROW_COUNT + 1 - 8)]
        labels = re.findall(r'class="name" dir="auto">(topic \d+)<', facets)
        assert len(set(labels)) == ROW_COUNT

        page = client.get("/search", params={"task": "notes", "q": "lamp"}).text
        assert page.count("data-hit") == 20
        # More may be found, so that 20 is not how many there are.
        assert "20 best matches" in page
        (more,) = re.findall(r'rel="next" href="([^"]*)">Show more', page)
        page = client.get(unescape(more)).text
        assert page.count("data-hit") == ROW_COUNT
        assert "Show more" not in page
        assert f"{ROW_COUNT} found" in page


def test_rows_answered_by_many_versions_are_counted(
    workspace: Workspace, outside_server: Outside
) -> None:
    """More versions than a field's listed values are counted, as fewer are."""
    version_count = 15
    rows = [{"id": f"n{number}", "text": "a lamp"} for number in range(1, version_count + 1)]
    workspace.write_file("tasks/notes.jsonl", "\n".join(map(json.dumps, rows)))
    workspace.task = "notes"
    workspace.url = outside_server.url
    outside_server.answerer = lambda _request: {"tone": "kind"}
    for number in range(1, version_count + 1):
        declaration = write_declaration(
            {"tone": "str"},
            prompt=f"{{text}}, question {number}",
            items="notes.jsonl",
            extra_arguments=[f"version={number}"],
        )
        workspace.write_file("tasks/notes.py", declaration)
        workspace.run_command("tag", row=f"n{number}", mode="live", yes=True)

    counts = workspace.read_json("items", counts=True)
    assert counts["total"] == version_count
    assert json.dumps(counts).count("notes@") == version_count
