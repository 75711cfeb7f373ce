"""The loop of the work: drafts are tried, all faults of a file are told at once, answers are listed and exported."""

import json

import pytest

from tests.acceptance.product import Workspace, declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

ROWS = (("a", "good kettle", 5), ("b", "bad lamp", 1), ("c", "bad stool, Größe L", 2), ("d", "", 3))
FIELDS = {"verdict": "Literal['good', 'bad']"}


@pytest.fixture(name="own")
def _own(workspace: Workspace) -> Workspace:
    """A workspace whose commands are about the task `notes`, with rows in a file and an answer to each."""
    workspace.task, workspace.settings["YES"] = "notes", "1"
    workspace.put(
        "tasks/notes.csv", "id,text,Stars given\n" + "".join(f'{a},"{b}",{c}\n' for a, b, c in ROWS)
    )
    return workspace


def declare(
    own: Workspace, *more: str, prompt: str = "About: {text}", head: str = "", **fields: str
) -> None:
    """Write the file of the task."""
    text = declaration(fields or FIELDS, prompt=prompt, items="notes.csv", more=more)
    own.put("tasks/notes.py", head + text)


def test_a_changed_question_is_tried_as_a_draft_that_leaves_nothing_but_its_cost(
    own: Workspace,
) -> None:
    """Until it was used a file changes as it likes; then `tag` asks for a version in a sentence, and `try` goes on."""
    declare(own, prompt="Of: {text}")
    own.do("try", N=1)
    declare(own)
    own.do("tag", mode="live")
    before = own.exported()
    declare(own, prompt="Rate: {text}", verdict=FIELDS["verdict"], why="str | None")
    try_document = own.read("try", item="b")
    assert try_document["draft_of"] == "notes@1"
    assert "Rate: <text>bad lamp</text>" in json.dumps(try_document["items"][0]["request"])
    assert "why" in try_document["items"][0]["answer"]
    output = own.do("try", N=1).out
    assert "draft of version 1: 1 row tried" in output
    assert "Next: set version=2" in output
    refused = own.do("tag", mode="live", code=3).err
    wanted = "the prompt and the answer changed since version 1 was used: set version=2, or FINDABLE_ACCEPT_CHANGED=1"
    assert wanted in refused
    pair = own.read("try", A="1", B="draft", N=50)
    assert (pair["compared"], pair["agreement"]) == (3, {"verdict": 3, "why": 0})
    assert "verdict: the same in 3 of 3" in own.do("try", A="1", B="draft").out
    assert (own.exported(), own.states()) == (before, {"answered": 3, "empty": 1})
    assert [one["way"] for one in own.batches()] == ["live"]  # trials are kept as costs alone
    declare(own, "version=2", prompt="Rate: {text}")
    own.do("tag", mode="live")
    assert {one["version"]: one["items"] for one in own.read("versions")} == {
        "notes@1": 3,
        "notes@2": 3,
    }


def test_all_faults_of_a_file_are_told_at_once_by_line_and_member(own: Workspace) -> None:
    """Those of the file by itself, then those of its columns; a row in a file of Python is a row as any."""
    declare(
        own,
        "temperature=7.0",
        "versoin=2",
        "thinking={'budget': 1}",
        a="tuple[int, str]",
        b="dict",
        c="str",
    )
    path = own.home / "tasks" / "notes.py"
    lines = own.do("tag", code=2).err.splitlines()
    assert lines[0] == f"error: {path} has 5 faults; nothing was asked"
    line = {
        name: number
        for number, text in enumerate(path.read_text().splitlines(), 1)
        for name in ("a:", "b:")
        if text.strip().startswith(name)
    }
    for part in (
        "temperature= lies between",
        "did you mean 'version'?",
        "thinking= holds 'budget'",
        f"line {line['a:']}: Answer.a: responseSchema cannot say a tuple",
        f"line {line['b:']}: Answer.b: ",
    ):
        assert sum(part in one and f"{path}, line " in one for one in lines) == 1, (part, lines)
    declare(own, "key='nr'", "label='{nme}'", prompt="{txt} {text} {star}")
    lines = own.do("tag", code=2).err.splitlines()
    assert len([one for one in lines if "names the column" in one]) == 4, lines
    given = declaration(FIELDS, prompt="{text}", items="notes.csv")
    own.put(
        "tasks/notes.py",
        given.replace("'notes.csv'", "[{'id': 1, 'text': 'good'}, {'id': 2, 'text': 'bad'}]"),
    )
    own.do("tag", mode="live")
    assert [(one["id"], one["verdict"]) for one in own.exported()] == [(1, "good"), (2, "bad")]


RICH = {
    "level": "Literal[1, 2, 3]",
    "size": "Size | None",
    "scores": "dict[str, int]",
    "price": "Decimal",
    "parts": "list[Part]",
}
HEAD = (
    "from decimal import Decimal\nfrom enum import IntEnum\nfrom pydantic import BaseModel\n\n"
    "class Size(IntEnum):\n    SMALL = 10\n    LARGE = 20\n\n"
    "class Part(BaseModel):\n    name: str\n    sizes: list[int]\n\n"
)


