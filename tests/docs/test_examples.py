"""Each folder of examples/ does what its README says, on the local engine."""

import csv
import json
import re
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.lab import ROOT, Workspace


def run_readme(name: str) -> Workspace:
    """Run the commands of an example's README in a copy of its folder; return the workspace."""
    shutil.copytree(
        ROOT / "examples" / name,
        Path("examples", name),
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    workspace = Workspace(Path("data", name).resolve())
    (block,) = re.findall(
        r"```sh\n(.*?)```", Path("examples", name, "README.md").read_text("utf-8"), re.DOTALL
    )
    for line in block.splitlines():
        program, *words = shlex.split(line)
        if program == "sqlite3":
            set_up(workspace, Path(words[0]), Path(words[2]).read_text("utf-8"))
            continue
        target, *assignments = words
        values = dict(word.split("=", 1) for word in assignments)
        if workspace.on_postgresql:
            values.pop("DATABASE_URL", None)
        workspace.ran(target, **values)
    return workspace


def set_up(workspace: Workspace, file: Path, script: str) -> None:
    """Run a script of SQL on the workspace's server, or on a file."""
    if workspace.on_postgresql:
        for statement in script.split(";\n"):
            workspace.change(statement)
        return
    with closing(sqlite3.connect(file)) as database:
        database.executescript(script)


def cells() -> list[dict[str, str]]:
    """Return the rows of the file that an example exports."""
    with Path("answers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.full
def test_reviews() -> None:
    """Every review is answered, and the quotation of each aspect is in the text."""
    run_readme("reviews")
    rows = cells()
    assert [int(row["id"]) for row in rows] == list(range(1, 21))
    verdicts = set()
    for row in rows:
        for aspect in json.loads(row["aspects"]):
            verdicts.add(aspect["verdict"])
            quote = aspect["quote"]
            assert row["text"][quote["start"] : quote["end"]] == quote["quote"]
    assert verdicts >= {"praise", "blame"}
    assert {row["stars"] for row in rows} > {"", "5"}


def test_orders() -> None:
    """Non-empty messages are answered, and empty cells of the shop's column are filled.

    What the shop wrote itself is an answer, too.
    """
    workspace = run_readme("orders")
    answered = {int(row["id"]): row for row in cells() if row["answer_version"]}
    assert sorted(answered) == [1001, 1002, 1003, 1004, 1006, 1007, 1008, 1009]
    assert (answered[1006]["wish"], answered[1006]["customer"]) == ("refund", "Teodora Klimt-Ashby")
    query = "SELECT id, urgency FROM orders ORDER BY id"
    if workspace.on_postgresql:
        filled = dict(workspace.query(query))
    else:
        with closing(sqlite3.connect("shop.db")) as database:
            filled = dict(database.execute(query))
    assert filled.pop(1007) == "high"
    assert (answered[1007]["urgency"], answered[1007]["answer_version"]) == ("high", "other")
    assert filled == {
        **dict.fromkeys((1005, 1010)),
        **{key: answered[key]["urgency"] for key in filled if key in answered},
    }


def test_boats() -> None:
    """The harbour's words stay and count; imported and added boats are answered, all are scored."""
    workspace = run_readme("boats")
    rows = {row["name"]: row for row in cells()}
    states = {name: row["state"] for name, row in rows.items()}
    assert states.pop("Gannet") == "no_text"
    assert set(states) > {"Albatross", "Brisk", "Heron"}
    assert set(states.values()) == {"described"}
    assert rows["Brisk"]["answer_version"] == "other"

    query = "SELECT name, good_for, score FROM boats"
    if workspace.on_postgresql:
        table = workspace.query(query)
    else:
        with closing(sqlite3.connect("harbour.db")) as database:
            table = list(database.execute(query))
    uses = {name: use for name, use, _ in table}
    assert uses.pop("Gannet") is None
    assert uses["Brisk"] == "racing on Sundays"
    assert uses == {name: rows[name]["use"] for name in uses}
    scores = {name: float(row["score"]) for name, row in rows.items()}
    assert {name: value for name, _, value in table} == pytest.approx(scores)
    assert scores["Gannet"] == 15
    assert scores["Albatross"] == 100
