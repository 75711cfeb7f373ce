"""Columns of an import that the table of people lacks: indexed, and named by conditions."""

import json
from typing import Any

import pytest

from tests.acceptance.product import Workspace
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

HEADER = "Username,Job Title,Bio,Hourly Rate,Skills,Team,bio length"
PEOPLE = (
    "ada,Shipwright,I restore wooden boats on a creek.,90,oakum caulking,North,1",
    "bob,Lawyer,River rights are my daily work.,150,falconry,South,02",
    "cyd,Baker,Sourdough bread and rye loaves.,,,South,3",
    "ivan,,Занимаюсь водным правом и охраной рек.,40,переговоры,East,4",
)
TAGS = {"boats": ["boat repair"], "River": ["water law"], "Sourdough": ["baking"]}
CONDITIONS: dict[str, set[str]] = {
    "Team = 'south'": {"bob", "cyd"},
    "team != 'south'": {"ada", "ivan"},
    "skills IS NULL": {"cyd"},
    "bio_length < 3": {"ada", "bob"},
    '"bio length" = 2': {"bob"},
    "hourly_rate > 80 AND \"Job Title\" = 'LAWYER'": {"bob"},
    '"Hourly Rate" IS NULL': {"cyd"},
    "tags CONTAINS 'boat' OR username = 'ivan'": {"ada", "ivan"},
    "tags IS NULL": {"ivan"},
    "findability_score < 20": {"ivan"},
    "Bio CONTAINS 'ПРАВОМ'": {"ivan"},
}


def answer(request: Json) -> Json:
    """Return the tags of the person in the prompt; a Russian biography has none."""
    text = user_text(request)
    return {"tags": next((tags for word, tags in TAGS.items() if word in text), [])}


@pytest.fixture
def people(workspace: Workspace, outside_server: Outside) -> Workspace:
    """Return a workspace with three tagged people and one without tags, not indexed."""
    workspace.settings["YES"] = "1"
    workspace.url = outside_server.url
    outside_server.answerer = answer
    workspace.write_file("people.csv", "\n".join([HEADER, *PEOPLE, ""]))
    workspace.run_command("import", "people.csv")
    workspace.run_command("tag", mode="live")
    return workspace


def read_manifest(workspace: Workspace) -> dict[str, Any]:
    """Return the manifest of the build in service."""
    path = workspace.data / "index" / "current" / "manifest.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_condition_selects_the_same_people_in_lists_and_searches(people: Workspace) -> None:
    """Conditions on own and other columns mean the same in `items` and `search`."""
    people.run_command("index")
    words = "boats rights bread водным"
    for condition, expected in CONDITIONS.items():
        rows = people.read_json("items", where=condition)["rows"]
        assert {row["username"] for row in rows} == expected, condition
        hits = people.search(words, where=condition, rank="words")
        assert set(hits) == expected, condition

    for verb in (("items",), ("search", "boats")):
        message = people.run_command(*verb, where="Teem = 'x'", code=2).stderr
        assert "did you mean 'Team'?" in message


def test_columns_of_an_import_are_indexed_on_request(people: Workspace) -> None:
    """INDEX_COLUMNS= adds words and text of a column, which no tag, score or state shows."""
    people.run_command("index")
    assert people.read_json("search", "falconry", rank="words") == []
    before = (people.state_counts(), people.exported_rows())

    people.run_command("index", code=2, INDEX_COLUMNS="Skils")
    assert read_manifest(people)["number"] == 1

    report = people.run_command("index", json=True, INDEX_COLUMNS="skills").json
    assert report["embedded"] == 2
    assert people.search("falconry", rank="words") == ["bob"]
    assert people.search('"oakum caulking"') == ["ada"]
    assert (people.state_counts(), people.exported_rows()) == before
    metadata = json.loads((people.data / "metadata.json").read_text())
    assert all("Skills" not in entry for entry in metadata)

    # Later builds keep the columns, also for a new person.
    people.write_file("more.csv", f"{HEADER}\ndan,Smith,River forging,,anvils,West,5\n")
    people.run_command("import", "more.csv")
    people.run_command("tag", mode="live")
    people.run_command("index")
    assert people.search("anvils", rank="words") == ["dan"]
    assert people.status()["index"]["behind"] == 0

    # Another setting makes the build outdated.
    assert people.status(INDEX_COLUMNS="none")["index"]["behind"] > 0
    people.run_command("index", INDEX_COLUMNS="none")
    assert people.read_json("search", "falconry", rank="words") == []
