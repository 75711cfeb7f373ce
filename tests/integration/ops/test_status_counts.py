"""`status` and `search` at many people: what is compared and counted, what is remembered, and what EXACT=1 does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.index import staleness
from pipeline.store import counts
from tests.lab import Api, Workspace

NEVER = float("inf")


def _status(workspace: Workspace, **values: str) -> dict[str, Any]:
    """Return the document of `status --json`."""
    document: dict[str, Any] = json.loads(workspace.ran("status", "--json", **values).stdout)
    return document


def _behind(workspace: Workspace, **values: str) -> int:
    """Return how far the index is behind."""
    behind: int = _status(workspace, **values)["index"]["behind"]
    return behind


@pytest.fixture(name="indexed")
def _indexed(workspace: Workspace, people: Callable[..., list[str]]) -> Workspace:
    """A workspace with four tagged people in the index."""
    people(4)
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest", "index")
    return workspace


@pytest.fixture
def compares_all(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note each time that everything is compared."""
    seen: list[bool] = []
    whole = staleness.staleness

    def noted(*args: Any) -> staleness.Staleness:
        seen.append(True)
        return whole(*args)

    monkeypatch.setattr(staleness, "staleness", noted)
    return seen


def _write(tmp_path: Path, *rows: str) -> str:
    """Write a file of people and return its path."""
    path = tmp_path / "some.csv"
    path.write_text("\n".join(("Username,Bio,Company", *rows, "")))
    return str(path)


@pytest.mark.full
def test_behind_is_told_from_what_changed(indexed: Workspace, tmp_path: Path, compares_all: list[bool]) -> None:
    """Changed, tagged and added people count, those without tags do not; after the next build nothing does."""
    (name,) = indexed.query("SELECT username FROM experts WHERE id = 2")[0]
    assert _behind(indexed) == 0
    indexed.ran("import", _write(tmp_path, f"{name},I keep goats.,Farm", "untagged,I bind books.,"))
    indexed.ran("import", _write(tmp_path, f"{name},I keep goats.,Farm"))
    assert _behind(indexed) == 1
    indexed.ran_each("batch-submit", "batch-poll", "batch-ingest", "score")
    assert _behind(indexed) == 2
    assert "behind the database by 2 people" in indexed.ran("search", "goats").stderr
    (tmp_path / "new.json").write_text('{"username": "added", "bio": "I cast bells."}')
    indexed.ran("add-expert", str(tmp_path / "new.json"))
    assert _behind(indexed) == 3
    assert compares_all == []
    indexed.ran("index")
    assert (_behind(indexed), _behind(indexed, EXACT="1")) == (0, 0)
    assert compares_all == [True]
    indexed.ran("index", "--rollback")
    assert (_behind(indexed), compares_all) == (3, [True])


def test_exact_finds_what_another_program_changed(indexed: Workspace, compares_all: list[bool]) -> None:
    """Which no command listed; `doctor` finds it too, and so does `status` from then on while nothing else changes."""
    indexed.change("UPDATE experts SET company = 'x' WHERE id = 1")
    assert (_behind(indexed), compares_all) == (0, [])
    assert "is behind the database by 1" in indexed.run("doctor").output
    compares_all.clear()
    assert "compared" not in indexed.ran("status").stdout
    assert _behind(indexed, EXACT="1") == _behind(indexed) == 1
    at = _status(indexed)["index"]["compared_at"][:16].replace("T", " ")
    assert f"behind by 1 (compared {at} UTC)" in indexed.ran("status").stdout
    assert compares_all == [True]


@pytest.mark.full
def test_after_a_rollback_of_answers_everything_is_compared(indexed: Workspace, compares_all: list[bool]) -> None:
    """Who lost their tags is not listed, so nothing is taken for known; nor after people were forgotten."""
    version = indexed.scalar("SELECT extractor FROM findable_answers LIMIT 1").partition("/")[0]
    indexed.ran("rollback", "--yes", EXTRACTOR=version)
    assert (_behind(indexed), compares_all) == (4, [True])


