"""Every row of a source is in one state, which adds up, survives, and stands beside its answer in the export."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from python_calamine import CalamineWorkbook

from tests.acceptance.database import as_before_states
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace, declaration
from tests.acceptance.steps import Fate

HEAD = "id,text\n"
# Lines 2 to 10: answered, no key, answered, double key, empty, a formula, broken, with NUL, answered.
MIXED = (
    b"id,text\n1,a lamp that hums\n,no key\n2,two chairs\n1,another lamp\n3,\n@four,=1+1 bees\n5,a,b\n"
    b"6,a NUL \x00 character\n7,caf\xc3\xa9\n"
)
STATES = {"answered": 4, "empty": 1, "refused": 4}


def declare(workspace: Workspace, name: str, *more: str, items: str = "", **fields: str) -> Path:
    """Write the file of a task about `tasks/NAME.csv`."""
    workspace.task = name
    workspace.settings["YES"] = "1"
    text = declaration(
        fields or {"topic": "str"}, prompt="About: {text}", items=items or f"{name}.csv", more=more
    )
    return workspace.put(f"tasks/{name}.py", text)


def put_bytes(workspace: Workspace, name: str, content: bytes) -> None:
    """Write a file that need not be UTF-8."""
    path = workspace.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def cells_of(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, the header first."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def check_sums(workspace: Workspace, count: int) -> None:
    """Assert that the source's rows, the export's rows and the states of `status` are as many, state by state."""
    said = workspace.status()
    states = said[workspace.task]
    total = states.pop("total")
    exported = workspace.exported(workspace.task)
    assert (total, sum(states.values()), len(exported)) == (count, count, count)
    counter = Counter(row.get("row_state", row["state"]) for row in exported)
    assert counter == {name: number for name, number in states.items() if number}
    with_gone = workspace.exported(workspace.task, gone=True)
    assert (len(with_gone), "gone" in states) == (count + said["gone"], False)


def test_every_row_of_a_file_is_in_one_state(workspace: Workspace) -> None:
    """Refused rows stand in status, items, doctor and every format of the export, in the order of the source."""
    declare(workspace, "mixed")
    put_bytes(workspace, "tasks/mixed.csv", MIXED)
    error_output = workspace.do("tag", mode="live").err
    assert "mixed.csv, line 3, column 'id': the key is blank" in error_output
    assert "4 rows are refused; 3 are shown" in error_output
    assert "items --task mixed --state refused" in error_output
    assert workspace.states() == STATES
    check_sums(workspace, 9)
    listed = workspace.read("items", state="refused")["items"]
    assert [(one["line"], one["text"]) for one in listed] == [
        (3, "no key"),
        (5, "another lamp"),
        (8, "a"),
        (9, "a NUL \\x00 character"),
    ]
    assert listed[1]["reason"] == "the key is on line 2, too (column 'id')"
    assert [one["state"] for one in workspace.rows()] == [
        one["state"] for one in workspace.exported()
    ]
    assert workspace.read("items", counts=True)["total"] == 9
    assert (
        "4 rows of mixed were refused: line 3: the key is blank (column 'id')"
        in workspace.do("doctor").out
    )
    for name in ("out.csv", "out.jsonl", "out.json", "out.xlsx", "out.parquet"):
        workspace.do("export", name)
    header, *rows = cells_of(workspace.home / "out.csv")
    assert header == ["id", "text", "topic", "extractor", "answered_at", "state", "reason"]
    assert [row[0] for row in rows] == ["1", "", "2", "1", "3", "'@four", "5", "6", "7"]
    assert rows[1][1:3] + rows[1][-2:] == [
        "no key",
        "",
        "refused",
        "line 3: the key is blank (column 'id')",
    ]
    states = [row[-2] for row in rows]
    lines = (workspace.home / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["state"] for line in lines] == states
    assert [
        one["state"]
        for one in json.loads((workspace.home / "out.json").read_text(encoding="utf-8"))
    ] == states
    sheet = (
        CalamineWorkbook.from_path(workspace.home / "out.xlsx").get_sheet_by_index(0).to_python()
    )
    assert [row[5] for row in sheet[1:]] == states
    assert parquet.read_table(workspace.home / "out.parquet").column("state").to_pylist() == states


def test_rows_that_left_the_source_are_told_beside_it(workspace: Workspace) -> None:
    """They are no rows of it, not counted as answered, and exported on demand; a new order of the file is followed."""
    declare(workspace, "moving", state="str", reason="str")
    workspace.put("tasks/moving.csv", f"{HEAD}1,a\n2,b\n,c\n3,d\n")
    workspace.do("tag", mode="live")
    workspace.put("tasks/moving.csv", f"{HEAD}9,new\n3,d\n1,a\n")
    workspace.do("tag", mode="live")
    said = workspace.status()
    assert (
        said["moving"]["total"],
        said["moving"]["answered"],
        said["moving"]["refused"],
        said["gone"],
    ) == (
        3,
        3,
        0,
        1,
    )
    assert "1 gone from the source" in workspace.do("status").out
    check_sums(workspace, 3)
    exported = workspace.exported()
    assert [one["id"] for one in exported] == ["9", "3", "1"]
    assert {"state", "reason", "row_state", "row_reason"} <= exported[0].keys()
    assert {one["id"]: one["row_state"] for one in workspace.exported(gone=True)}["2"] == "gone"
    items_document = workspace.read("items", counts=True)
    assert (items_document["total"], items_document["gone"], len(workspace.rows())) == (3, 1, 3)
    assert [one["id"] for one in workspace.read("items", state="gone")["items"]] == ["2"]
    workspace.put("tasks/moving.csv", HEAD)
    workspace.do("tag", mode="live", code="any")
    export_run = workspace.do("export", "none.csv")
    assert "no row to export: no file was written" in export_run.out
    assert not (workspace.home / "none.csv").exists()


def test_equal_rows_without_a_key_are_rows_that_share_one_request(
    workspace: Workspace, api: Engine
) -> None:
    """All are answered and counted, by batch as live; which of them is which stays when one of them goes."""
    declare(workspace, "equal", 'key="row"')
    texts = ["a lamp", "a chair", "a lamp", "a lamp", "a chair"]
    workspace.put("tasks/equal.csv", HEAD + "".join(f"1,{text}\n" for text in texts))
    tag_run = workspace.do("tag", mode="batch", wait=True)
    assert tag_run.out.startswith("5 answered in 1 batch")
    assert [len(one["lines"]) for one in api.creates()] == [2]
    assert workspace.states() == {"answered": 5}
    check_sums(workspace, 5)
    rows = workspace.exported()
    lamps = [one["row"] for one in rows if one["text"] == "a lamp"]
    assert ([len(lamps[0]), *lamps], len({one["row"] for one in rows})) == (
        [32, lamps[0], f"{lamps[0]}-2", f"{lamps[0]}-3"],
        5,
    )
    workspace.put("tasks/equal.csv", f"{HEAD}1,a lamp\n1,a chair\n1,a lamp\n1,a lamp\n1,a lamp\n")
    assert "rows: 1 new, 1 gone" in workspace.do("preflight").err
    assert workspace.do("tag", mode="batch", wait=True).out.startswith("1 answered")
    assert len(api.creates()) == 1
    check_sums(workspace, 5)


@pytest.mark.parametrize("key", ["id", "row"])
def test_a_workspace_of_before_is_upgraded_by_the_first_command_that_asks(
    workspace: Workspace, api: Engine, key: str
) -> None:
    """Refused and merged rows come back, answers stay where they were, and commands that read change nothing."""
    declare(workspace, "old", f'key="{key}"')
    text = f"{HEAD}1,a lamp\n,b\n1,a lamp\n2,c\n"
    workspace.put("tasks/old.csv", text)
    workspace.do("tag", mode="live")
    calls = sum(":generateContent" in one["path"] for one in api.journal())
    as_before_states(workspace, "old")
    before = workspace.status()["old"]
    assert before["total"] == (2 if key == "id" else 3)
    workspace.each("status", "items", "doctor")
    workspace.do("export", "-", format="csv")
    assert workspace.status()["old"] == before
    assert "rows:" in workspace.do("tag", mode="live").err
    assert workspace.states() == ({"answered": 2, "refused": 2} if key == "id" else {"answered": 4})
    check_sums(workspace, 4)
    assert sum(":generateContent" in one["path"] for one in api.journal()) == calls


def test_an_apostrophe_that_an_export_put_before_a_cell_goes_when_it_is_read(
    workspace: Workspace,
) -> None:
    """How many cells got one is said; RAW=1 changes none; read as one's own table, keys are what they were."""
    declare(workspace, "signs")
    workspace.put("tasks/signs.csv", "id,text,@by\n@ada,=bees,x\nbob,a lamp,-y\n-5,c,'d\n")
    workspace.do("tag", mode="live")
    export_run = workspace.do("export", "out.csv")
    # `bees` of the local engine's answer begins like a formula, too.
    changed = (
        sum(cell.startswith("'") for row in cells_of(workspace.home / "out.csv") for cell in row)
        - 1
    )
    assert changed >= 4
    assert f"{changed} cells begin like a formula" in export_run.err
    assert "--raw" in export_run.err
    raw = workspace.do("export", "raw.csv", raw=True)
    assert "apostrophe" not in raw.err
    header, *rows = cells_of(workspace.home / "raw.csv")
    assert [header[2], *(row[0] for row in rows)] == ["@by", "@ada", "bob", "-5"]
    (workspace.home / "tasks/signs.csv").write_bytes((workspace.home / "out.csv").read_bytes())
    assert "rows:" not in workspace.do("preflight").err
    assert workspace.states() == {"answered": 3}


