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
    workspace.put("people.csv", "\n".join([HEADER, *PEOPLE, ""]))
    workspace.do("import", "people.csv")
    workspace.do("tag", mode="live")
    return workspace


def read_manifest(workspace: Workspace) -> dict[str, Any]:
    """Return the manifest of the build in service."""
    path = workspace.data / "index" / "current" / "manifest.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def find_hit(workspace: Workspace, username: str) -> dict[str, Any]:
    """Return the hit of a person in a search for water law in Russian."""
    hits: list[dict[str, Any]] = workspace.read("search", "водное право")
    return next(hit for hit in hits if hit["username"] == username)


def test_condition_selects_the_same_people_in_lists_and_searches(people: Workspace) -> None:
    """Conditions on own and other columns mean the same in `items` and `search`."""
    people.do("index")
    words = "boats rights bread водным"
    for condition, expected in CONDITIONS.items():
        items = people.read("items", where=condition)["items"]
        assert {item["username"] for item in items} == expected, condition
        hits = people.found(words, where=condition, rank="words")
        assert set(hits) == expected, condition

    for verb in (("items",), ("search", "boats")):
        message = people.do(*verb, where="Teem = 'x'", code=2).err
        assert "WHERE, character 1: there is no column 'Teem'" in message
        assert "did you mean 'Team'?" in message


def test_columns_of_an_import_are_indexed_on_request(people: Workspace) -> None:
    """INDEX_COLUMNS= adds words and text of a column, which no tag, score or state shows."""
    people.do("index")
    assert people.read("search", "falconry", rank="words") == []
    before = (people.states(), people.exported())

    error = people.do("index", code=2, INDEX_COLUMNS="Skils").err
    assert "no imported file has a column 'Skils'" in error
    assert "did you mean 'Skills'?" in error
    assert read_manifest(people)["number"] == 1

    report = people.do("index", json=True, INDEX_COLUMNS="skills").json
    assert report["embedded"] == 2
    assert people.found("falconry", rank="words") == ["bob"]
    assert people.found('"oakum caulking"') == ["ada"]
    assert (people.states(), people.exported()) == before
    metadata = json.loads((people.data / "metadata.json").read_text())
    assert all("Skills" not in entry for entry in metadata)

    # Later builds keep the columns, also for a new person.
    people.put("more.csv", f"{HEADER}\ndan,Smith,River forging,,anvils,West,5\n")
    people.do("import", "more.csv")
    people.do("tag", mode="live")
    people.do("index")
    assert people.found("anvils", rank="words") == ["dan"]
    assert people.status()["index"]["behind"] == 0

    # Another setting makes the build outdated.
    assert people.status(INDEX_COLUMNS="none")["index"]["behind"] > 0
    people.do("index", INDEX_COLUMNS="none")
    assert people.read("search", "falconry", rank="words") == []
    people.do("index")
    assert people.read("search", "falconry", rank="words") == []


def test_person_without_tags_is_found_by_words_only(people: Workspace) -> None:
    """An untagged person is a marked hit, but no entry of the index."""
    report = people.do("index", json=True).json
    assert report["count"] == 3
    manifest = read_manifest(people)
    assert (manifest["count"], manifest["untagged"]) == (3, 1)
    metadata = json.loads((people.data / "metadata.json").read_text())
    assert [entry["username"] for entry in metadata] == ["ada", "bob", "cyd"]

    hit = find_hit(people, "ivan")
    assert (hit["untagged"], hit["similarity"]) == (True, None)
    assert hit["why"].startswith("untagged; words: ")
    assert not any(hit["untagged"] for hit in people.read("search", "boats"))
    assert "untagged" in people.do("search", "водное право").out
    assert people.found("водное право", where="tags IS NULL") == ["ivan"]
    assert "ivan" not in people.found("водное право", rank="vectors")
    assert "'ivan' is not in the index" in people.do("search", like="ivan", code=2).err
    with people.page() as page:
        html = page.get("/search", params={"q": "водное право"}).text
        assert '<span class="soft small" dir="auto">untagged; words' in html
        assert "like=ivan" not in html

    # With INDEX_UNTAGGED=1 the person is an entry.
    assert people.do("index", json=True, INDEX_UNTAGGED="1").json["count"] == 4
    assert read_manifest(people)["untagged"] == 0
    assert not find_hit(people, "ivan")["untagged"]
    people.do("index", INDEX_UNTAGGED="0")

    people.do("forget", "ivan")
    assert read_manifest(people)["untagged"] == 0
    assert "ivan" not in people.found("водное право")
