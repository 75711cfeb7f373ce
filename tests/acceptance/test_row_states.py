"""Each row of a source is in exactly one state, and the states add up in every command."""

from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace, write_declaration
from tests.acceptance.table_files import cells_of

HEADER = "id,text\n"
# Lines 2 to 6: answered, no key, answered, double key, empty.
# Lines 7 to 10: a formula, broken, with NUL, answered.
MIXED = (
    b"id,text\n1,a lamp that hums\n,no key\n2,two chairs\n1,another lamp\n3,\n"
    b"@four,=1+1 bees\n5,a,b\n"
    b"6,a NUL \x00 character\n7,caf\xc3\xa9\n"
)
STATES = {"answered": 4, "empty": 1, "refused": 4}


def declare(
    workspace: Workspace, name: str, *arguments: str, items: str = "", **fields: str
) -> Path:
    """Write the file of a task about `tasks/NAME.csv`."""
    workspace.task = name
    workspace.settings["YES"] = "1"
    text = write_declaration(
        fields or {"topic": "str"},
        prompt="About: {text}",
        items=items or f"{name}.csv",
        extra_arguments=arguments,
    )
    return workspace.write_file(f"tasks/{name}.py", text)


def put_bytes(workspace: Workspace, name: str, content: bytes) -> None:
    """Write a file that need not be UTF-8."""
    path = workspace.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def check_sums(workspace: Workspace, count: int) -> None:
    """Assert that the source, the export and `status` have the same rows in each state."""
    status = workspace.status()
    states = status[workspace.task]
    total = states.pop("total")
    exported = workspace.exported_rows(workspace.task)
    assert (total, sum(states.values()), len(exported)) == (count, count, count)
    counter = Counter(row.get("row_state", row["state"]) for row in exported)
    assert counter == {name: number for name, number in states.items() if number}
    rows_with_gone = workspace.exported_rows(workspace.task, gone=True)
    assert (len(rows_with_gone), "gone" in states) == (count + status["gone"], False)


@pytest.mark.alike
def test_every_row_of_a_file_is_in_one_state(workspace: Workspace) -> None:
    """Refused rows appear in status, items and every export, in the source's order."""
    declare(workspace, "mixed")
    put_bytes(workspace, "tasks/mixed.csv", MIXED)

    error_output = workspace.run_command("tag", mode="live").stderr
    assert "4 rows are refused; `" in error_output
    assert workspace.state_counts() == STATES
    check_sums(workspace, 9)

    refused_rows = workspace.read_json("items", state="refused")["rows"]
    assert [(row["reason"].partition(":")[0], row["text"]) for row in refused_rows] == [
        ("line 3", "no key"),
        ("line 5", "another lamp"),
        ("line 8", "a"),
        ("line 9", "a NUL \\x00 character"),
    ]
    assert refused_rows[1]["reason"] == "line 5: the key is already on line 2 (column 'id')"
    assert [row["state"] for row in workspace.listed_rows()] == [
        row["state"] for row in workspace.exported_rows()
    ]
    assert workspace.read_json("items", counts=True)["total"] == 9

    # An export has the refused rows in their places.
    workspace.run_command("export", "out.csv")
    header, *rows = cells_of(workspace.home / "out.csv")
    assert header == ["id", "text", "topic", "answer_version", "answered_at", "state", "reason"]
    assert [row[0] for row in rows] == ["1", "", "2", "1", "3", "'@four", "5", "6", "7"]
    assert rows[1][1:3] + rows[1][-2:] == [
        "no key",
        "",
        "refused",
        "line 3: the key is blank (column 'id')",
    ]


@pytest.mark.alike
def test_rows_that_left_the_source_are_counted_as_gone(workspace: Workspace) -> None:
    """Gone rows are not counted as answered and are exported on demand.

    The export follows a new order of the file.
    """
    declare(workspace, "moving", state="str", reason="str")
    workspace.write_file("tasks/moving.csv", f"{HEADER}1,a\n2,b\n,c\n3,d\n")
    workspace.run_command("tag", mode="live")
    workspace.write_file("tasks/moving.csv", f"{HEADER}9,new\n3,d\n1,a\n")
    workspace.run_command("tag", mode="live")
    status = workspace.status()
    states = status["moving"]
    assert (states["total"], states["answered"], states["refused"]) == (3, 3, 0)
    assert status["gone"] == 1
    check_sums(workspace, 3)

    exported = workspace.exported_rows()
    assert [row["id"] for row in exported] == ["9", "3", "1"]
    assert {"state", "reason", "row_state", "row_reason"} <= exported[0].keys()
    assert {row["id"]: row["row_state"] for row in workspace.exported_rows(gone=True)}[
        "2"
    ] == "gone"
    listing = workspace.read_json("items", counts=True)
    assert (listing["total"], listing["gone"], len(workspace.listed_rows())) == (
        3,
        1,
        3,
    )
    assert [row["id"] for row in workspace.read_json("items", state="gone")["rows"]] == ["2"]


