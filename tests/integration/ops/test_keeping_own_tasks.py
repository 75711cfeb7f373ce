"""A task of a user's own in the commands that keep a workspace: what it answered is exported, forgotten and kept."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from pipeline.engine.declared.task_file import look_again
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


def lines_about(folder: Path, words: str) -> list[Path]:
    """Return the files below a folder that hold some words."""
    return [path for path in folder.rglob("*") if path.is_file() and words.encode() in path.read_bytes()]


def test_a_row_that_is_forgotten_is_nowhere_and_its_file_does_not_bring_it_back(
    kept: Workspace, tmp_path: Path
) -> None:
    """Its row, answers, attempts with their quotations, and reports are gone; a later import leaves the row out."""
    words, key = "The lamp is warm and easy", '["north","2"]'
    why = f'quote is not in the text: "{words}"'
    kept.change(
        "INSERT INTO findable_attempts (task, item_id, outcome, reason, charged, tokens_in, tokens_out, cost, at)"
        " SELECT task, item_id, 'invalid', :why, true, 1, 1, 0, at FROM findable_answers WHERE item_id = :key",
        why=why,
        key=key,
    )
    kept.ran("qc")
    text = kept.scalar("SELECT text FROM things_items WHERE findable_key = :key", key=key)
    kept.change("UPDATE findable_wire_texts SET reply = :text WHERE call = 1", text=text)  # another's reply may name it
    said = kept.ran("forget", ITEM=key, YES="1").output
    assert "things.csv" in said
    assert "forbid" not in said
    assert not lines_about(kept.data, words)
    assert kept.query("SELECT shop, number FROM things_items ORDER BY 1, 2") == [("north", "1"), ("south", "1")]
    assert kept.scalar("SELECT count(*) FROM things_answers") == 2
    left = "SELECT count(*) FROM findable_answers WHERE item_id = :key OR answer LIKE :words"
    assert kept.scalar(left, key=key, words=f"%{words}%") == 0
    assert kept.query("SELECT call FROM findable_wire_texts") == [(3,)]
    assert kept.scalar("SELECT count(*) FROM findable_attempts WHERE reason = :why", why=why) == 0
    with (tmp_path / "tasks" / "things.csv").open("a", encoding="utf-8") as file:
        file.write("south,9,A vase that leaks at the bottom.,1\n")
    assert "1 left out, for they were forgotten" in kept.ran("tag-live").output
    assert kept.scalar("SELECT count(*) FROM things_answers") == 3
    kept.ran("forget", ITEM=key, YES="1", code=2)
    kept.ran("doctor", FIX="1")


def test_a_person_in_rows_of_a_task_is_named_with_what_to_do(kept: Workspace, tmp_path: Path) -> None:
    """Forgotten in their own table; the tables of the task that hold their name are told, and how to go on."""
    (tmp_path / "people.csv").write_text("username,bio\nwarm and easy,Dims lamps.\n", encoding="utf-8")
    kept.ran("import", str(tmp_path / "people.csv"))
    said = " ".join(kept.ran("forget", "warm and easy", YES="1").output.split())
    for table in ("things_items", "things_answers"):
        assert f"rows of {table} hold text of warm and easy" in said
    assert "make forget TASK=things ITEM=" in said
    assert kept.scalar("SELECT count(*) FROM experts") == 0


def test_commands_that_keep_a_workspace_do_without_the_file(kept: Workspace, tmp_path: Path) -> None:
    """Where it is broken, and where it is gone, which doctor notes; for a task never used, those about all of it."""
    path = tmp_path / "tasks" / "things.py"
    kept.ran("doctor", FIX="1")
    path.write_text("def (", encoding="utf-8")
    look_again()  # this process may have made the workspace
    kept.ran_each("status", "doctor", "versions", "parked", "items", "costs", "batches", "qc")
    kept.ran("export", str(tmp_path / "out.csv"))
    assert "line 1" in kept.ran("batch-submit", code=2).output
    kept.ran("import", str(tmp_path / "tasks" / "things.csv"), TASK="experts", code=2)
    path.unlink()
    kept.change("UPDATE findable_tasks SET path = :path", path=str(path))
    assert "the file of the task things is gone" in kept.ran("doctor", FIX="1").output
    kept.ran("rollback", "things@1", YES="1")
    kept.ran("backup", str(tmp_path / "copy"))
    declare_other = tmp_path / "tasks" / "other.py"
    declare_other.write_text(DECLARED, encoding="utf-8")
    kept.ran_each("costs", "batches", "doctor", "clean", TASK="other")
    kept.ran("export", str(tmp_path / "none.csv"), TASK="other", code=3)


@pytest.mark.full
def test_status_of_an_own_task_loads_the_database_alone(kept: Workspace) -> None:
    """Neither pydantic nor the task's file, though the task is recorded and has answers."""
    code = (
        "import sys; from jobs.cli import main\n"
        "try: main(['status'], prog_name='findable')\n"
        "except SystemExit: print(sorted({'pydantic', 'numpy', 'findable_task_things'} & {*sys.modules}))"
    )
    environ = {**os.environ, **kept.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ)
    assert "3 answered" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
