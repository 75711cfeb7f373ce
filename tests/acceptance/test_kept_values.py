"""A stored answer has the values of the reply; types that cannot keep them are refused."""

from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import Workspace
from tests.outside.answers import user_text
from tests.outside.server import Outside

TASK_FILE = """from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    BaseModel, Field, PlainSerializer, SecretStr, field_serializer, model_serializer
)

from askrows import Task


{definitions}

task = Task(answer=Answer, items="rows.csv", prompt="{{text}}")
"""
# The definitions of an answer, and texts of the message.
CODE_ANSWER = """class Answer(BaseModel):
    code: SecretStr | None"""
EXCLUDED = """class Answer(BaseModel):
    mood: str
    why: str = Field("", exclude=True)"""
EXCLUDED_IN_LIST = """class Part(BaseModel):
    size: int = Field(1, exclude=True)


class Answer(BaseModel):
    parts: list[Part]"""
FIELD_SERIALIZER = """class Answer(BaseModel):
    mood: str

    @field_serializer("mood")
    def shout(self, mood):
        return mood.upper()"""
ANNOTATED_SERIALIZER = """class Answer(BaseModel):
    sizes: list[Annotated[int, PlainSerializer(hex)]]"""
MODEL_SERIALIZER = """class Part(BaseModel):
    size: int

    @model_serializer
    def size_alone(self):
        return self.size


class Answer(BaseModel):
    part: Part | None"""
EMPTY_CHOICE = """class Answer(BaseModel):
    mood: Literal["calm", ""]"""
PADDED_CHOICE = """class Answer(BaseModel):
    moods: list[Literal["calm", "cross "]]"""
LOSSY_ANSWERS = {
    "secret": (CODE_ANSWER, ["line 13", "Answer.code", "secret"]),
    "excluded": (EXCLUDED, ["line 14", "Answer.why", "excluded"]),
    "excluded in a list": (EXCLUDED_IN_LIST, ["line 13", "size", "excluded"]),
    "field": (FIELD_SERIALIZER, ["line 13", "Answer.mood", "serializer"]),
    "annotation": (ANNOTATED_SERIALIZER, ["line 13", "Answer.sizes", "serializer"]),
    "model": (MODEL_SERIALIZER, ["line 21", "Answer.part", "serializer"]),
    "empty choice": (EMPTY_CHOICE, ["line 13", "Answer.mood", "choices"]),
    "padded choice": (PADDED_CHOICE, ["line 13", "Answer.moods", "choices"]),
}


def write_task(workspace: Workspace, definitions: str, *texts: str) -> None:
    """Write a task with these definitions and a row for each text; the commands use it."""
    workspace.task = "kept"
    workspace.write_file("tasks/kept.py", TASK_FILE.format(definitions=definitions))
    rows = [f"{number},{text}\n" for number, text in enumerate(texts, start=1)]
    workspace.write_file("tasks/rows.csv", "id,text\n" + "".join(rows))


def answer_rows(
    workspace: Workspace, server: Outside, definitions: str, answers: dict[str, Any]
) -> dict[str, Any]:
    """Tag a row for each answer, by the word of its text; return the exported rows by text."""
    write_task(workspace, definitions, *answers)
    server.answerer = lambda request: answers[
        user_text(request).partition(">")[2].partition("<")[0].strip()
    ]
    workspace.run_command("tag", mode="live", yes=True)
    return {row["text"]: row for row in workspace.exported_rows()}


@pytest.mark.parametrize("name", LOSSY_ANSWERS)
def test_type_that_loses_values_is_refused_by_line(workspace: Workspace, name: str) -> None:
    """Excluded fields, secrets, serializers and choices of blanks are found at any depth."""
    definitions, texts = LOSSY_ANSWERS[name]
    write_task(workspace, definitions, "hello")
    message = workspace.run_command("tag", code=2, dry=True).stderr
    assert all(text in message for text in ["kept.py", *texts]), message
    assert "bug" not in message


def test_decimals_keep_their_digits(served_workspace: Workspace, outside_server: Outside) -> None:
    """They are texts in every format and in SQLite's views, and numeric in PostgreSQL's."""
    prices = ["0.10", "-4.50", "98765432109876543210.012345678901", "300"]
    definitions = "class Answer(BaseModel):\n    price: Decimal | None"
    rows = answer_rows(
        served_workspace, outside_server, definitions, {text: {"price": text} for text in prices}
    )
    assert {text: row["price"] for text, row in rows.items()} == {text: text for text in prices}
    lines = served_workspace.run_command("export", "-", format="csv").stdout.splitlines()[1:]
    assert [line.split(",")[2] for line in lines] == prices
    view_rows = run_sql(served_workspace, "SELECT price FROM kept_answered ORDER BY id")
    assert [str(price) for (price,) in view_rows] == prices
    cheap_rows = served_workspace.read_json("items", where="price < 1")["rows"]
    assert sorted(row["id"] for row in cheap_rows) == ["1", "2"]


def test_texts_in_lists_are_kept(served_workspace: Workspace, outside_server: Outside) -> None:
    """Texts in a list are stored as they came, also blank ones; a blank choice is invalid."""
    definitions = (
        "class Answer(BaseModel):\n    things: list[str] = Field(min_length=1)\n"
        "    moods: set[Literal['calm']] = set()"
    )
    rows = answer_rows(
        served_workspace,
        outside_server,
        definitions,
        {
            "padded": {"things": [" Water ", "\tLane three", "coins\n", "", " "]},
            "choice": {"things": ["x"], "moods": [" calm "]},
            "blank": {"things": ["x"], "moods": [" "]},
        },
    )
    assert rows["padded"]["things"] == [" Water ", "\tLane three", "coins\n", "", " "]
    assert rows["choice"]["moods"] == ["calm"]
    assert rows["blank"]["state"] == "parked"
