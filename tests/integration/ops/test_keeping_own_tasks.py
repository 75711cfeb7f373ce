"""A task of a user's own in the commands that keep a workspace: what it answered is exported, forgotten and kept."""

import csv
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.lab import Workspace

SOURCE = "shop,number,text,cost\n" + "".join(
    f"{shop},{number},{text},{cost}\n"
    for shop, number, text, cost in (
        ("north", "1", "The kettle boils in three minutes but its lid burned me.", "=1+1"),
        ("north", "2", "The lamp is warm and easy to dim.", "-5"),
        ("south", "1", "The chair broke after a week of sitting.", ""),
    )
)
DECLARED = """
from datetime import date
from typing import Literal
from pydantic import BaseModel
from findable import Quote, Task

class Aspect(BaseModel):
    aspect: str
    number: int
    quote: Quote

class Answer(BaseModel):
    is_good: bool
    share: float
    seen: date | None
    verdict: Literal["praise", "blame"]
    aspects: list[Aspect]

task = Task(answer=Answer, items="things.csv", key=["shop", "number"], prompt="{text}")
"""
ROWS = [["north", "1"], ["north", "2"], ["south", "1"]]
TASK = "things"
ANSWERS = "SELECT item_id, answer, tokens_in, tokens_out FROM findable_answers WHERE applied ORDER BY item_id"


def declare(folder: Path) -> None:
    """Write the task's file and its rows."""
    (folder / "tasks").mkdir()
    (folder / "tasks" / "things.py").write_text(DECLARED, encoding="utf-8")
    (folder / "tasks" / "things.csv").write_text(SOURCE, encoding="utf-8")


@pytest.fixture
def kept(
    begun: Callable[..., None], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """A workspace in which all rows of a task were answered."""
    workspace.environ["FINDABLE_TASK"] = TASK

    def prepare_task() -> None:
        """Answer its rows live, a folder of the task beside the workspace."""
        declare(tmp_path)
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            workspace.begin().ran("tag-live")

    begun(prepare_task)
    monkeypatch.chdir(tmp_path)
    return workspace


def test_answers_are_exported_beside_their_rows_with_their_kinds_and_costs(kept: Workspace, tmp_path: Path) -> None:
    """In Parquet each column has its kind, CSV has no formula but numbers, and a cost beside a column of that name."""
    for ending in ("csv", "jsonl", "json", "parquet"):
        kept.ran("export", str(tmp_path / f"out.{ending}"), COST="1")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == json.loads((tmp_path / "out.json").read_bytes())
    assert [[one["shop"], one["number"]] for one in lines] == ROWS
    took = [(one["tokens_in"], one["tokens_out"]) for one in lines]
    assert took == [row[2:] for row in kept.query(ANSWERS)]
    assert {type(one["findable_cost"]) for one in lines} == {float}
    table = parquet.read_table(tmp_path / "out.parquet")
    kinds = {one.name: str(one.type) for one in table.schema}
    expected = {"is_good": "bool", "share": "double", "seen": "date32[day]", "aspects": "string", "tokens_in": "int64"}
    assert expected.items() <= kinds.items()
    assert {type(one["seen"]) for one in table.to_pylist()} <= {date, type(None)}
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["cost"] for row in csv.DictReader(file)] == ["'=1+1", "'-5", ""]
    extractor = kept.scalar("SELECT extractor FROM things_answers")
    kept.ran("export", str(tmp_path / "one.jsonl"), EXTRACTOR=extractor)
    kept.ran("export", str(tmp_path / "none.jsonl"), EXTRACTOR="things@2/any", code=2)
    assert not (tmp_path / "none.jsonl").exists()


def test_each_member_of_a_list_is_exported_as_a_row(kept: Workspace, tmp_path: Path) -> None:
    """Its fields are columns in the list's place, a name that is taken has the list's before it; no member, no row."""
    kept.change("UPDATE things_answers SET aspects = '[]' WHERE shop = 'south'")
    for ending in ("csv", "jsonl", "parquet"):
        kept.ran("export", str(tmp_path / f"out.{ending}"), ROWS="aspects")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    members = [
        (json.loads(key), one)
        for key, answer, *_ in kept.query(ANSWERS)
        for one in json.loads(answer)["aspects"]
        if "south" not in key
    ]
    assert members
    columns = ("shop", "number", "aspect", "aspects_number", "quote", "quote_start", "quote_end")
    wanted: list[list[Any]] = [[*key, one["aspect"], one["number"], *one["quote"].values()] for key, one in members]
    assert [[line[name] for name in columns] for line in lines] == wanted
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist()[0]["quote_start"] == lines[0]["quote_start"]
    said = kept.ran("export", str(tmp_path / "x.csv"), ROWS="verdict", code=2).output
    assert "aspects" in said
    kept.ran("export", str(tmp_path / "x.csv"), TASK="experts", ROWS="aspects", code=2)
