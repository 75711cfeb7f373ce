"""`findable rebind`: what the local engine did is taken back, what was there before stays."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from pipeline.ops import rebind
from pipeline.store import answers
from tests.lab import KEY, Api, Workspace, ran

PEOPLE = "Username,First Name,Last Name,Job Title,Bio\n" + "\n".join(
    f"person-{n},Given{n},Name{n},Keeper of bees,I keep bees and teach water law in town number {n}." for n in range(4)
)
CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")
ENGINE = ("findable_answers", "findable_attempts", "findable_requests", "findable_batches", "findable_builds")


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """An empty workspace without a key."""
    return Workspace(tmp_path / "local", {"FINDABLE_DATA": str(tmp_path / "local")})


@pytest.fixture
def sent(local: Workspace, begun: Callable[..., None]) -> Workspace:
    """That workspace, with four people and a batch of them at the local engine."""

    def prepare() -> None:
        """Import and submit."""
        path = local.data.with_name("people.csv")
        path.write_text(PEOPLE)
        ran(local, "import", str(path))
        ran(local, "batch-submit")

    begun(prepare)
    return local


@pytest.fixture
def tagged(local: Workspace, begun: Callable[..., None]) -> Workspace:
    """That workspace, with four people who were tagged by the local engine."""

    def prepare() -> None:
        """Import and go through the chain."""
        path = local.data.with_name("people.csv")
        path.write_text(PEOPLE)
        ran(local, "import", str(path))
        local.ran_each(*CHAIN[:3])

    begun(prepare)
    return local


def test_a_workspace_moves_from_the_local_engine_to_gemini(tagged: Workspace, api: Api) -> None:
    """After rebind nothing of the local engine is left, and the same people go through Gemini.

    It asks first: without a terminal and without --yes, exit code 2, and the answers stay. With BACKEND=gemini every
    other command stops with exit code 3 and names rebind. A second time nothing is left to clear.
    """
    ran(tagged, "index")
    unscored = "SELECT id, username, first_name, last_name, job_title, bio FROM experts ORDER BY id"
    before, workspace_id = tagged.query(unscored), tagged.scalar("SELECT workspace_id FROM findable_workspace")
    assert "nothing was changed" in ran(tagged, "rebind", code=2)
    assert tagged.scalar("SELECT count(*) FROM findable_answers") == 4
    assert tagged.scalar("SELECT backend FROM findable_workspace") == "local"
    assert "rebind" in ran(tagged, "batch-submit", BACKEND="gemini", code=3)
    assert "4 answers taken back" in ran(tagged, "rebind", "--yes", BACKEND="gemini")
    assert tagged.query(unscored) == before
    assert tagged.query("SELECT DISTINCT tags FROM experts") == [(None,)]
    assert [tagged.scalar(f"SELECT count(*) FROM {table}") for table in ENGINE] == [0] * len(ENGINE)  # noqa: S608 - ours
    assert sorted(path.name for path in tagged.data.iterdir() if not path.name.startswith("findable.db")) == []
    assert tagged.scalar("SELECT workspace_id FROM findable_workspace") != workspace_id
    assert tagged.scalar("SELECT backend FROM findable_workspace") is None
    assert "nothing to clear" in ran(tagged, "rebind")
    assert json.loads(tagged.run("rebind", "--json").stdout) == {"answers": 0, "batches": 0, "given_up": 0, "files": 0}
    gemini = Workspace(tagged.data, tagged.environ | {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": api.url})
    gemini.ran_each(*CHAIN, LIST_LAG="0")
    status = json.loads(gemini.run("status", "--json").stdout)
    assert (status["backend"], status["experts"]["tagged"], status["index"]["count"]) == ("gemini", 4, 4)
    assert len(api.batches()) == 1
    assert "bound to Gemini" in ran(gemini, "rebind", "--yes", "--give-up", code=2)
    assert gemini.scalar("SELECT count(*) FROM findable_answers") == 4


def test_who_stood_still_after_it_cleared_removes_no_files(sent: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that went on meanwhile may have written them; run again it removes them.

    A batch that is not over is named and stops it; --give-up takes it along and its people can be asked again.
    """
    local = sent
    assert "under way (1)" in ran(local, "rebind", "--yes", code=2)
    with monkeypatch.context() as patch:
        real = rebind._clear_database

        def clearing(*arguments: Any) -> None:
            """Clear, and be overtaken."""
            real(*arguments)
            local.change("UPDATE findable_leases SET owner = 'somebody else'")

        patch.setattr(rebind, "_clear_database", clearing)
        result = local.run("rebind", "--yes", "--give-up")
    assert (result.exit_code, "was lost while" in result.output) == (5, True), result.output
    assert list(local.data.glob("batches/*-requests.jsonl"))
    local.change("DELETE FROM findable_leases")
    ran(local, "rebind", "--yes")
    assert not (local.data / "batches").exists()
    status = json.loads(local.run("status", "--json").stdout)
    assert (status["experts"]["untagged"], status["experts"]["claimed"], status["bound"]) == (4, 0, False)


def test_no_more_than_a_page_of_people_is_held_at_a_time(tagged: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several pages all tags go but those that are no answer, and of a page only what is needed is read."""
    local = tagged
    local.change("""UPDATE experts SET tags = '["by hand"]' WHERE id = 3""")
    said: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        """Keep what is run."""
        said.append(statement)

    monkeypatch.setattr(answers, "PAGE", 1)
    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert "4 answers taken back" in ran(local, "rebind", "--yes")
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert local.query("SELECT id FROM experts WHERE tags IS NOT NULL") == [(3,)]
    read = [one.partition("FROM")[0] for one in said if one.startswith("SELECT") and " IN (" not in one]
    assert not [one for one in read if "findable_answers.answer" in one]
    assert not [one for one in said if "experts.company" in one]


@pytest.mark.full
def test_tags_that_were_there_before_stay(local: Workspace, tmp_path: Path) -> None:
    """An adopted row keeps its own tags, whether they are a list or foreign text, and so do tags changed since."""
    database = tmp_path / "legacy.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT, tags TEXT)")
    rows = [
        ("own", "I keep bees.", '["apiculture"]'),
        ("foreign", "I keep bees.", "bees, law"),
        ("asked", "I teach water law.", None),
        ("changed", "I teach water law.", None),
    ]
    connection.executemany("INSERT INTO experts (username, bio, tags) VALUES (?, ?, ?)", rows)
    connection.commit()
    local.environ["FINDABLE_DATABASE_URL"] = f"sqlite:///{database}"
    local.begin().ran_each(*CHAIN[:3])
    connection.execute("UPDATE experts SET tags = '[\"by hand\"]' WHERE username = 'changed'")
    connection.commit()
    ran(local, "rebind", "--yes")
    found = dict(connection.execute("SELECT username, tags FROM experts"))
    assert found == {"own": '["apiculture"]', "foreign": "bees, law", "asked": None, "changed": '["by hand"]'}
    assert connection.execute("SELECT count(*) FROM findable_parked WHERE foreign_text").fetchone() == (1,)
    connection.close()
