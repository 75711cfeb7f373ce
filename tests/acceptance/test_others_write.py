"""Another program, or a person, writes where answers go: their word stands, and only what is open is asked."""

import json
import signal
from typing import Any

import pytest

from tests.acceptance.database import counts, sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import PASSAGES, Workspace
from tests.acceptance.steps import Fate

HOME = ("submit", "poll", "ingest")
MINE = '["mine"]'
ONE = "person-0000"


def asked_in(workspace: Workspace, number: int) -> list[str]:
    """Return the ids of the rows that a batch asks about, as its sealed file has them."""
    return sorted(request["key"].rpartition("/")[2] for request in workspace.requests(number))


def looked(workspace: Workspace) -> dict[str, int]:
    """Return the states of all rows, as a command says them that writes nothing."""
    before = counts(workspace)
    states = workspace.states()
    assert counts(workspace) == before
    return states


def test_what_changed_between_asking_and_answering(workspace: Workspace) -> None:
    """Tagged by another program, or gone: counted as answered and not applied; a changed bio keeps its old answer."""
    workspace.people(6)
    workspace.each("submit", "poll")
    sql(workspace, "UPDATE experts SET tags = :tags WHERE id = 1", tags=MINE)
    sql(workspace, "UPDATE experts SET bio = 'I mend clocks.' WHERE id = 2")
    sql(workspace, "DELETE FROM experts WHERE id = 3")
    assert looked(workspace) == {"tagged": 1, "claimed": 4}
    workspace.do("ingest")
    assert looked(workspace) == {"tagged": 5}
    [batch] = workspace.batches()
    assert (batch["state"], batch["answered"], batch["not_applied"]) == ("ingested", 6, 2)
    assert sorted(one["item"] for one in workspace.asked() if one["outcome"] == "answered") == list(
        "123456"
    )
    tags = workspace.tags()
    assert (tags[ONE], len(tags)) == (["mine"], 5)
    assert workspace.tags()["person-0001"]
    assert "person-0001" in workspace.do("ingest").said + workspace.do("show", "person-0001").said
    workspace.each(*HOME)
    assert len(workspace.batches()) == 1, "somebody was asked again"
    assert workspace.tags() == tags


def test_tagged_before_it_is_asked(workspace: Workspace, api: Engine) -> None:
    """Who has tags in the table when a batch is written is in none."""
    workspace.people(3)
    sql(workspace, "UPDATE experts SET tags = :tags WHERE id = 2", tags=MINE)
    workspace.each(*HOME)
    assert asked_in(workspace, 1) == ["1", "3"]
    assert [len(create["lines"]) for create in api.creates()] == [2]
    assert looked(workspace) == {"tagged": 3}


def test_tagged_while_the_request_file_is_written(workspace: Workspace) -> None:
    """Who has tags by the time that the batch is claimed is not asked, though the file was written before."""
    workspace.people(5)
    trails = [workspace.do("submit", limit=1).trail for _ in range(2)]
    at = next(number for number, step in enumerate(trails[1], start=1) if step.startswith("write "))
    with workspace.start("submit", fate=Fate(at=at, side="after", how="STOP")) as running:
        assert running.until_stopped(), running.wait()
        sql(workspace, "UPDATE experts SET tags = :tags WHERE id = 4", tags=MINE)
        running.signal(signal.SIGCONT)
        assert running.wait().code == 0
    workspace.each("submit", "poll", "ingest")
    assert asked_in(workspace, 3) == ["3", "5"]
    assert looked(workspace) == {"tagged": 5}
    assert workspace.tags()["person-0003"] == ["mine"]


@pytest.mark.excused(
    "nobody_is_answered_twice"
)  # it is asked for: another program took the tags away
def test_what_another_program_opened_is_asked_again(workspace: Workspace, api: Engine) -> None:
    """Tags set to NULL, a row inserted, a bio changed: `status` counts what is open, and just that is asked, once."""
    workspace.people(4)
    api.fault("answer_text", key="/4$", args={"text": '{"tags": []}'})
    workspace.each(*HOME)
    tags = workspace.tags()
    assert looked(workspace) == {
        "tagged": 3,
        "parked": 1,
    }  # an empty answer is one: it is never asked again
    sql(workspace, "UPDATE experts SET tags = NULL WHERE id IN (1, 4)")
    sql(workspace, "UPDATE experts SET bio = 'I mend clocks.' WHERE id = 2")
    sql(
        workspace,
        "INSERT INTO experts (id, username, bio) VALUES (9, 'new', 'I teach water law and beekeeping.')",
    )
    assert looked(workspace) == {"tagged": 2, "untagged": 2, "parked": 1}
    workspace.do("submit")
    assert asked_in(workspace, 2) == ["1", "9"]
    workspace.each("poll", "ingest")
    assert looked(workspace) == {"tagged": 4, "parked": 1}
    workspace.each(*HOME)
    assert len(workspace.batches()) == 2
    now = workspace.tags()
    assert now["new"]
    assert {name: now[name] for name in ("person-0001", "person-0002")} == {
        name: tags[name] for name in ("person-0001", "person-0002")
    }
    assert now["person-0003"] == []


