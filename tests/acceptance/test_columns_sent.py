"""Which columns of a table are sent, which one is the key, and how a person names them."""

import csv
import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.acceptance.product import Workspace
from tests.acceptance.test_python import script

NOTES = ("The lid rattles.", "Boils fast.", "Too hot to touch.", "Whistles.", "Drips.", "Sturdy.")


def put(workspace: Workspace, name: str, head: Sequence[str], *columns: Sequence[str]) -> str:
    """Write a table of some columns, and return its name."""
    with workspace.put(name, "").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *zip(*columns, strict=True)])
    return name


def prompts(found: dict[str, Any]) -> str:
    """Return all that was sent about the rows of an `ask`."""
    return json.dumps([row["request"] for row in found["tried"]["items"]], ensure_ascii=False)


def test_only_the_text_and_named_columns_are_sent(workspace: Workspace) -> None:
    """A title and a handle stay, in the request and in the index, until WITH= names them; what is sent is printed."""
    handles = [f"@ada{number}" for number in range(6)]
    titles = [f"Kettle {number}" for number in range(6)]
    names = [f"Byron, A{number}" for number in range(6)]
    head = ("title", "handle", "text", "Last, First", "Größe in cm", "客户")
    file = put(
        workspace, "posts.csv", head, titles, handles, NOTES, names, ["large"] * 6, ["wu"] * 6
    )

    done = workspace.do("ask", file, q="Praise?", json=True)
    sent = prompts(done.json)
    assert NOTES[0] in sent
    assert not [one for one in ("@ada0", "Kettle 0", "Byron", "large", "wu") if one in sent]
    assert done.json["sent"] == ["text"]
    assert (
        "columns sent: 'text'; not sent: 'title', 'handle', 'Last, First', 'Größe in cm', '客户'"
        in done.err
    )
    assert "names its requests by the key, 'title'" in done.err
    workspace.do("new_task", "plain", **{"from": file})
    assert 'index="{text}"' in (workspace.home / "tasks/plain.py").read_text(encoding="utf-8")

    chosen = {"text": "TEXT", "key": "Handle", "with": '"Last, First",größe IN cm,客户'}
    done = workspace.do("ask", file, q="Praise?", name="named", json=True, **chosen)
    sent = prompts(done.json)
    assert "Last_First: " in sent
    assert all(one in sent for one in (NOTES[0], "Byron, A0", "large", "wu"))
    assert "@ada0" not in sent
    assert done.json["sent"] == ["Last, First", "Größe in cm", "客户", "text"]
    assert [one["handle"] for one in done.json["answers"]] == handles[:5]
    assert (
        "columns sent: 'Last, First', 'Größe in cm', '客户', 'text'; not sent: 'title', 'handle'"
        in done.err
    )

    alone = workspace.do("new_task", "alone", json=True, **{"from": file, "with": "Last, First"})
    assert alone.json["sent"] == ["Last, First", "text"]

    for option, said in (
        (
            {"text": "txet"},
            "--text names the column 'txet', and there are 'title', 'handle', 'text', 'Last, First'",
        ),
        ({"key": "handel"}, "did you mean 'handle'?"),
        ({"with": "handle,tilte"}, "did you mean 'title'?"),
    ):
        refused = workspace.do("ask", file, q="Praise?", code=2, **option)
        assert said in refused.err
        assert said in workspace.do("new_task", "none", code=2, **{"from": file, **option}).err
    assert not (workspace.home / "tasks/none.py").exists()


def test_a_named_column_may_hold_numbers_or_images(workspace: Workspace) -> None:
    """TEXT= and WITH= take columns of any kind; an image that nobody named is not sent beside a text."""
    from PIL import Image

    workspace.home.mkdir()
    for name in "abc":
        Image.new("RGB", (40, 30), "navy").save(workspace.home / f"{name}.png")
    photos = [f"{name}.png" for name in "abc"]
    file = put(
        workspace,
        "kettles.csv",
        ("id", "photo", "price", "note"),
        "123",
        photos,
        ("9", "12", "30"),
        NOTES[:3],
    )
    ask_document = workspace.read("ask", file, q="Cheap?")
    assert (
        ask_document["sent"],
        ask_document["images"],
        "inlineData" in prompts(ask_document),
    ) == (["note"], [], False)
    priced = workspace.read("ask", file, q="Cheap?", text="price")
    assert (priced["sent"], "12" in prompts(priced), NOTES[1] in prompts(priced)) == (
        ["price"],
        True,
        False,
    )
    seen = workspace.read("ask", file, q="Which colour?", text="photo", **{"with": "price"})
    assert (seen["sent"], seen["images"]) == (["price", "photo"], ["photo"])
    assert "inlineData" in prompts(seen)


@pytest.mark.parametrize(
    ("head", "columns", "key"),
    [
        (("ticket", "text"), (("A-1", "A-2", "A-3", "A-4"), NOTES[:4]), "ticket"),
        (("shade", "ref", "text"), (("red", "red", "blue", "red"), "wxyz", NOTES[:4]), "ref"),
        (("shade", "text"), (("red", "red", "blue", "red"), NOTES[:4]), "row"),
        (("shade", "text"), (("red", "", "blue", "pink"), NOTES[:4]), "row"),
        (("id", "text"), (("1", "2", "", "4", "5", "6"), NOTES), "id"),
        (("id", "text"), (("1", "", "", "4", "5", "6"), NOTES), "row"),
        (("id", "text"), (("1", "2", "2", "4", "5", "6"), NOTES), "row"),
    ],
)
def test_a_filled_and_unique_column_is_the_key(
    workspace: Workspace, head: Sequence[str], columns: Sequence[Sequence[str]], key: str
) -> None:
    """Whatever it is called; one row without a key among several is refused, and the others keep theirs."""
    file = put(workspace, "notes.csv", head, *columns)
    ask_run = workspace.do("ask", file, q="Praise?", json=True)
    assert ask_run.json["key"] == key
    if key == "id":
        assert "in all rows but 1, which are refused" in ask_run.err
        assert [answer["id"] for answer in ask_run.json["answers"]] == ["1", "2", "4", "5", "6"]
    if head[0] == "ticket":
        ask_document = workspace.read("ask", file, q="Praise?", key="row")
        assert len(ask_document["answers"][0]["row"]) == 32
        twice = put(workspace, "two.csv", ("id", "who", "text"), "12", "aa", NOTES[:2])
        doubled = workspace.do("ask", twice, q="Praise?", key="who")
        assert "it has 'a' twice, again in row 3: such rows are refused" in doubled.err
        assert "1 of 2 rows asked" in doubled.out


def test_python_names_columns_too(workspace: Workspace) -> None:
    """`ask` takes text=, key= and with_=, a text or a list of names."""
    found = script(
        workspace,
        """
        table = [{"no": f"n{at}", "who, where": "Ada", "said": f"Kettle {at} boils.", "also": "x"} for at in range(6)]
        asked = ws.ask(table, "Praise?", text="said", key="no", with_=["who, where", "also"])
        wrong = refusal(ws.ask, table, "Praise?", text="sayd")
        sent = [one.request["contents"][0]["parts"][-1]["text"] for one in asked.tried.items]
        print(json.dumps([asked.document["sent"], [one["no"] for one in asked.answers], sent[0], wrong]))
        """,
    )
    assert found[:2] == [["who, where", "also", "said"], ["n0", "n1", "n2", "n3", "n4"]]
    assert "Ada" in found[2]
    assert "names the column 'sayd'" in found[3]