@pytest.mark.full
def test_what_took_long_to_compare_is_remembered(
    indexed: Workspace, compares_all: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a command changes something; where nothing can be written, it is compared each time."""
    indexed.change("DELETE FROM findable_change_lists")
    indexed.change("UPDATE findable_workspace SET position = position + 1")
    assert [_behind(indexed), _behind(indexed), len(compares_all)] == [0, 0, 2]
    monkeypatch.setattr(counts, "LONG_S", -1)
    with indexed.held():
        assert [_behind(indexed), _behind(indexed), len(compares_all)] == [0, 0, 4]
    assert [_behind(indexed), _behind(indexed), len(compares_all)] == [0, 0, 5]
    indexed.change("UPDATE findable_workspace SET position = position + 1")
    assert [_behind(indexed), len(compares_all)] == [0, 6]


@pytest.mark.full
@pytest.mark.sqlite_only(reason="a file of another program")
def test_counts_of_anothers_table_are_those_of_the_last_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, api: Api
) -> None:
    """Where counting takes long, with when; EXACT=1 counts anew, and so does the look after a command's change."""
    theirs = "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT, shoes TEXT)"
    add = "INSERT INTO experts (username, bio, findability_score) VALUES ('{}', 'I keep bees.', 0)"
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change(theirs)
    workspace.begin()
    workspace.change(add.format("a"))
    for long_s in (NEVER, -1.0):
        monkeypatch.setattr(counts, "LONG_S", long_s)
        document = _status(workspace)
        assert (document["experts"]["total"], document["counted_at"]) == (1, None)
    workspace.change(add.format("b"))
    document = _status(workspace)
    assert document["experts"]["total"] == 1
    at = document["counted_at"][:16].replace("T", " ")
    assert f"counted {at} UTC; `make status EXACT=1` counts anew" in workspace.ran("status").stdout
    document = _status(workspace, EXACT="1")
    assert (document["experts"]["total"], document["counted_at"]) == (2, None)
    api.configure(paused=True)
    workspace.ran("batch-submit")
    assert _status(workspace)["experts"]["claimed"] == 2
    workspace.change(add.format("c"))
    api.configure(paused=False)
    workspace.ran_each("batch-poll", "batch-ingest")
    assert (_status(workspace)["experts"]["tagged"], _status(workspace)["experts"]["total"]) == (2, 3)


@pytest.mark.full
def test_counts_of_anothers_passages_are_those_of_the_last_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with people, and for one version each; an import is a change of ours. Passages of ours are counted anew."""
    monkeypatch.setattr(counts, "LONG_S", -1.0)
    monkeypatch.setenv("FINDABLE_TASK", "passages")

    def told(**values: str) -> tuple[int, int, bool]:
        """Return how many passages there are, how many are open, and whether that was counted before."""
        document = _status(workspace, **values)
        return document["passages"]["total"], document["passages"]["open"], document["counted_at"] is not None

    file = tmp_path / "some.jsonl"
    add = "INSERT INTO {} (id, text) VALUES ('{}', 'Ann keeps bees.')"
    with workspace.open() as ws, ws.store.write() as tx:
        tx.exec_driver_sql("CREATE TABLE theirs (id TEXT PRIMARY KEY, text TEXT, shoes TEXT)")
    monkeypatch.setenv("FINDABLE_PASSAGES_TABLE", "theirs")
    workspace.begin()
    workspace.change(add.format("theirs", "a"))
    assert told() == (1, 1, False)
    workspace.change(add.format("theirs", "b"))
    assert told() == (1, 1, True)
    assert "`make passages-status EXACT=1` counts anew" in workspace.ran("passages-status").stdout
    assert (told(VERSION="other@1"), told(EXACT="1"), told()) == ((2, 2, False), (2, 2, False), (2, 2, True))
    file.write_text('{"id": "c", "text": "Bea mends clocks."}')
    workspace.ran("import-passages", str(file))
    assert told() == (3, 3, True)  # which the import counted to say what is next
    monkeypatch.delenv("FINDABLE_PASSAGES_TABLE")
    workspace.ran("import-passages", str(file))
    assert told() == (1, 1, False)
    workspace.change(add.format("passages", "d"))
    assert told() == (2, 2, False)


@pytest.mark.full
def test_counts_of_our_own_table_are_never_remembered(indexed: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are exact whichever program writes, however long it takes."""
    monkeypatch.setattr(counts, "LONG_S", -1)
    assert _status(indexed)["experts"]["tagged"] == 4
    indexed.change("DELETE FROM experts WHERE id = 1")
    document = _status(indexed)
    assert (document["experts"]["tagged"], document["counted_at"]) == (3, None)
