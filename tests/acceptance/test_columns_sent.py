"""The columns of a table that are sent, the key column, and the options that name columns."""

import csv
import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.acceptance.product import Workspace

NOTES = ("The lid rattles.", "Boils fast.", "Too hot to touch.", "Whistles.", "Drips.", "Sturdy.")


def put_table(
    workspace: Workspace, file_name: str, header: Sequence[str], *columns: Sequence[str]
) -> str:
    """Write a table of columns; return the name of its file."""
    with workspace.write_file(file_name, "").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *zip(*columns, strict=True)])
    return file_name


def prompts(document: dict[str, Any]) -> str:
    """Return the requests of the tried rows of an `ask` as a text."""
    return json.dumps([row["request"] for row in document["tried"]["rows"]], ensure_ascii=False)


def test_only_the_text_and_named_columns_are_sent(workspace: Workspace) -> None:
    """Other columns are neither sent nor indexed until WITH= names them.

    The command prints the unsent columns.
    """
    handles = [f"@ada{number}" for number in range(6)]
    titles = [f"Kettle {number}" for number in range(6)]
    names = [f"Byron, A{number}" for number in range(6)]
    header = ("title", "handle", "text", "Last, First", "Größe in cm", "客户")
    file_name = put_table(
        workspace, "posts.csv", header, titles, handles, NOTES, names, ["large"] * 6, ["wu"] * 6
    )

    ask_run = workspace.run_command("ask", file_name, q="Praise?", json=True)
    sent_text = prompts(ask_run.json)
    assert NOTES[0] in sent_text
    # The key is only in the name of the request, not in its text.
    for unsent_text in ("@ada0", "Kettle 0", "Byron", "large", "wu"):
        assert unsent_text not in sent_text
    assert ask_run.json["sent"] == ["text"]
    workspace.run_command("new_task", "plain", **{"from": file_name})
    assert 'index="{text}"' in (workspace.home / "tasks/plain.py").read_text(encoding="utf-8")

    # Names of columns may differ in case and may be quoted.
    options = {"text": "TEXT", "key": "Handle", "with": '"Last, First",größe IN cm,客户'}
    ask_run = workspace.run_command(
        "ask", file_name, q="Praise?", name="named", json=True, **options
    )
    sent_text = prompts(ask_run.json)
    assert "Last_First: " in sent_text
    for text in (NOTES[0], "Byron, A0", "large", "wu"):
        assert text in sent_text
    assert "@ada0" not in sent_text
    assert ask_run.json["sent"] == ["Last, First", "Größe in cm", "客户", "text"]
    assert [answer["handle"] for answer in ask_run.json["answers"]] == handles[:5]
    assert "not sent: 'title', 'handle'" in ask_run.stderr

    new_task_run = workspace.run_command(
        "new_task", "alone", json=True, **{"from": file_name, "with": '"Last, First"'}
    )
    assert new_task_run.json["sent"] == ["Last, First", "text"]

    for wrong_option in (
        {"key": "handle,text"},
        {"text": "txet"},
        {"key": "handel"},
        {"with": "handle,tilte"},
    ):
        workspace.run_command("ask", file_name, q="Praise?", code=2, **wrong_option)


def test_named_column_may_contain_numbers_or_images(workspace: Workspace) -> None:
    """TEXT= and WITH= accept columns of any kind; images are sent only if they are named."""
    from PIL import Image

    workspace.home.mkdir()
    for name in "abc":
        Image.new("RGB", (40, 30), "navy").save(workspace.home / f"{name}.png")
    photos = [f"{name}.png" for name in "abc"]
    file_name = put_table(
        workspace,
        "kettles.csv",
        ("id", "photo", "price", "note"),
        "123",
        photos,
        ("9", "12", "30"),
        NOTES[:3],
    )

    ask_document = workspace.read_json("ask", file_name, q="Cheap?")
    assert (ask_document["sent"], ask_document["images"]) == (["note"], [])
    assert "inlineData" not in prompts(ask_document)

    price_document = workspace.read_json("ask", file_name, q="Cheap?", text="price")
    assert price_document["sent"] == ["price"]
    assert "12" in prompts(price_document)
    assert NOTES[1] not in prompts(price_document)

    photo_document = workspace.read_json(
        "ask", file_name, q="Which colour?", text="photo", **{"with": "price"}
    )
    assert (photo_document["sent"], photo_document["images"]) == (["price", "photo"], ["photo"])
    assert "inlineData" in prompts(photo_document)


@pytest.mark.parametrize(
    ("header", "columns", "key"),
    [
        (("ticket", "text"), (("A-1", "A-2", "A-3", "A-4"), NOTES[:4]), "ticket"),
        (("shade", "ref", "text"), (("red", "red", "blue", "red"), "wxyz", NOTES[:4]), "ref"),
        (("shade", "text"), (("red", "red", "blue", "red"), NOTES[:4]), "row"),
        (("shade", "text"), (("red", "", "blue", "pink"), NOTES[:4]), "row"),
        (("id", "text"), (("1", "2", "", "4", "5", "6"), NOTES), "row"),
        (("id", "text"), (("1", "2", "2", "4", "5", "6"), NOTES), "row"),
    ],
)
def test_filled_and_unique_column_is_the_key(
    workspace: Workspace, header: Sequence[str], columns: Sequence[Sequence[str]], key: str
) -> None:
    """A column with a distinct value in each row is the key, whatever its name."""
    file_name = put_table(workspace, "notes.csv", header, *columns)

    ask_run = workspace.run_command("ask", file_name, q="Praise?", json=True)
    assert ask_run.json["key"] == key
    if header[0] == "ticket":
        ask_document = workspace.read_json("ask", file_name, q="Praise?", key="row")
        assert [answer["row"] for answer in ask_document["answers"]] == ["1", "2", "3", "4"]
