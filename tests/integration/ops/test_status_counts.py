"""How far `status` and `search` say that the index is behind, when everything is compared, and what EXACT=1 finds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.index import staleness
from tests.lab import Workspace


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
    indexed.ran("index")
    compares_all.clear()
    assert (_behind(indexed), compares_all) == (0, [])
    assert (_behind(indexed, EXACT="1"), compares_all) == (0, [True])
    indexed.ran("index", "--rollback")
    assert _behind(indexed) == 3


def test_exact_finds_what_another_program_changed(indexed: Workspace, compares_all: list[bool]) -> None:
    """Which no command told; `doctor` finds it too."""
    indexed.change("UPDATE experts SET company = 'x' WHERE id = 1")
    assert (_behind(indexed), compares_all) == (0, [])
    assert "is behind the database by 1" in indexed.run("doctor").output
    assert _behind(indexed, EXACT="1") == 1


def test_after_a_rollback_of_answers_the_index_is_behind(indexed: Workspace) -> None:
    """By all who lost their tags."""
    version = indexed.scalar("SELECT extractor FROM findable_answers LIMIT 1").partition("/")[0]
    indexed.ran("rollback", "--yes", EXTRACTOR=version)
    assert _behind(indexed) == 4
