"""A question about any table: the first rows are answered, all are priced, and nothing is kept but what that cost."""

import csv
import json
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.database import counts, sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import LIVES
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.acceptance.test_live import HANGS, LIVE, calls, killed
from tests.acceptance.test_python import script

QUESTION = 'Praise or "blame"? Quote the reason \\ and {text}.'
FIELDS = (
    "tone: praise|blame|rather mixed; date: date; reason: quote; year: number; "
    "stars: int; sure: bool; topics: list"
)
TEXTS = (
    "Boils a full litre in two minutes, and the handle stays cool.",
    "Der Deckel klappert. Sonst ein schöner Kessel für die kleine Küche.",
    'Bought in 2019, and the "whistle" is; still loud.',
    "   ",
    "La tapa gotea sobre la mesa cada vez que la abro.",
    "I would buy it again: sturdy, quick and easy to clean.",
    "Too heavy for my mother, and too hot to touch.",
)


def table(
    workspace: Workspace,
    name: str = "kettle reviews.csv",
    head: tuple[str, ...] = ("No.", "Kommentar"),
) -> str:
    """Write the texts as a table; return its name."""
    with workspace.put(name, "").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows(
            [head, *((f"k-{index}", text) for index, text in enumerate(TEXTS, 1))]
        )
    return name


def rows_of(workspace: Workspace) -> dict[str, int]:
    """Return how many rows each table has that has some, but for what says which workspace and schema it is."""
    known = {
        "findable_workspace",
        "alembic_version",
        "findable_batches",
        "findable_spent",
        "findable_events",
    }
    return {name: count for name, count in counts(workspace).items() if count and name not in known}


def test_the_first_rows_are_answered_and_nothing_is_kept_but_what_they_cost(
    workspace: Workspace, api: Engine
) -> None:
    """By their own keys, with quotations of their texts; what all would cost follows from these five and the count."""
    ask_run = workspace.do("ask", table(workspace), q=QUESTION, fields=FIELDS)
    header, *lines = [line.split("\t") for line in ask_run.out.splitlines()[:6]]
    assert header == ["No.", "tone", "date", "reason", "year", "stars", "sure", "topics"]
    assert [one[0] for one in lines] == ["k-1", "k-2", "k-3", "k-5", "k-6"]
    assert "text: 'Kommentar'" in ask_run.err
    assert "stand-in" not in ask_run.err
    step = [
        "findable",
        "ask",
        "kettle reviews.csv",
        "-q",
        QUESTION,
        "--fields",
        FIELDS,
        "--name",
        "kettle_reviews",
    ]
    assert shlex.split(ask_run.err.rpartition("next: ")[2]) == step
    ask_document = workspace.read("ask", "kettle reviews.csv", q=QUESTION, fields=FIELDS)
    for one in ask_document["answers"]:
        quote = one["reason"]
        text = TEXTS[int(one["No."][2:]) - 1]
        assert text[quote["start"] : quote["end"]] == quote["quote"]
    cost = ask_document["tried"]["cost"]
    assert cost > 0
    assert ask_document["rows"] == 6
    assert ask_document["all"]["live"]["cost"] == pytest.approx(cost / 5 * 6, rel=0.02)
    assert ask_document["all"]["batch"]["cost"] == pytest.approx(cost / 5 * 3, rel=0.02)
    assert workspace.spent()["actual"] == pytest.approx(2 * cost, abs=1e-6)
    assert (calls(api), workspace.batches(), rows_of(workspace)) == (10, [], {})
    assert {one.name for one in workspace.home.iterdir()} == {"data", "kettle reviews.csv"}
    assert not list((workspace.data / "batches").iterdir())


