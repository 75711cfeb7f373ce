"""The index leaves out refused texts, and its calls stay within the limit of the API."""

from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import HEADER, Workspace
from tests.outside.server import Outside

# 12,000 letters of two bytes, or six in JSON. Sixty such texts exceed the limit of the API.
LONG_BIO = "é" * 12_000


def import_tagged_people(workspace: Workspace, bios: list[str]) -> None:
    """Import a person for each bio and tag them as another program does."""
    lines = [f"person-{number},Person,{number},,,{bio}\n" for number, bio in enumerate(bios)]
    workspace.write_file("people.csv", HEADER + "".join(lines))
    workspace.run_command("import", "people.csv")
    tags = '["bees", "water law"]'
    run_sql(workspace, "UPDATE experts SET tags = :tags WHERE tags IS NULL", tags=tags)


def test_refused_text_is_left_out_and_named(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Other people are found, `index` and `status` name the refused person, and no work is due."""
    bios = [f"I keep bees and teach water law number {number}." for number in range(9)]
    bios[4] = "I keep bees of an unspeakable kind."
    import_tagged_people(served_workspace, bios)
    outside_server.refused_text = "unspeakable"

    report = served_workspace.read_json("index")
    assert (report["count"], [*report["refused"]]) == (8, ["5"])
    assert "person-4" in served_workspace.run_command("index").output
    index = served_workspace.status(exact=True)["index"]
    assert (index["count"], index["behind"]) == (8, 0)
    assert [refusal["name"] for refusal in index["refused"]] == ["person-4"]
    assert "person-4" in served_workspace.run_command("status").output
    assert "person-3" in served_workspace.search("bees", k=10)
    assert served_workspace.read_json("work", once=True)["did"] == []

    # A text that is accepted later is embedded.
    outside_server.refused_text = ""
    assert served_workspace.read_json("index")["count"] == 9


@pytest.mark.parametrize("bad_vector", [[0.0] * 768, None, [0.5], [None] * 768])
def test_text_without_a_usable_vector_is_left_out_and_named(
    bad_vector: Any, served_workspace: Workspace, outside_server: Outside
) -> None:
    """The other texts of the same call are in the index, and are not embedded again."""
    import_tagged_people(served_workspace, ["I keep bees.", "I keep nothing.", "I keep sheep."])
    outside_server.spoilt_text = "I keep nothing"
    outside_server.bad_vector = bad_vector
    reason = "no vector of 768 numbers"
    if bad_vector == [0.0] * 768:
        reason = "a vector of zeros"
    for _ in range(2):
        index_run = served_workspace.run_command("index")
        assert f"person-1 (the embedding model returned {reason})" in index_run.output
    assert served_workspace.status(exact=True)["index"]["count"] == 2
    assert len(served_workspace.search("bees", k=10)) == 2

    outside_server.spoilt_text = ""
    report = served_workspace.read_json("index")
    assert (report["count"], report["embedded"]) == (3, 1)


@pytest.mark.parametrize("fault", ["refused_text", "spoilt_text"])
def test_index_stops_if_no_text_gets_a_vector(
    fault: str, served_workspace: Workspace, outside_server: Outside
) -> None:
    """Nobody is left out if even a plain word gets none, because the request is wrong then."""
    import_tagged_people(served_workspace, ["I keep bees and teach water law."])
    setattr(outside_server, fault, "title: none")
    served_workspace.run_command("index", code=4)
    assert served_workspace.status()["index"]["count"] == 0


def test_long_texts_are_embedded_in_smaller_calls(served_workspace: Workspace) -> None:
    """Sixty long texts exceed the size of a call and are embedded in several calls."""
    import_tagged_people(served_workspace, [f"{LONG_BIO}{number}" for number in range(60)])
    assert served_workspace.read_json("index")["embedded"] == 60