@pytest.mark.excused("nobody_is_answered_twice")
def test_concepts_that_another_program_deleted(workspace: Workspace, api: Engine) -> None:
    """Passages without their concepts, and a new one, are asked about; those of others' passages stay as they are."""
    workspace.task = PASSAGES
    text = "Salt marshes store carbon and slow down storm surges along number {} coasts. Oyster reefs filter water."
    rows = [json.dumps({"id": f"p{number}", "text": text.format(number)}) for number in range(5)]
    workspace.put("passages.jsonl", "\n".join(rows) + "\n")
    workspace.do("import-passages", "passages.jsonl")
    api.fault("answer_text", times=9, key="p4$", args={"text": '{"concepts": []}'})
    workspace.do("submit")
    sql(
        workspace,
        "INSERT INTO passage_concepts (passage_id, concept_name, extractor_version) VALUES ('p3', 'mine', 'theirs@1')",
    )
    workspace.each("poll")
    workspace.run("ingest")  # five alike are no good measure of quality
    api.clear_faults()
    kept = concepts(workspace)
    sql(workspace, "DELETE FROM passage_concepts WHERE passage_id = 'p1'")
    sql(workspace, "DELETE FROM passages WHERE id = 'p0'")
    sql(
        workspace,
        "INSERT INTO passages (id, text) VALUES ('p9', 'Peat bogs keep pollen for thousands of years.')",
    )
    assert looked(workspace) == {"with_concepts": 2, "open": 3}
    workspace.do("submit")
    assert asked_in(workspace, 2) == ["p1", "p4", "p9"]
    workspace.do("poll")
    workspace.run("ingest")
    assert looked(workspace) == {"with_concepts": 5}
    workspace.do("submit")
    assert len(workspace.batches()) == 2
    now = concepts(workspace)
    assert now["p1"] == kept["p1"]
    assert now["p9"]
    assert now["p4"]
    assert "mine" in now["p3"]
    assert {key: now[key] for key in ("p2", "p3")} == {key: kept[key] for key in ("p2", "p3")}


def concepts(workspace: Workspace) -> dict[str, list[str]]:
    """Return the concepts of each passage that has any."""
    found: dict[str, list[str]] = {}
    query = (
        "SELECT passage_id, concept_name FROM passage_concepts ORDER BY passage_id, concept_name"
    )
    for key, name in sql(workspace, query):
        found.setdefault(key, []).append(name)
    return found


def edited(workspace: Workspace, person: str = ONE, **options: Any) -> list[str]:
    """Let a person say something of another one's tags; return the tags of now."""
    answer = workspace.read("correct", person, who="ada", **options)["answer"]
    return list(answer.get("tags", []))


@pytest.mark.excused(
    "tags_never_change", "nobody_is_answered_twice"
)  # a person changes them, and takes answers back
def test_a_persons_word_is_above_a_models(workspace: Workspace, api: Engine) -> None:
    """Added, removed and undone; an answer that comes later, and a rollback, leave what a person said."""
    api.fault("answer_text", times=99, args={"text": '{"tags": ["ml", "beekeeping"]}'})
    workspace.people(3, without_bio=1)
    workspace.do("submit")
    assert edited(workspace, "person-0001", set="tags=Water  Law") == ["water law"]
    assert edited(workspace, "person-0003", set="tags=law") == ["law"]
    workspace.each("poll", "ingest", "index")
    [batch] = workspace.batches()
    assert (batch["answered"], batch["not_applied"]) == (3, 1)
    assert looked(workspace) == {"tagged": 4}
    assert edited(workspace, set="tags=ml, beekeeping, law, art") == [
        "ml",
        "beekeeping",
        "law",
        "art",
    ]
    assert edited(workspace, set="tags=ml, law, art") == ["ml", "law", "art"]
    assert edited(workspace, set="tags=law, art, machine learning") == [
        "law",
        "art",
        "machine learning",
    ]
    for words, why in (({"set": "tags=<b>"}, "tag"), ({"undo": 9}, "9")):
        refused = workspace.do("correct", ONE, code=2, **words)
        assert why in refused.err
    assert edited(workspace, undo=2) == ["law", "beekeeping", "art", "machine learning"]
    assert edited(workspace, undo=1) == ["beekeeping", "machine learning"]
    history = workspace.read("correct", ONE)["edits"]
    assert [(one["who"], one["undoes"]) for one in history] == [("ada", None)] * 3 + [
        ("ada", 2),
        ("ada", 1),
    ]
    assert workspace.status()["index"]["behind"] == 1
    version = workspace.read("versions")
    [model] = {one["version"] for one in version} - {"person"}
    assert "Next: findable index" in workspace.do("rollback", model, yes=True).out
    tags = workspace.tags()
    assert {name: tags[name] for name in tags if tags[name]} == {
        ONE: ["beekeeping", "machine learning"],
        "person-0001": ["water law"],
        "person-0003": ["law"],
    }
    workspace.do("rollback", "person", yes=True, code=2)
    workspace.do("submit")
    assert asked_in(workspace, 2) == ["3"]
    assert edited(workspace, "person-0001", undo=1) == []
    workspace.each("poll", *HOME, "ingest")
    assert workspace.tags()["person-0001"] == ["ml", "beekeeping"]
    workspace.do("doctor")