def test_refused_rows_of_people_and_passages_are_kept_until_their_file_comes_again(
    workspace: Workspace,
) -> None:
    """With line, reason and cells, in status, items, doctor and the export; who is forgotten is in none of them."""
    head = "Username,First Name,Bio,Color\n"
    workspace.put(
        "p.csv", f"{head}ada,Ada,I keep bees,red\n,No,nobody,blue\nADA,Twin,Wasps,=x\nbob,Bob,,y\n"
    )
    workspace.do("import", "p.csv")
    experts = workspace.status()["experts"]
    assert (experts["total"], experts["untagged"], experts["no_bio"], experts["refused"]) == (
        4,
        1,
        1,
        2,
    )
    listed = workspace.read("items", state="refused")["items"]
    assert [(one["line"], one["cells"]["bio"]) for one in listed] == [(3, "nobody"), (4, "Wasps")]
    assert "2 rows of experts were refused: line 3: empty" in workspace.do("doctor").out
    exported = workspace.exported()
    assert [(one["Username"], one["Color"], one["state"]) for one in exported] == [
        ("ada", "red", "untagged"),
        ("bob", "y", "no_bio"),
        (None, "blue", "refused"),
        ("ADA", "=x", "refused"),
    ]
    assert exported[3]["reason"].startswith("line 4: duplicate username: already on line 2")
    workspace.do("export", "out.csv")
    elsewhere = Workspace(workspace.home.parent / "again", workspace.url)
    elsewhere.put("in.csv", (workspace.home / "out.csv").read_text(encoding="utf-8"))
    elsewhere.do("import", "in.csv")
    assert [one["state"] for one in elsewhere.exported()] == [one["state"] for one in exported]
    assert "row_state" not in elsewhere.exported()[0]
    with workspace.page() as client:
        page = client.get("/", params={"task": "experts", "state": "refused"}).text
        assert "duplicate username" in page
        assert "/row?" not in page.partition('id="rows"')[2]
        assert "2 refused" in client.get("/parts/state", params={"task": "experts"}).text
    workspace.do("forget", "ada", yes=True)
    assert [one["line"] for one in workspace.read("items", state="refused")["items"]] == [3]
    workspace.put("p.csv", f"{head}bob,Bob,,y\n")
    workspace.do("import", "p.csv")
    assert workspace.status()["experts"]["refused"] == 0
    workspace.put("t.jsonl", '{"id": "a", "text": "bees"}\n{"id": "b"}\nnope\n')
    workspace.do("import_passages", "t.jsonl")
    assert workspace.states("passages") == {"open": 1, "refused": 2}
    listed = workspace.read("items", state="refused", TASK="passages")["items"]
    assert [(one["line"], one["cells"]) for one in listed] == [(2, {"id": "b"}), (3, {})]


