"""Cells that another program filled are answers that askrows never changes."""

import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.acceptance.database import run_sql
from tests.acceptance.product import (
    BATCH_COMMANDS,
    MODEL,
    ON_POSTGRESQL,
    Workspace,
    write_declaration,
)
from tests.acceptance.steps import Fate
from tests.outside.answers import Json
from tests.outside.server import Outside

TONE = 'Literal["good", "bad"]'
TEXTS = ("a kettle", "a lamp", "a spade", "a rope", "a comb", "a bell")
# The cells of another program: two valid answers, one of which the model gives, too, and no answer.
OTHER_CELLS = {2: "good", 3: "ugly", 5: "bad"}
REPLY = {"v": "good"}


@pytest.fixture(name="orders")
def _orders(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace with a table of another program, three of whose cells are filled."""
    workspace.url = outside_server.url
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    outside_server.answerer = partial(repeat_reply, REPLY)
    fill_table(workspace)
    return workspace


def repeat_reply(reply: Json, _request: Json) -> Json:
    """Return the same reply to each request."""
    return reply


def fill_table(workspace: Workspace, *arguments: str, fields: dict[str, str] | None = None) -> None:
    """Create the table and the task."""
    run_sql(workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, v TEXT)")
    for number, text in enumerate(TEXTS, 1):
        insert = "INSERT INTO orders VALUES (:id, :t, :v)"
        run_sql(workspace, insert, id=number, t=text, v=OTHER_CELLS.get(number))
    declare(workspace, *arguments, fields=fields)


def declare(workspace: Workspace, *arguments: str, fields: dict[str, str] | None = None) -> None:
    """Write the file of the task."""
    text = write_declaration(
        fields or {"v": TONE},
        prompt="{t}",
        items="SELECT id, t FROM orders",
        extra_arguments=['write_to="orders.v=v"', 'index="{t}"', *arguments],
    )
    workspace.write_file("tasks/notes.py", text)


def read_cells(workspace: Workspace) -> dict[int, Any]:
    """Return the cells of all rows by key."""
    return dict(run_sql(workspace, "SELECT id, v FROM orders"))


def check_other_cells(workspace: Workspace, cells: dict[int, Any] | None = None) -> None:
    """Assert that the cells of another program are as it wrote them."""
    expected_cells = OTHER_CELLS if cells is None else cells
    assert read_cells(workspace).items() >= expected_cells.items()


def set_cell(workspace: Workspace, number: int, value: str | None) -> None:
    """Change a cell as another program does."""
    run_sql(workspace, "UPDATE orders SET v = :v WHERE id = :id", id=number, v=value)


def read_answers(workspace: Workspace) -> dict[int, tuple[Any, ...]]:
    """Return value, version without the model, and state of each exported row, by key."""
    return {
        row["id"]: (row["v"], str(row["answer_version"] or "").partition("/")[0], row["state"])
        for row in workspace.exported_rows()
    }


def count_questions(server: Outside) -> int:
    """Return how many rows were asked."""
    return sum(server.kept.questions().values())


# REFRESH=1, AGAIN=1 and a new version ask rows again.
@pytest.mark.excused("nobody_is_answered_twice")
@pytest.mark.promise("foreign", postgresql=True)
def test_no_command_changes_a_cell_of_another_program(orders: Workspace) -> None:
    """Asking again, corrections, rollbacks, reports and `forget` leave these cells as they are."""
    for command in (*BATCH_COMMANDS, "index", "report", "doctor", "eval", "status"):
        orders.try_command(command)
        check_other_cells(orders)
    orders.run_command("tag", mode="live", where="id < 4", again=True)
    check_other_cells(orders)
    run_sql(orders, "UPDATE orders SET t = 'a mended ' || t")
    orders.run_command("tag", mode="live", refresh=True)
    check_other_cells(orders)

    # Among the corrections is one to the value of the cell.
    for number, value in ((2, "good"), (3, "good"), (5, "good")):
        orders.run_command("correct", row=number, set=f"v={value}")
        check_other_cells(orders)
    orders.run_command("tag", mode="live")
    for number in OTHER_CELLS:
        orders.run_command("correct", row=number, undo=1)
        check_other_cells(orders)
    for _ in range(2):
        orders.run_command("rollback", "other", code="any")
        check_other_cells(orders)
    declare(orders, "version=2")
    orders.run_command("tag", mode="live")
    check_other_cells(orders)
    for version in ("notes@1", "notes@2"):
        orders.run_command("rollback", version)
        check_other_cells(orders)
    for number in (2, 3):
        orders.run_command("forget", row=number)
        check_other_cells(orders)
    orders.run_command("tag", mode="live")
    assert orders.read_json("doctor")["healthy"]
    check_other_cells(orders)
    assert read_cells(orders) == {**OTHER_CELLS, 1: "good", 4: "good", 6: "good"}


def test_cells_that_another_program_changes_during_a_batch_stay(
    orders: Workspace, outside_server: Outside
) -> None:
    """A cell that another program fills or changes stays, also if the model gave the same value."""
    orders.run_commands("submit", "poll")
    set_cell(orders, 1, "good")
    set_cell(orders, 4, "bad")
    orders.run_command("ingest")
    cells = {**OTHER_CELLS, 1: "good", 4: "bad"}
    check_other_cells(orders, cells)

    # It changes a cell of askrows to a value that a later answer has, too.
    set_cell(orders, 6, "bad")
    cells[6] = "bad"
    for reply in ({"v": "bad"}, REPLY):
        outside_server.answerer = partial(repeat_reply, reply)
        orders.run_command("tag", mode="live", where="id > 0", again=True)
        check_other_cells(orders, cells)
    orders.run_command("rollback", "notes@1")
    check_other_cells(orders, cells)


def test_valid_cells_of_another_program_are_answers(
    orders: Workspace, outside_server: Outside
) -> None:
    """A valid cell is listed, exported, indexed and found, and its row is never asked."""
    orders.run_command("tag", where="id = 0", mode="live")
    assert "3 rows" in orders.run_command("tag", dry=True, mode="live").output
    orders.run_commands(*BATCH_COMMANDS, "index")
    assert count_questions(outside_server) == 3
    assert read_answers(orders) == {
        1: ("good", "notes@1", "answered"),
        2: ("good", "other", "answered"),
        3: (None, "", "unusable"),
        4: ("good", "notes@1", "answered"),
        5: ("bad", "other", "answered"),
        6: ("good", "notes@1", "answered"),
    }
    listed_rows = {row["id"]: row for row in orders.read_json("items", where="v = 'bad'")["rows"]}
    assert list(listed_rows) == [5]
    assert orders.search("a comb")[0] == "5"
    assert "3" not in orders.search("a spade")
    view_rows = run_sql(orders, "SELECT id, v, answer_version, state FROM notes_answered")
    assert (5, "bad", "other", "answered") in view_rows
    versions = {version["version"]: version for version in orders.read_json("versions")}
    assert (versions["other"]["rows"], versions["other"]["cost"]) == (2, 0)
    assert "not a model's version" in orders.run_command("rollback", "other", code=2).stderr

    # A new version, and asking again, leave these rows out.
    orders.run_command("tag", mode="live", row="5", again=True, code=2)
    declare(orders, "version=2")
    assert "3 rows" in orders.run_command("tag", dry=True, mode="live").output
    assert count_questions(outside_server) == 3
    assert orders.read_json("doctor")["healthy"]


def test_invalid_cell_of_another_program_is_unusable(
    orders: Workspace, outside_server: Outside
) -> None:
    """The row is not asked; lists, exports and `status` have the reason."""
    reason = "orders.v: v: Input should be 'good' or 'bad'"
    tag_run = orders.run_command("tag", mode="live")
    assert reason in tag_run.stderr
    assert orders.state_counts() == {"answered": 5, "unusable": 1}
    assert reason in orders.run_command("status").stdout
    [listed_row] = orders.read_json("items", state="unusable")["rows"]
    assert (listed_row["id"], listed_row["reason"]) == (3, reason)
    assert [row["reason"] for row in orders.exported_rows() if row["id"] == 3] == [reason]
    orders.run_command("correct", row="3", set="v=bad")
    assert read_answers(orders)[3] == ("bad", "person", "answered")
    orders.run_command("correct", row="3", undo=1)

    # A longer list of choices makes the cell valid.
    declare(orders, "version=2", fields={"v": 'Literal["good", "bad", "ugly"]'})
    orders.run_command("tag", mode="live")
    assert read_answers(orders)[3] == ("ugly", "other", "answered")
    assert "unusable" not in orders.run_command("status").stdout
    assert count_questions(outside_server) == 6
    check_other_cells(orders)


def test_answers_follow_the_cells_of_another_program(
    orders: Workspace, outside_server: Outside
) -> None:
    """A changed cell is the new answer, and a row whose cell was emptied is asked."""
    orders.run_commands("submit", "poll", "ingest", "index")
    for number, value in ((2, "bad"), (3, "bad"), (5, None), (1, "bad")):
        set_cell(orders, number, value)
    assert "1 row" in orders.run_command("tag", mode="live").output
    assert count_questions(outside_server) == 4
    answers = read_answers(orders)
    assert (answers[2], answers[3]) == (("bad", "other", "answered"),) * 2
    # Answers of askrows are preferred, and are written into an empty cell only.
    assert (answers[1], answers[5]) == (("good", "notes@1", "answered"),) * 2
    assert read_cells(orders) == {1: "bad", 2: "bad", 3: "bad", 4: "good", 5: "good", 6: "good"}
    assert orders.status()["index"]["behind"]
    orders.run_command("index")
    orders.run_command("tag", mode="live")
    assert not orders.status()["index"]["behind"]

    # A corrected row keeps its correction if its cell is emptied.
    orders.run_command("correct", row="2", set="v=good")
    set_cell(orders, 2, None)
    orders.run_command("tag", mode="live")
    assert read_answers(orders)[2] == ("good", "person", "answered")
    orders.run_command("rollback", "notes@1")
    orders.run_command("tag", mode="live", limit=1)
    assert read_answers(orders)[1] == ("bad", "other", "answered")


def test_a_cell_is_judged_again_only_if_its_judgement_may_change(orders: Workspace) -> None:
    """An unchanged cell is judged once; a changed cell, row or task file has it judged again."""
    judged = orders.home / "judged"

    def read_judged_texts() -> list[str]:
        """Return the texts of the rows whose cells were judged since the last call."""
        texts = judged.read_text().splitlines() if judged.exists() else []
        judged.unlink(missing_ok=True)
        return sorted(set(texts))

    def declare_check(result: str) -> None:
        """Write the file of the task, with a check that writes down the text of each row."""
        declare(orders, "check=check")
        lines = [
            "def check(answer, row):",
            f"    with open({str(judged)!r}, 'a') as file:",
            "        print(row['t'], file=file)",
            f"    return {result}",
            "",
            "task = Task(",
        ]
        task_file = orders.home / "tasks" / "notes.py"
        task_file.write_text(task_file.read_text().replace("task = Task(", "\n".join(lines)))

    judged_texts = ["a comb", "a lamp"]
    declare_check("None")
    orders.run_command("tag", where="id = 0", mode="live")
    assert read_judged_texts() == judged_texts
    orders.run_command("tag", where="id = 0", mode="live")
    assert read_judged_texts() == []

    # The fingerprint of a task covers no check, but its file does.
    declare_check("'too short' if answer.v == 'bad' else None")
    orders.run_command("tag", where="id = 0", mode="live")
    assert read_judged_texts() == judged_texts
    assert read_answers(orders)[5] == (None, "", "unusable")
    orders.run_command("tag", where="id = 0", mode="live")
    assert read_judged_texts() == []

    run_sql(orders, "UPDATE orders SET t = 'a brush' WHERE id = 5")
    orders.run_command("tag", where="id = 0", mode="live")
    assert read_judged_texts() == ["a brush"]
    set_cell(orders, 5, "good")
    orders.run_command("tag", where="id = 0", mode="live")
    assert read_judged_texts() == ["a brush"]
    assert read_answers(orders)[5] == ("good", "other", "answered")
    check_other_cells(orders, {2: "good", 3: "ugly", 5: "good"})


def test_other_fields_of_the_answer_are_empty(orders: Workspace) -> None:
    """A cell is valid if its field is, although an answer of the model has more fields."""
    declare(orders, fields={"v": TONE, "stars": "int", "note": "str | None = None"})
    orders.run_command("tag", where="id = 0", mode="live")
    rows = {row["id"]: row for row in orders.exported_rows()}
    assert (rows[5]["v"], rows[5]["stars"], rows[5]["note"]) == ("bad", None, None)
    assert (rows[5]["state"], rows[3]["state"], rows[1]["state"]) == (
        "answered",
        "unusable",
        "open",
    )


# Columns of each type, a cell of another program, and the value of the answer.
COLUMNS: dict[str, tuple[str, str, Any, Any]] = {
    "list": ("TEXT", "list[str]", '["a", "b"]', ["a", "b"]),
    "number": ("REAL", "float", 0.5, 0.5),
    "whole number as text": ("TEXT", "int", "3", 3),
    "truth value": ("BOOLEAN", "bool", True, True),
    "date": ("DATE", "date", "2026-11-29", "2026-11-29"),
    "decimal": ("NUMERIC(8, 2)" if ON_POSTGRESQL else "TEXT", "Decimal", "0.10", "0.10"),
}
if ON_POSTGRESQL:
    COLUMNS["object"] = ("JSONB", "list[str]", '["a", "b"]', ["a", "b"])
    COLUMNS["small number"] = ("REAL", "float", 0.1, 0.1)


@pytest.mark.parametrize("case", COLUMNS)
def test_cells_of_any_type_are_read(orders: Workspace, outside_server: Outside, case: str) -> None:
    """A cell of another program becomes a value of the field; cells of askrows are not taken."""
    column_type, field_type, cell, value = COLUMNS[case]
    run_sql(orders, "DROP TABLE orders")
    run_sql(orders, f"CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, v {column_type})")
    for number in (1, 2):
        insert = "INSERT INTO orders VALUES (:id, 'a comb', :v)"
        run_sql(orders, insert, id=number, v=cell if number == 1 else None)
    run_sql(orders, "UPDATE orders SET t = 'a bell' WHERE id = 2")
    outside_server.answerer = partial(repeat_reply, {"v": value})
    declare(orders, fields={"v": field_type})
    task_file = orders.home / "tasks/notes.py"
    imports = "from datetime import date\nfrom decimal import Decimal\n"
    task_file.write_text(imports + task_file.read_text())

    for _ in range(2):
        orders.run_command("tag", mode="live")
        answers = read_answers(orders)
        assert (answers[1][0], answers[1][1]) == (value, "other")
        assert (answers[2][0], answers[2][1]) == (value, "notes@1")
    assert [version["rows"] for version in orders.read_json("versions")] == [1, 1]
    orders.run_command("rollback", "notes@1")
    cells = [row[0] for row in run_sql(orders, "SELECT v FROM orders ORDER BY id")]
    assert (cells[0] is None, cells[1] is None) == (False, True)


def test_records_of_another_program_are_answers(orders: Workspace, outside_server: Outside) -> None:
    """A record with the provider and the model of the task is an answer, and stays as it is."""
    columns = "order_id INTEGER, provider TEXT, model TEXT, v TEXT, created_at TEXT"
    run_sql(orders, f"CREATE TABLE order_ai ({columns})")
    insert = "INSERT INTO order_ai VALUES (:id, :provider, :model, :v, '2026-01-01')"
    run_sql(orders, insert, id=2, provider="gemini", model=MODEL, v="bad")
    run_sql(orders, insert, id=3, provider="gemini", model=MODEL, v="ugly")
    run_sql(orders, insert, id=4, provider="gemini", model="another", v="bad")
    query = "SELECT * FROM order_ai WHERE created_at = '2026-01-01' ORDER BY order_id"
    records = run_sql(orders, query)
    task_file = orders.home / "tasks/notes.py"
    task_file.write_text(task_file.read_text().replace("orders.v=v", "order_ai.order_id"))

    orders.run_commands(*BATCH_COMMANDS, "index")
    assert count_questions(outside_server) == 4
    answers = read_answers(orders)
    assert answers[2] == ("bad", "other", "answered")
    assert answers[3] == (None, "", "unusable")
    assert answers[4] == ("good", "notes@1", "answered")
    assert orders.search("a lamp")[0] == "2"
    orders.run_command("correct", row="2", set="v=good")
    orders.run_command("correct", row="2", undo=1)
    orders.run_command("tag", mode="live")
    assert run_sql(orders, query) == records
    orders.run_command("rollback", "notes@1")
    orders.run_command("forget", row="2")
    assert run_sql(orders, "SELECT * FROM order_ai ORDER BY order_id") == records

    run_sql(orders, "DELETE FROM order_ai WHERE order_id = 3")
    orders.run_command("tag", mode="live", limit=1, where="id = 3")
    assert read_answers(orders)[3] == ("good", "notes@1", "answered")


Copies = Callable[[str], Workspace]


@pytest.fixture(name="copies")
def _copies(orders: Workspace, tmp_path: Path) -> Copies:
    """A function that copies the workspace under a name."""

    def copy_workspace(name: str) -> Workspace:
        shutil.copytree(orders.home, tmp_path / name, symlinks=True)
        if ON_POSTGRESQL:
            postgresql.copy_below(orders.home, tmp_path / name)
        settings = {**orders.settings, "TRUST": str(tmp_path / name / "tasks/notes.py")}
        return Workspace(tmp_path / name, orders.url, "notes", settings)

    return copy_workspace


@pytest.mark.parametrize("verb", ["tag", "ingest"])
def test_a_killed_command_leaves_no_half(orders: Workspace, copies: Copies, verb: str) -> None:
    """After a kill at any commit, the same commands store each cell once and change none."""
    orders.run_command("tag", where="id = 0", mode="live")
    set_cell(orders, 2, "bad")
    set_cell(orders, 3, "bad")
    set_cell(orders, 4, "bad")
    if verb == "ingest":
        orders.run_commands("submit", "poll")
        set_cell(orders, 1, "good")
    options = {"mode": "live"} if verb == "tag" else {}
    cells = {2: "bad", 3: "bad", 4: "bad", 5: "bad"}
    undisturbed = copies("undisturbed")
    trail = undisturbed.run_command(verb, **options).trail
    undisturbed.run_command("tag", mode="live")
    end = (read_answers(undisturbed), read_cells(undisturbed))
    check_other_cells(undisturbed, cells)

    steps = [number for number, step in enumerate(trail, 1) if step.startswith("commit")]
    kill_count = 0
    for number in steps:
        killed = copies(f"{verb}-{number}")
        process = killed.run_command(verb, fate=Fate(step=number), code="any", **options)
        # Slow replies may need fewer steps.
        assert process.code in {0, -signal.SIGKILL}, (number, process)
        kill_count += process.code != 0
        check_other_cells(killed, cells)
        killed.run_command("ingest", code="any")
        killed.run_command("tag", mode="live")
        assert (read_answers(killed), read_cells(killed)) == end, number
        counts = {row["version"]: row["records"] for row in killed.read_json("versions")}
        assert counts["other"] == (5 if verb == "ingest" else 4), number
    assert 2 * kill_count > len(steps)


def test_two_processes_store_a_cell_once(orders: Workspace, copies: Copies) -> None:
    """A command that reads the cells while another one is stopped stores none of them twice."""
    run_sql(orders, "UPDATE orders SET v = NULL")
    orders.run_command("tag", where="id = 0", mode="live")
    for number, cell in OTHER_CELLS.items():
        set_cell(orders, number, cell)
    trail = copies("undisturbed").run_command("tag", mode="live").trail
    steps = [number for number, step in enumerate(trail, 1) if step.startswith("commit")]
    stop_count = 0
    for number in steps:
        shared = copies(f"shared-{number}")
        fate = Fate(step=number, event="STOP")
        with shared.start_command("tag", mode="live", fate=fate) as stopped:
            # Slow replies may need fewer steps.
            stop_count += stopped.wait_until_stopped()
            with shared.start_command("tag", mode="live") as other:
                if not stopped.is_finished():
                    stopped.signal(signal.SIGCONT)
                assert {stopped.wait().code, other.wait().code} <= {0, 2, 4}
        shared.run_command("tag", mode="live")
        counts = {row["version"]: row["records"] for row in shared.read_json("versions")}
        assert counts == {"other": 2, f"notes@1/{MODEL}": 3}, number
        check_other_cells(shared)
    assert stop_count > len(steps) // 2
