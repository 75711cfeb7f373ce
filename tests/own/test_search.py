"""The index of a user's own task: what is found, when it is behind, and that all that keeps a workspace knows of it."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.task_file import look_again
from pipeline.index.vectors import vector_cache
from tests.lab import HERE, Workspace

FILE = """
from typing import Literal
from pydantic import BaseModel, Field
from findable import Task

class Answer(BaseModel):
    room: Literal["kitchen", "garden", "office"]
    parts: list[str] = Field(max_length=3)

task = Task(
    answer=Answer, items="goods.csv", prompt="{text}", label="{name}", index="{name}. {text} {room} {parts}"
)
"""
GOODS = {
    "17": ("Pellow kettle", "Boils water for tea in two minutes."),
    "x/2": ("Tidewell radio", "Plays music and the news all day."),
    "ü": ("Quill notebook", "Lies flat while one writes into it."),
    "9": ("Marrow spade", "Digs wet clay, and does not bend."),
}
TEA = "a cup of tea"
PLACE = Path("index/tasks/goods")
KINDS = ("faiss.index", "metadata.json")


class Goods:
    """A task with an index, in the folder where commands run."""

    def __init__(self, root: Path, workspace: Workspace) -> None:
        """Name the places."""
        self.folder, self.workspace, self.data = root / HERE / "tasks", workspace, workspace.data
        workspace.environ |= {"FINDABLE_TASK": "goods", "FINDABLE_YES": "1"}

    def write(self, *changes: tuple[str, str], rows: dict[str, tuple[str, str]] | None = None) -> None:
        """Write the task's file, with texts in it replaced, and its rows."""
        text = FILE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "goods.py").write_text(text, encoding="utf-8")
        with (self.folder / "goods.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("id", "name", "text"), *((key, *row) for key, row in (rows or GOODS).items())])
        look_again()  # a process loads a file once, and a test is many processes' work in one

    def ran(self, *args: str, code: int = 0, **values: str) -> str:
        """Run a command that must end with a code, and return all that it said, on one line."""
        return " ".join(str(self.workspace.ran(*args, code=code, **values).output).split())

    def found(self, question: str, *args: str, **values: str) -> list[dict[str, Any]]:
        """Return the hits of a search."""
        hits: list[dict[str, Any]] = json.loads(
            self.workspace.ran("search", question, *args, "--json", **values).stdout
        )
        return hits

    def index(self) -> dict[str, Any]:
        """Return what `status` says of the index."""
        found: dict[str, Any] = json.loads(self.workspace.ran("status", "--json").stdout)["index"]
        return found

    def numbers(self) -> list[str]:
        """Return the names of the builds that are there."""
        return sorted(path.name for path in (self.data / PLACE / "builds").iterdir())

    def vectors(self) -> int:
        """Return how many vectors are cached."""
        with self.workspace.open() as ws, vector_cache(ws).reading() as tx:
            assert tx is not None
            return int(tx.exec_driver_sql("SELECT count(*) FROM findable_vectors").scalar_one())


@pytest.fixture
def goods(tmp_path: Path, workspace: Workspace, begun: Callable[[Callable[[], None]], None]) -> Iterator[Goods]:
    """Four rows that are answered and indexed."""
    made = Goods(tmp_path, workspace)

    def prepare() -> None:
        made.write()
        made.ran("tag-live")
        made.ran("index")

    begun(prepare)
    made.write()
    for column, name in (("path", "goods.py"), ("items", "goods.csv")):  # of a copy, where it is now
        workspace.change(f"UPDATE findable_tasks SET {column} = :here", here=str(made.folder / name))  # noqa: S608
    yield made
    look_again()


def test_a_task_can_be_named_by_an_option(goods: Goods) -> None:
    """It stands above the variable; a task that there is none of is said before all else, and nothing is made."""
    assert goods.found(TEA, "-k", "1", "--task", "goods", TASK="passages")[0]["key"] == "17"
    elsewhere = {"DATA": str(goods.data.parent / "nothing"), "DATABASE_URL": ""}
    for command in ("status", "tag"):
        said = goods.ran(command, "--task", "gods", code=3, **elsewhere)
        assert "there is no task 'gods'" in said
        assert "did you mean goods?" in said
    said = goods.ran("status", "--task", "core", code=3, **elsewhere)  # as a part of the program is called
    assert "TASK= takes experts, passages, images, goods, or the path of a file" in said
    assert "`make try TASK=goods" in goods.ran("status", "--task", "goods", code=3, **elsewhere)
    assert not (goods.data.parent / "nothing").exists()


def test_people_keep_their_index_and_their_numbers(goods: Goods, people: Callable[..., list[str]]) -> None:
    """Each search finds its own; a number is that of one build, and the stable paths are those of people's."""
    people(2)
    for command in ("tag-live", "index", "index"):
        goods.ran(command, TASK="experts")
    assert (goods.data / "index" / "current").readlink() == Path("builds/3")
    assert [path.resolve().parent.name for path in (goods.data / name for name in KINDS)] == ["3", "3"]
    assert {hit["username"] for hit in goods.found(TEA, TASK="experts")} == {"person-0000", "person-0001"}
    assert (len(goods.found(TEA)), goods.numbers()) == (4, ["1"])
    goods.write(rows=GOODS | {"9": ("Marrow spade", "Snaps.")})
    assert "1 embedded" in goods.ran("preflight") + goods.ran("index")
    assert goods.numbers() == ["1", "4"]
    assert "build 1 is in service again: 4 rows" in goods.ran("index", "--rollback")
    assert goods.index()["behind"] == 1
    assert "build 2 is in service again: 2 experts" in goods.ran("index", "--rollback", TASK="experts")
    assert "nothing contradicts" in goods.ran("doctor")
    numbers = "SELECT number, count FROM findable_builds ORDER BY number"
    assert goods.workspace.query(numbers) == [(1, 4), (2, 2), (3, 2), (4, 4)]
    before = goods.vectors()
    goods.ran("forget", "--item", "9")  # the vectors of both its texts go, and none of others
    assert goods.vectors() == before - 2
    assert "2 experts, 0 embedded" in goods.ran("index", TASK="experts")
    assert "3 rows, 0 embedded" in goods.ran("index")


def test_another_template_makes_every_row_anew(goods: Goods) -> None:
    """It is no other question: nothing is asked. Asking commands note it, and `index` itself."""
    goods.write(("{name}. {text} {room} {parts}", "{room}"))
    goods.ran("preflight")
    assert goods.index()["behind"] == 4
    assert "in build 1, with an older text" in goods.ran("show", "--item", "x/2")
    assert "index of 4 built" in goods.ran("run")
    assert "in build 2, up to date" in goods.ran("show", "--item", "x/2")
    goods.write(("{name}. {text} {room} {parts}", "{Name}"))
    assert "every row is indexed anew build 3 is in service: 4 rows, 4 embedded" in goods.ran("index")
    assert {hit["text"] for hit in goods.found(TEA)} == {name for name, _ in GOODS.values()}
    goods.write(("{name}. {text} {room} {parts}", "{Name}"), ('label="{name}"', 'label="{id}"'))
    goods.ran("preflight")  # another label is no other text, and stands in each hit
    assert (goods.index()["behind"], "4 rows, 0 embedded" in goods.ran("index")) == (4, True)
    assert {hit["label"] for hit in goods.found(TEA)} == set(GOODS)
    goods.write(("{name}. {text} {room} {parts}", "{nowhere}"))
    assert "line 11: index= names the column 'nowhere'" in goods.ran("index", code=2)
    goods.write(("task = Task(", "task = Task(prize=1,"))  # broken, it harms nothing that neither asks nor judges
    assert "index= is taken as it was build 5" in goods.ran("index")
    (goods.folder / "goods.py").unlink()
    assert "build 6 is in service: 4 rows, 0 embedded" in goods.ran("index")
    assert len(goods.found(TEA)) == 4


def test_what_cannot_be_searched_says_what_to_do(goods: Goods) -> None:
    """No index yet, one of another width, and a declaration that names no text; then what is left of one goes."""
    said = goods.ran("search", TEA, code=3, DIM="256")
    assert "`make index TASK=goods`, or set FINDABLE_EMBEDDING_MODEL=gemini-embedding-2 FINDABLE_DIM=768" in said
    goods.write((', index="{name}. {text} {room} {parts}"', ""))
    for command in (("index",), ("search", TEA)):
        said = goods.ran(*command, code=2)
        assert "rows are not in the search index yet" in said
        assert 'index="{column}" in the task\'s file' in said
    assert json.loads(goods.workspace.ran("status", "--json").stdout)["index"] is None
    assert "goods belongs to nothing" in goods.ran("doctor")
    assert "1 left-over" in goods.ran("clean", "--dry")
    goods.ran("clean")
    assert not (goods.data / PLACE).exists()
    goods.write()
    goods.ran("preflight")
    assert "run `make index TASK=goods` to build one" in goods.ran("search", TEA, code=2)
    assert "next make index TASK=goods" in goods.ran("status")
