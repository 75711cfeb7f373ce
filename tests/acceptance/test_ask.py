"""`ask` answers a question about the first rows of a write_table and prices all rows.

It stores only the cost of its calls, unless NAME= stores the question as a task.
"""

import json
import shlex
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.database import count_rows, run_sql
from tests.acceptance.engine import HANGS, LIVE_CALL, LIVE_CALL_PATH, Engine
from tests.acceptance.killing import kill_after_calls
from tests.acceptance.process import NO_FATE
from tests.acceptance.product import Workspace, on_a_server
from tests.acceptance.scripts import script
from tests.acceptance.steps import Fate
from tests.acceptance.table_files import TEXTS, put_book, write_table

QUESTION = 'Praise or "blame"? Quote the reason \\ and {text}.'
FIELDS = (
    "tone: praise|blame|rather mixed; date: date; reason: quote; year: number; "
    "stars: int; sure: bool; topics: list"
)


def rows_of(workspace: Workspace) -> dict[str, int]:
    """Count the rows of tables with content, except workspace, tasks, costs and events."""
    ignored_tables = {
        "askrows_workspace",
        "alembic_version",
        "askrows_batches",
        "askrows_spent",
        "askrows_events",
        # People are a task of each workspace.
        "askrows_tasks",
    }
    return {
        name: count
        for name, count in count_rows(workspace).items()
        if count and name not in ignored_tables
    }


def test_a_column_of_prices_is_no_key(workspace: Workspace) -> None:
    """If the column that is named like a key has a value twice, the key is a hash of the row."""
    lines = [f"r-{index or 1},{index}.90,{text}" for index, text in enumerate("abcdef")]
    workspace.write_file("reviews.csv", "\n".join(["review_id,price,text", *lines]))
    output = workspace.run_command("ask", "reviews.csv", QUESTION, n=1).output
    assert "key: a hash of each row, because 'review_id' has 'r-1' twice" in output


def test_first_rows_are_answered_and_only_the_cost_is_stored(
    workspace: Workspace, api: Engine
) -> None:
    """Answers have the table's keys and quotations; the price of all rows follows from five."""
    # The question needs no option.
    ask_run = workspace.run_command("ask", write_table(workspace), QUESTION, fields=FIELDS)

    # Only its owner can read the rows in a new workspace.
    assert stat.S_IMODE(workspace.data.stat().st_mode) == stat.S_IRWXU
    header, *lines = [line.split("\t") for line in ask_run.stdout.splitlines()[:6]]
    assert header == ["No.", "tone", "date", "reason", "year", "stars", "sure", "topics"]
    assert [row[0] for row in lines] == ["k-1", "k-2", "k-3", "k-5", "k-6"]
    words = [
        "askrows",
        "ask",
        "kettle reviews.csv",
        QUESTION,
        "--fields",
        FIELDS,
        "--name",
        "kettle_reviews",
    ]
    assert shlex.split(ask_run.stderr.rpartition("next: ")[2]) == words

    ask_document = workspace.read_json("ask", "kettle reviews.csv", q=QUESTION, fields=FIELDS)
    for row in ask_document["answers"]:
        quote = row["reason"]
        text = TEXTS[int(row["No."][2:]) - 1]
        assert text[quote["start"] : quote["end"]] == quote["quote"]

    # Five rows have a text, of six rows with a text in all.
    cost = ask_document["tried"]["cost"]
    assert cost > 0
    assert ask_document["rows"] == 6
    # A batch costs half as much as live calls.
    assert ask_document["all"]["live"]["cost"] == pytest.approx(cost / 5 * 6, rel=0.02)
    assert ask_document["all"]["batch"]["cost"] == pytest.approx(cost / 5 * 3, rel=0.02)
    assert workspace.spending()["actual"] == pytest.approx(2 * cost, abs=1e-6)
    assert (api.count_calls("POST", LIVE_CALL), workspace.batches(), rows_of(workspace)) == (
        10,
        [],
        {},
    )
    assert {path.name for path in workspace.home.iterdir()} == {"data", "kettle reviews.csv"}
    assert not list((workspace.data / "batches").iterdir())


@pytest.mark.parametrize("options", [{}, {"name": "kept"}], ids=["not stored", "stored"])
def test_estimate_counts_equal_rows_as_tag_does(
    workspace: Workspace, options: dict[str, Any]
) -> None:
    """Equal rows share a call in the estimates of `ask`, stored or not, and of `tag DRY=1`."""
    rows = "\n".join(f"{index},{('It drips', 'It is hot')[index % 2]}" for index in range(12))
    workspace.write_file("kettles.csv", f"id,remark\n{rows}\n")
    ask_document = workspace.read_json("ask", "kettles.csv", q="Tone?", n=2, **options)
    workspace.run_command("new_task", "new", **{"from": "kettles.csv"})
    dry_document = workspace.read_json("tag", TASK="new", dry=True)
    for document in (ask_document["all"], dry_document):
        figures = (document["rows"], document["questions"], document["live"]["calls"])
        assert figures == (12, 2, 2)


