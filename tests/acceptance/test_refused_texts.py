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


def test_a_refused_text_is_left_out_and_named(elsewhere: Workspace, outside: Outside) -> None:
    """The other people are found, `index` and `status` name the one that is not, and nothing more is due."""
    bios = [f"I keep bees and teach water law number {number}." for number in range(9)]
    bios[4] = "I keep bees of an unspeakable kind."
    tagged_people(elsewhere, bios)
    outside.refused_text = "unspeakable"

    report = elsewhere.read("index")
    assert (report["count"], [*report["refused"]]) == (8, ["5"])
    assert "person-4" in elsewhere.do("index").said
    index = elsewhere.status(exact=True)["index"]
    assert (index["count"], index["behind"], [refused["name"] for refused in index["refused"]]) == (
        8,
        0,
        ["person-4"],
    )
    assert "person-4" in elsewhere.do("status").said
    assert "person-3" in elsewhere.found("bees", k=10)
    assert elsewhere.read("work", once=True)["did"] == []

    outside.refused_text = ""
    assert elsewhere.read("index")["count"] == 9


def test_an_api_that_refuses_every_text_stops_the_index(
    elsewhere: Workspace, outside: Outside
) -> None:
    """Nobody is left out if a plain word is refused, too: the request is wrong, and no text."""
    tagged_people(elsewhere, ["I keep bees and teach water law."])
    outside.refused_text = "title: none"
    assert "refused" in elsewhere.do("index", code=4).err
    assert elsewhere.status()["index"]["count"] == 0


def test_long_texts_are_embedded_in_smaller_calls(elsewhere: Workspace) -> None:
    """Sixty long texts are more than one call may hold, and are embedded in several."""
    tagged_people(elsewhere, [f"{LONG_BIO}{number}" for number in range(60)])
    assert elsewhere.read("index")["embedded"] == 60