@pytest.mark.parametrize("fields", ["", FIELDS], ids=["one text", "fields"])
def test_what_is_kept_asks_what_was_asked(workspace: Workspace, fields: str) -> None:
    """The file of NAME= runs as it is, to the letter the same requests; a name that is taken costs nothing."""
    name = table(workspace)
    ask_document = workspace.read("ask", name, q=QUESTION, fields=fields, name="kept", n=3)
    ask_run = workspace.do("ask", name, q="Another?", name="kept", code=2)
    assert "tasks/kept.py is there already" in ask_run.err
    before = workspace.spent()
    for row in ask_document["tried"]["items"]:
        try_document = workspace.read("try", TASK="kept", item=row["id"])
        assert (ask_document["file"], try_document["schema"]) == (
            "tasks/kept.py",
            ask_document["tried"]["schema"],
        )
        assert try_document["items"][0]["request"] == row["request"]
        assert try_document["items"][0]["answer"] == row["answer"]
        assert try_document["extractor"] == ask_document["tried"]["extractor"]
    assert before["actual"] == pytest.approx(ask_document["tried"]["cost"], abs=1e-6)
    (workspace.home / "tasks/kept.py").unlink()
    error_output = workspace.do("ask", name, q=QUESTION, fields=fields, name="kept", code=2).err
    assert "kept.py is there already" in error_output, "it was used"


def test_it_has_a_budget_and_a_killed_one_is_accounted_for(
    workspace: Workspace, api: Engine
) -> None:
    """It is booked before its first call; the next one clears what a dead process left, and no file is half there."""
    name = table(workspace)
    cost = workspace.read("ask", name, q="Tone?")["tried"]["cost"]
    poor = workspace.do(
        "ask", name, q="Tone?", name="kept", BUDGET_PER_DAY=f"{cost * 1.01:.9f}", code=3
    )
    assert ("has no room" in poor.err, calls(api)) == (True, 5)
    api.fault("hang", nth=3, times=99, path=LIVE, args=HANGS)
    assert not (workspace.home / "tasks").exists()
    killed(workspace, api, "ask", name, after=8, q="Tone?", CONCURRENCY=1)
    api.clear_faults()
    assert workspace.spent()["estimated"] > 0
    workspace.do("ask", name, q="Tone?", n=1)
    assert workspace.spent()["actual"] > cost
    assert (workspace.batches(), rows_of(workspace)) == ([], {})
    assert not list((workspace.data / "batches").iterdir())


def test_killed_where_its_files_go_it_leaves_none(workspace: Workspace, tmp_path: Path) -> None:
    """What is accounted for already is not accounted for twice, and the next command takes the rest away."""
    name = table(workspace)
    trail = workspace.run("ask", name, q="Tone?", fate=LIVES).trail
    removals = [at for at, step in enumerate(trail, 1) if step.startswith("os.remove")]
    assert len(removals) == 2
    for at in removals:
        dead = Workspace(tmp_path / str(at), workspace.url)
        killed_one = dead.run("ask", table(dead), q="Tone?", fate=Fate(at))
        assert (killed_one.code, (dead.home / "tasks").exists()) == (-signal.SIGKILL, False)
        dead.do("tag", code=2)
        assert not list((dead.data / "batches").iterdir())
        assert dead.spent()["actual"] == pytest.approx(workspace.spent()["actual"], abs=1e-6)