def test_single_row_is_named_in_the_singular(workspace: Workspace) -> None:
    """Counts of one row, equal row and empty row have their noun in the singular.

    A row that equals an asked row is shown with its answer.
    """
    workspace.write_file("kettles.csv", "id,remark\n1,It drips\n2,It drips\n3,It drips\n")
    output = workspace.run_command("ask", "kettles.csv", q="Tone?", n=2, name="kettles").stdout
    assert [
        text in output
        for text in ("not asked", "2 of 3 rows asked, 1 equal row with the same answer, ")
    ] == [False, True]

    workspace.write_file("empty.csv", "id,remark\n1,\n")
    workspace.run_command("new_task", "empty", text="remark", **{"from": "empty.csv"})
    assert "empty: 1 of 1 row\n" in workspace.run_command("tag", TASK="empty", dry=True).stderr


@pytest.mark.parametrize("fields", [{}, {"fields": FIELDS}], ids=["one text", "fields"])
def test_stored_question_sends_the_same_requests(
    workspace: Workspace, fields: dict[str, Any]
) -> None:
    """The task of NAME= sends equal requests; a name that exists is refused without a call."""
    file_name = write_table(workspace)
    ask_document = workspace.read_json("ask", file_name, q=QUESTION, name="kept", n=3, **fields)
    workspace.run_command("ask", file_name, q="Another?", name="kept", code=2)
    spent_before = workspace.spending()

    for row in ask_document["tried"]["rows"]:
        try_document = workspace.read_json("try", TASK="kept", row=row["id"])
        assert (ask_document["file"], try_document["schema"]) == (
            "tasks/kept.py",
            ask_document["tried"]["schema"],
        )
        assert try_document["rows"][0]["request"] == row["request"]
        assert try_document["rows"][0]["answer"] == row["answer"]
        assert try_document["version"] == ask_document["tried"]["version"]
    assert spent_before["actual"] == pytest.approx(ask_document["tried"]["cost"], abs=1e-6)

    # A used name stays reserved after its file was deleted.
    (workspace.home / "tasks/kept.py").unlink()
    workspace.run_command("ask", file_name, q=QUESTION, name="kept", code=2, **fields)


def test_budget_applies_and_a_killed_question_is_booked(workspace: Workspace, api: Engine) -> None:
    """The cost is booked before the first call.

    The next command books and removes the remains of a killed process.
    """
    file_name = write_table(workspace)
    cost = workspace.read_json("ask", file_name, q="Tone?")["tried"]["cost"]
    workspace.run_command(
        "ask", file_name, q="Tone?", name="kept", BUDGET_PER_DAY=f"{cost * 1.01:.9f}", code=3
    )
    assert api.count_calls("POST", LIVE_CALL) == 5

    api.script_fault("hang", nth=3, times=99, path=LIVE_CALL_PATH, args=HANGS)
    assert not (workspace.home / "tasks").exists()
    kill_after_calls(
        workspace, api, LIVE_CALL, "ask", file_name, call_count=8, q="Tone?", CONCURRENCY=1
    )
    api.clear_faults()
    assert workspace.spending()["estimated"] > 0
    workspace.run_command("ask", file_name, q="Tone?", n=1)
    assert workspace.spending()["actual"] > cost
    assert (workspace.batches(), rows_of(workspace)) == ([], {})
    assert not list((workspace.data / "batches").iterdir())