def test_numbers_and_mappings_go_out_as_texts_and_pairs_and_come_back(
    own: Workspace, outside_server: Outside
) -> None:
    """Examples have that form, too; a key that stands twice is invalid; lists within lists are exported."""

    def answer(request: Json) -> Json:
        """Return what the schema asks for."""
        pairs = [
            {"key": "a", "value": 1},
            {"key": "a" if "lamp" in user_text(request) else "b", "value": 2},
        ]
        parts = [{"name": "leg", "sizes": [4, 5]}, {"name": "seat", "sizes": []}]
        return {"level": "2", "size": "20", "scores": pairs, "price": "1.10", "parts": parts}

    own.url = outside_server.url
    outside_server.answerer = answer
    example: Json = {"level": 3, "size": None, "scores": {"x": 1}, "price": "2.50", "parts": []}
    declare(own, f"examples=[({{'text': 'x'}}, {example})]", head=HEAD, **RICH)
    own.do("tag", mode="live")
    (request,) = [one["request"] for one in own.read("try", item="a")["items"]]
    schema = request["generationConfig"]["responseSchema"]["properties"]
    assert schema["level"]["enum"] == ["1", "2", "3"]
    assert (schema["size"]["enum"], schema["size"]["nullable"]) == (["10", "20"], True)
    assert schema["scores"]["items"]["required"] == ["key", "value"]
    assert (
        '"scores": [{"key": "x", "value": 1}]' in request["systemInstruction"]["parts"][0]["text"]
    )
    told = {one["id"]: one for one in own.exported() if one["level"] is not None}
    assert {*told} == {"a", "c"}
    assert told["a"]["level"] == 2
    assert told["a"]["size"] == 20
    assert told["a"]["scores"] == {"a": 1, "b": 2}
    assert told["a"]["price"] == 1.1
    assert any("a key stands twice" in one["reason"] for one in own.asked())
    sizes = own.exported(rows="parts.sizes")
    assert [(one["id"], one["name"], one["sizes"]) for one in sizes] == [
        ("a", "leg", 4),
        ("a", "leg", 5),
        ("c", "leg", 4),
        ("c", "leg", 5),
    ]
    assert "has no 'sises'" in own.do("export", "-", format="csv", rows="parts.sises", code=2).err


def test_a_row_whose_text_supports_nothing_is_set_aside(
    own: Workspace, outside_server: Outside
) -> None:
    """People without a tag, and rows of which no quotation stands there, are told so wherever they are shown."""
    own.url = outside_server.url
    outside_server.answerer = lambda request: (
        {"tags": []} if "biography" in user_text(request) else {"quote": "not there"}
    )
    own.people(1, without_bio=1)
    assert "1 set aside: the text supports no tag" in own.do("tag", mode="live", TASK="").out
    assert "set aside: the text supports no tag" in own.do("show", "person-0000", TASK="").out
    output = own.do("status", TASK="", more=True).out
    assert "set aside 1: the text supports no tag" in output
    declare(own, quote="Quote")
    for _ in "12":
        own.do("tag", mode="live", code="any")
    assert own.parked()["a"].startswith("the text supports no quotation: it failed 2 times")
    assert "set aside: the text supports no quotation" in own.do("show", item="a").out


WHERE = {
    "stars_given < 3": "bc",
    "verdict = 'BAD'": "bc",
    "NOT verdict = 'good'": "bc",
    "verdict IS NULL": "d",
    "text IS NULL OR level IN (3, 4)": "cd",
    "topics = 'lamp'": "b",
    "NOT topics CONTAINS 'AM'": "ac",
    "text CONTAINS 'größe' AND sure = true": "c",
    "level != 3 AND NOT (verdict = 'good')": "b",
}


def test_rows_are_found_by_their_columns_and_answers(
    own: Workspace, outside_server: Outside
) -> None:
    """By conditions and words, in the list, its counts and the page; one that is no column is told with those there."""

    def answer(request: Json) -> Json:
        """Return an answer about one row."""
        text = user_text(request).split(">", 1)[1].split("<", 1)[0]
        words = text.split()
        return {
            "verdict": words[0],
            "level": len(words) - 1,
            "topics": words[1:2],
            "sure": "L" in text,
            "note": "Zest",
        }

    own.url = outside_server.url
    outside_server.answerer = answer
    declare(own, verdict="str", level="int", topics="list[str]", sure="bool", note="str | None")
    own.do("tag", mode="live")
    for where, keys in WHERE.items():
        assert "".join(row["id"] for row in own.read("items", where=where)["items"]) == keys, where
    assert "".join(row["id"] for row in own.read("items", "zest")["items"]) == "abc"
    assert own.read("items", where="verdict = 'bad'", counts=True)["total"] == 2
    error_output = own.do("items", where="nope = 1", code=2).err
    assert "there is no column 'nope'" in error_output
    assert "Stars given" in error_output
    with own.page() as client:
        found = client.get("/", params={"task": "notes", "where": "verdict = 'bad'"})
        assert "stool" in found.text
        assert "kettle" not in found.text