def test_a_query_and_rows_of_any_width_are_asked_about_too(workspace: Workspace) -> None:
    """A column that is in every row and in none twice is the key; a query runs on the workspace's database."""
    workspace.settings["YES"] = "1"
    workspace.people(1)
    sql(workspace, "CREATE TABLE tickets (nr INTEGER, note TEXT, open BOOLEAN)")
    sql(
        workspace,
        "INSERT INTO tickets VALUES (7, 'the lid is broken', TRUE), (8, 'a \"kettle\" sings', FALSE)",
    )
    query = "SELECT nr, note, open FROM tickets ORDER BY nr"
    ask_document = workspace.read("ask", query, q="What is it about?", name="tickets")
    assert [one["nr"] for one in ask_document["answers"]] == ["7", "8"]
    [tried] = workspace.read("try", TASK="tickets", item="7")["items"]
    assert tried["request"] == ask_document["tried"]["items"][0]["request"]
    lines = [
        json.dumps({"rating": index, "said": text} | {f"c{one}": one for one in range(400)})
        for index, text in enumerate(TEXTS)
    ]
    workspace.put("wide.jsonl", "\n".join(lines))
    wide = workspace.read("ask", "wide.jsonl", q="Tone?", fields="tone: a|b")
    assert (wide["key"], wide["text"], {*wide["answers"][0]}) == (
        "rating",
        "said",
        {"rating", "tone"},
    )
    local = Workspace(workspace.home)
    local.data = workspace.home / "local"
    assert local.do("ask", "wide.jsonl", q="Tone?").err.count("a stand-in answers here") == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"q": " ¿ ? "}, "Q= asks for nothing"),
        ({"source": "none.csv"}, "none.csv is not there"),
        (
            {"source": "photos.csv", "fields": "what: quote"},
            "photos.csv has no column that holds a text to quote",
        ),
        ({"source": "numbers.csv"}, "numbers.csv has no column that holds a text to ask about"),
        ({"source": "SELECT note FROM nowhere"}, "nowhere"),
        ({"fields": "tone: praise||blame"}, "FIELDS: a choice is expected"),
        (
            {"fields": "tone; reason: qoute"},
            "FIELDS: 'qoute' is no kind of a field; did you mean quote?",
        ),
        ({"fields": "tone; Tone"}, "FIELDS: the name 'Tone' is there twice"),
        (
            {"fields": "tone; answered_at: date"},
            "FIELDS: the name 'answered_at' is a column of findable's own",
        ),
        ({"fields": "tone;  from: text"}, "FIELDS: the name 'from' is a keyword of Python"),
        (
            {"fields": "tone;  class: a|b"},
            "the name 'class' is a keyword of Python, in which the task's file is written",
        ),
        ({"fields": "tone;  model_x: a|b"}, "FIELDS: the name 'model_x' is a name of Pydantic"),
        ({"fields": "tone;  copy: a|b"}, "FIELDS: the name 'copy' is a name of Pydantic"),
        (
            {"fields": "tone;  _year: int"},
            "'_year' is no name: letters, digits and _ are, from a letter on",
        ),
        ({"fields": "my tone"}, "FIELDS: 'my tone' is no name"),
        ({"fields": "id: text"}, "the field `id` and the key column `id`"),
        ({"name": "experts"}, "a task cannot be called 'experts'"),
        ({"name": "there"}, "tasks/there.py is there already"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    workspace: Workspace, api: Engine, given: dict[str, Any], said: str
) -> None:
    """Before anything is asked, and nothing is written."""
    table(workspace, "t.csv", ("id", "text"))
    workspace.put("numbers.csv", "id,price,year\n1,2.5,2019\n2,3.5,2020\n")
    workspace.put("tasks/there.py", "mine\n")
    workspace.put("photos.csv", "id,picture\n1,a.jpg\n2,b.jpg\n")
    options = {"q": "Tone?", **given}
    assert said in workspace.do("ask", options.pop("source", "t.csv"), code=2, **options).err
    assert calls(api) == 0
    assert [path.name for path in (workspace.home / "tasks").iterdir()] == ["there.py"]


def test_python_asks_and_tries_and_says_in_a_line_what_came(
    workspace: Workspace, api: Engine
) -> None:
    """Rows may be dicts; none of it is kept."""
    found = script(
        workspace,
        """
        asked = ws.ask(rows(7), "Praise or blame?", fields="tone: praise|blame; why: quote", n=2)
        tried = ws.try_(declared(), 2, items=rows(3))
        says = [refusal(ws.ask, rows(1), "?"), refusal(ws.ask, rows(1), "Tone?", name="kept")]
        cost = asked.estimate.ways["batch"].cost
        print(json.dumps([repr(asked), asked.answers, asked.rows, cost, repr(tried), says]))
        """,
    )
    asked, answers, count, cost, tried, says = found
    assert (asked.partition("@")[0], asked.rpartition(" of ")[2], count) == (
        "<tried with ask",
        "7 rows",
        7,
    )
    assert [(answer["id"], *answer["why"]) for answer in answers] == [
        ("1", "quote", "start", "end"),
        ("2", "quote", "start", "end"),
    ]
    assert cost > 0
    assert tried.startswith("<tried with reviews@1/")
    assert ("asks for nothing" in says[0], "stand in no file" in says[1], calls(api)) == (
        True,
        True,
        4,
    )
