"""A text that the embedding model refuses costs one entry of the index; no call is larger than the API accepts."""

from tests.acceptance.database import sql
from tests.acceptance.product import HEADER, Workspace
from tests.outside.server import Outside

# 12,000 letters of two bytes, which take six in JSON; sixty such texts are above the limit of the API.
LONG_BIO = "é" * 12_000


def tagged_people(workspace: Workspace, bios: list[str]) -> None:
    """Import one person for each bio, whom another program tags."""
    lines = [f"person-{number},Person,{number},,,{bio}\n" for number, bio in enumerate(bios)]
    workspace.put("people.csv", HEADER + "".join(lines))
    workspace.do("import", "people.csv")
    sql(
        workspace,
        "UPDATE experts SET tags = :tags WHERE tags IS NULL",
        tags='["bees", "water law"]',
    )


def test_a_refused_text_is_left_out_and_named(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The other people are found, `index` and `status` name the one that is not, and nothing more is due."""
    bios = [f"I keep bees and teach water law number {number}." for number in range(9)]
    bios[4] = "I keep bees of an unspeakable kind."
    tagged_people(served_workspace, bios)
    outside_server.refused_text = "unspeakable"

    report = served_workspace.read("index")
    assert (report["count"], [*report["refused"]]) == (8, ["5"])
    assert "person-4" in served_workspace.do("index").said
    index = served_workspace.status(exact=True)["index"]
    assert (index["count"], index["behind"], [refused["name"] for refused in index["refused"]]) == (
        8,
        0,
        ["person-4"],
    )
    assert "person-4" in served_workspace.do("status").said
    assert "person-3" in served_workspace.found("bees", k=10)
    assert served_workspace.read("work", once=True)["did"] == []

    outside_server.refused_text = ""
    assert served_workspace.read("index")["count"] == 9


def test_an_api_that_refuses_every_text_stops_the_index(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Nobody is left out if a plain word is refused, too: the request is wrong, and no text."""
    tagged_people(served_workspace, ["I keep bees and teach water law."])
    outside_server.refused_text = "title: none"
    assert "refused" in served_workspace.do("index", code=4).err
    assert served_workspace.status()["index"]["count"] == 0


def test_long_texts_are_embedded_in_smaller_calls(served_workspace: Workspace) -> None:
    """Sixty long texts are more than one call may hold, and are embedded in several."""
    tagged_people(served_workspace, [f"{LONG_BIO}{number}" for number in range(60)])
    assert served_workspace.read("index")["embedded"] == 60