def test_question_killed_while_it_removes_files_leaves_no_files(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The next command removes the remaining files and books no cost twice."""
    file_name = write_table(workspace)
    trail = workspace.try_command("ask", file_name, q="Tone?", fate=NO_FATE).trail
    removals = [
        step_number for step_number, step in enumerate(trail, 1) if step.startswith("os.remove")
    ]
    # The files of requests, replies and calls.
    assert len(removals) == 3
    for step_number in removals:
        killed_workspace = Workspace(tmp_path / str(step_number), workspace.url)
        killed_run = killed_workspace.try_command(
            "ask", write_table(killed_workspace), q="Tone?", fate=Fate(step_number)
        )
        assert killed_run.code == -signal.SIGKILL
        assert not (killed_workspace.home / "tasks").exists()

        killed_workspace.run_command("tag", code=2)
        assert not list((killed_workspace.data / "batches").iterdir())
        expected_cost = pytest.approx(workspace.spending()["actual"], abs=1e-6)
        assert killed_workspace.spending()["actual"] == expected_cost


def test_query_is_asked_about(workspace: Workspace) -> None:
    """A column with a distinct value in each row is the key; a query runs on the database."""
    workspace.settings["YES"] = "1"
    workspace.import_people(1)
    run_sql(workspace, "CREATE TABLE tickets (nr INTEGER, note TEXT, open BOOLEAN)")
    values = "(7, 'the lid is broken', TRUE), (8, 'a \"kettle\" sings', FALSE)"
    run_sql(workspace, f"INSERT INTO tickets VALUES {values}")  # noqa: S608 - constant values
    query = "SELECT nr, note, open FROM tickets ORDER BY nr"

    ask_document = workspace.read_json("ask", query, q="What is it about?", name="tickets")
    assert [row["nr"] for row in ask_document["answers"]] == ["7", "8"]
    [row] = workspace.read_json("try", TASK="tickets", row="7")["rows"]
    assert row["request"] == ask_document["tried"]["rows"][0]["request"]


@on_a_server
def test_times_that_python_cannot_hold_are_texts(workspace: Workspace) -> None:
    """A table with an infinite time, a year after 9999 or the time 24:00 is read whole."""
    run_sql(workspace, "CREATE TABLE offers (nr TIMESTAMPTZ, note TEXT, days DATE[], hour TIME)")
    run_sql(
        workspace,
        "INSERT INTO offers VALUES ('infinity', 'the lid is broken', '{12026-01-01}', '24:00'), "
        "('2026-01-01 UTC', 'the kettle sings', '{-infinity,2026-01-01}', '12:00')",
    )
    workspace.run_command(
        "ask", "SELECT * FROM offers", QUESTION, key="nr", name="offers", yes=True
    )
    cells = [
        [row[name] for name in ("nr", "days", "hour")] for row in workspace.exported_rows("offers")
    ]
    assert sorted(cells) == [
        ["2026-01-01T00:00:00+00:00", ["-infinity", "2026-01-01"], "12:00:00"],
        ["infinity", ["12026-01-01"], "24:00:00"],
    ]


@pytest.mark.parametrize(
    ("file_name", "text", "finding"),
    [
        # A CSV file that is named as JSON lines has no columns, either.
        ("letters.jsonl", "id,text\n1,The lid is broken.\n", "line 1: not JSON"),
        ("letters.csv", "id,text\n1\n", "line 2: wrong number of fields: found 1, expected 2"),
    ],
)
def test_reason_is_named_if_each_row_is_refused(
    workspace: Workspace, file_name: str, text: str, finding: str
) -> None:
    """A table whose rows are all refused is not called empty."""
    workspace.write_file(file_name, text)
    ask_run = workspace.run_command("ask", file_name, QUESTION, name="letters", code=2)
    assert f"each row of the table is refused; {finding}" in ask_run.stderr


@pytest.mark.parametrize(
    ("changed_options", "message"),
    [
        ({"q": " ¿ ? "}, "Q= has no letter or digit"),
        ({"source": "none.csv"}, "none.csv does not exist"),
        (
            {"source": "photos.csv", "fields": "what: quote"},
            "photos.csv has no column with a text to quote",
        ),
        ({"source": "numbers.csv"}, "numbers.csv has no column with a text to ask about"),
        ({"source": "cover.xlsx"}, "only the sheet 'Cover' is read; the file has 'Cover', 'Rows'"),
        ({"source": "reply.json"}, "save only the list with the rows"),
        ({"source": "SELECT note FROM nowhere"}, "nowhere"),
        ({"source": "SELECT 'a' AS note WHERE 1 = 0"}, "has no rows; nothing was asked"),
        (
            {"fields": "tone: praise||blame"},
            "'tone' needs at least 2 choices, all different",
        ),
        ({"fields": "tone; reason: qoute"}, "FIELDS: 'qoute' is not a kind of field"),
        ({"fields": "tone; Tone"}, "FIELDS: the name 'Tone' is taken"),
        ({"fields": "tone; answered_at: date"}, "FIELDS: the name 'answered_at' is taken"),
        ({"fields": "tone;  from: text"}, "FIELDS: the name 'from' is taken"),
        ({"fields": "tone;  model_x: a|b"}, "FIELDS: the name 'model_x' is taken"),
        ({"fields": "tone;  copy: a|b"}, "FIELDS: the name 'copy' is taken"),
        (
            {"fields": "tone;  _year: int"},
            "'_year' is not a name (a letter, then letters, digits and _",
        ),
        ({"fields": "my tone"}, "FIELDS: 'my tone' is not a name"),
        ({"fields": "stars: 5-1"}, "'stars' needs two whole numbers, the lower first"),
        ({"fields": "stars: 1-1"}, "'stars' needs two whole numbers, the lower first"),
        ({"fields": "stars: 1-"}, "'1-' is not a kind of field"),
        (
            {"fields": "topic: topics.csv, stars: 1-5, why: quote"},
            "FIELDS: 'topic' has a comma in its kind",
        ),
        ({"fields": "topic: list of topics.csv"}, "a list of terms is written in the task's file"),
        (
            {"fields": "topic: none.csv", "name": "kettles"},
            "the vocabulary 'none.csv' of 'topic' does not exist",
        ),
        (
            {"fields": "topic: t.csv", "name": "kettles"},
            "error: ../t.csv, line 1: the header has no column",
        ),
        ({"name": "experts"}, "a task cannot be called 'experts'"),
        ({"name": "there"}, "tasks/there.py exists already"),
    ],
)
def test_impossible_question_is_refused_in_a_sentence(
    workspace: Workspace, api: Engine, changed_options: dict[str, Any], message: str
) -> None:
    """The refusal comes before any call, and no file is written."""
    write_table(workspace, "t.csv", ("id", "text"))
    workspace.write_file("numbers.csv", "id,price,year\n1,2.5,2019\n2,3.5,2020\n")
    workspace.write_file("tasks/there.py", "mine\n")
    workspace.write_file("photos.csv", "id,picture\n1,a.jpg\n2,b.jpg\n")
    workspace.write_file("reply.json", '{\n"data": [{"id": 1, "text": "It hums."}]}')
    put_book(workspace.home / "cover.xlsx", {"Cover": [["Report"]], "Rows": [["id", "text"]]})

    options = {"q": "Tone?", **changed_options}
    assert (
        message
        in workspace.run_command("ask", options.pop("source", "t.csv"), code=2, **options).stderr
    )
    assert api.count_calls("POST", LIVE_CALL) == 0
    assert [path.name for path in (workspace.home / "tasks").iterdir()] == ["there.py"]


def test_python_asks_and_tries_with_a_summary_in_one_line(
    workspace: Workspace, api: Engine
) -> None:
    """Rows may be dicts, and nothing is stored."""
    printed = script(
        workspace,
        """
        report = ws.ask(rows(7), "Praise or blame?", fields="tone: praise|blame; why: quote", n=2)
        trial = ws.try_(declared(), 2, items=rows(3))
        messages = [refusal(ws.ask, rows(1), "?"), refusal(ws.ask, rows(1), "Tone?", name="kept")]
        cost = report.estimate.mode_estimates["batch"].cost
        print(json.dumps([repr(report), report.answers, report.rows, cost, repr(trial), messages]))
        """,
    )
    ask_text, answers, count, cost, try_text, messages = printed
    assert ask_text.rpartition(" of ")[2] == "7 rows"
    assert count == 7
    assert [(answer["id"], *answer["why"]) for answer in answers] == [
        ("1", "quote", "start", "end"),
        ("2", "quote", "start", "end"),
    ]
    assert cost > 0
    assert try_text.startswith("<tried with reviews@1/")
    assert all(messages)
    assert api.count_calls("POST", LIVE_CALL) == 4


def test_suggested_name_is_free(workspace: Workspace) -> None:
    """The command that stores the question has a name whose task file does not exist yet."""
    workspace.write_file("notes.csv", "id,text\n1,The kettle leaks on the table\n")
    workspace.write_file("tasks/notes.py", "")
    workspace.write_file("tasks/notes2.py", "")
    ask_run = workspace.run_command("ask", "notes.csv", q=QUESTION)
    assert ask_run.stderr.rstrip().endswith("--name notes3")


def test_column_of_codes_is_not_the_text(workspace: Workspace) -> None:
    """A column of UUIDs is longer than the sparse column of texts, but has no words."""
    rows = [
        {"nr": number, "u": f"0b8e6f7a-3c52-4d1e-9a7b-{number:012}", "said": text}
        for number, text in enumerate(["It leaks.", None, "Very good.", None], 1)
    ]
    workspace.write_file("codes.jsonl", "\n".join(map(json.dumps, rows)))
    ask_run = workspace.run_command("ask", "codes.jsonl", q="What?")
    assert "text column: said (longest on average" in ask_run.stderr