class Table(NamedTuple):
    """A generated source: rows of key and text, which of them have a cell too many, and how the file is encoded."""

    rows: Sequence[tuple[str, str]]
    broken: frozenset[int]
    encoding: str

    @property
    def content(self) -> bytes:
        """Return the bytes of the CSV file."""
        lines = (
            f"{key},{text}{',x' * (index in self.broken)}\n"
            for index, (key, text) in enumerate(self.rows)
        )
        return (HEAD + "".join(lines)).encode(self.encoding)


CELLS = st.tuples(
    st.sampled_from(["", "1", "2", "3", "@four"]),
    st.sampled_from(["", "bees", "café fermé", "=wasps"]),
)
TABLES = st.builds(
    Table,
    st.lists(CELLS, min_size=1, max_size=6),
    st.frozensets(st.integers(0, 5), max_size=2),
    st.sampled_from(["utf-8", "cp1252"]),
)
EVERYTHING = Table(
    [("1", "bees"), ("", "café fermé"), ("1", "bees"), ("2", ""), ("3", "wasps"), ("1", "café")],
    frozenset({4}),
    "cp1252",
)


@pytest.mark.excused("nobody_is_answered_twice")
@settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(first=TABLES, second=TABLES, key=st.sampled_from(["id", "row"]), step=st.integers(5, 60))
@example(first=EVERYTHING, second=EVERYTHING._replace(rows=EVERYTHING.rows[2:]), key="id", step=30)
@example(first=EVERYTHING, second=EVERYTHING._replace(rows=EVERYTHING.rows[:3]), key="row", step=20)
def test_rows_of_the_source_are_rows_of_the_export_and_sum_of_the_states(
    workspace: Workspace, first: Table, second: Table, key: str, step: int
) -> None:
    """That holds for any table, after a run that was killed at any step, and when the table has become another."""
    name = f"any{len(workspace.seen)}"
    declare(workspace, name, f'key="{key}"')
    for table in (first, second):
        put_bytes(workspace, f"tasks/{name}.csv", table.content)
        workspace.do("ask", f"tasks/{name}.csv", q="What is it about?", code="any")
        workspace.run("tag", mode="live", fate=Fate(step))
        workspace.do("tag", mode="live", code="any")
        check_sums(workspace, len(table.rows))