@pytest.mark.alike
def test_equal_rows_without_a_key_share_one_request(workspace: Workspace, api: Engine) -> None:
    """All equal rows are answered and counted; they keep their keys when one of them is removed."""
    declare(workspace, "equal", 'key="row"')
    texts = ["a lamp", "a chair", "a lamp", "a lamp", "a chair"]
    workspace.write_file("tasks/equal.csv", HEADER + "".join(f"1,{text}\n" for text in texts))
    workspace.run_command("tag", mode="batch", wait=True)
    assert [len(create["lines"]) for create in api.creates()] == [2]
    assert workspace.state_counts() == {"answered": 5}
    check_sums(workspace, 5)
    rows = workspace.exported_rows()
    lamps = [row["row"] for row in rows if row["text"] == "a lamp"]
    hash_key = lamps[0]
    assert len(hash_key) == 32
    assert lamps == [hash_key, f"{hash_key}-2", f"{hash_key}-3"]
    assert len({row["row"] for row in rows}) == 5

    # A chair becomes a lamp: only the new row is asked about, at no further request.
    workspace.write_file(
        "tasks/equal.csv", f"{HEADER}1,a lamp\n1,a chair\n1,a lamp\n1,a lamp\n1,a lamp\n"
    )
    assert "rows: 1 new, 1 gone" in workspace.run_command("preflight").stderr
    assert workspace.run_command("tag", mode="batch", wait=True).stdout.startswith("1 answered")
    assert len(api.creates()) == 1
    check_sums(workspace, 5)


@pytest.mark.alike
@pytest.mark.promise("formulas")
def test_apostrophes_of_an_export_are_removed_when_it_is_read(
    workspace: Workspace,
) -> None:
    """The export counts changed cells, RAW=1 changes none, and exports and lists read back."""
    declare(workspace, "signs")
    workspace.write_file("tasks/signs.csv", "id,text,@by\n@ada,=bees,x\nbob,a lamp,-y\n-5,c,'d\n")
    workspace.run_command("tag", mode="live")
    export_run = workspace.run_command("export", "out.csv")
    marked_count = 0
    for row in cells_of(workspace.home / "out.csv"):
        marked_count += sum(cell.startswith("'") for cell in row)
    workspace.run_command("items", to="list.csv")
    assert "'@ada" in (workspace.home / "list.csv").read_text(encoding="utf-8")
    assert workspace.read_json("correct", file="list.csv", who="ada", dry=True)["corrected"] == 0

    # The cell `'d` has its apostrophe from the source. Answers may begin like a formula, too.
    changed_count = marked_count - 1
    assert changed_count >= 4
    assert f"{changed_count} cells begin like a formula" in export_run.stderr
    assert "--raw" in export_run.stderr

    raw_export = workspace.run_command("export", "raw.csv", raw=True)
    assert "apostrophe" not in raw_export.stderr
    header, *rows = cells_of(workspace.home / "raw.csv")
    assert [header[2], *(row[0] for row in rows)] == ["@by", "@ada", "bob", "-5"]

    (workspace.home / "tasks/signs.csv").write_bytes((workspace.home / "out.csv").read_bytes())
    assert "rows:" not in workspace.run_command("preflight").stderr
    assert workspace.state_counts() == {"answered": 3}


def test_refused_rows_of_people_and_passages_are_kept_until_the_next_import(
    workspace: Workspace,
) -> None:
    """Every listing shows their line, reason and cells; a forgotten person is in none of them."""
    header = "Username,First Name,Bio,Color\n"
    workspace.write_file(
        "p.csv",
        f"{header}ada,Ada,I keep bees,red\n,No,nobody,blue\nADA,Twin,Wasps,=x\nbob,Bob,,y\n",
    )
    workspace.run_command("import", "p.csv")
    experts = workspace.status()["experts"]
    assert (experts["total"], experts["open"], experts["no_bio"], experts["refused"]) == (
        4,
        1,
        1,
        2,
    )
    refused_rows = workspace.read_json("items", state="refused", fields="bio,reason")["rows"]
    assert [(row["reason"].partition(":")[0], row["bio"]) for row in refused_rows] == [
        ("line 3", "nobody"),
        ("line 4", "Wasps"),
    ]

    exported = workspace.exported_rows()
    assert [(row["Username"], row["Color"], row["state"]) for row in exported] == [
        ("ada", "red", "open"),
        ("bob", "y", "no_bio"),
        ("", "blue", "refused"),
        ("ADA", "=x", "refused"),
    ]
    assert exported[3]["reason"].startswith("line 4: duplicate username: already on line 2")

    # The export keeps its refused rows when another workspace imports it.
    workspace.run_command("export", "out.csv")
    other_workspace = Workspace(workspace.home.parent / "again", workspace.url)
    other_workspace.write_file("in.csv", (workspace.home / "out.csv").read_text(encoding="utf-8"))
    other_workspace.run_command("import", "in.csv")
    assert [row["state"] for row in other_workspace.exported_rows()] == [
        row["state"] for row in exported
    ]

    workspace.run_command("forget", "ada", yes=True)
    (refused_row,) = workspace.read_json("items", state="refused")["rows"]
    assert refused_row["reason"].startswith("line 3: ")
    workspace.write_file("p.csv", f"{header}bob,Bob,,y\n")
    workspace.run_command("import", "p.csv")
    assert workspace.status()["experts"]["refused"] == 0

    workspace.write_file("t.jsonl", '{"id": "a", "text": "bees"}\n{"id": "b"}\nnope\n')
    workspace.run_command("import_passages", "t.jsonl")
    assert workspace.state_counts("passages") == {"open": 1, "refused": 2}
    refused_rows = workspace.read_json("items", state="refused", TASK="passages")["rows"]
    lines = [(row["reason"].partition(":")[0], row["cells"]) for row in refused_rows]
    assert lines == [("line 2", {"id": "b"}), ("line 3", {})]
