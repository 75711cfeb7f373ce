"""Trying again: what is charged and what is not, when a person is parked, and how they are let go."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, event

from pipeline.batch import download
from pipeline.core.states import RemoteState
from pipeline.gemini.operations import RemoteBatch
from tests import ledger
from tests.delivery import TAGS, Lines, deliver, error, line, prepare, put_people, response, result, workspace_at
from tests.lab import Api, Workspace

ALL = ("--all", "--yes")
Spoil = Callable[[str], Lines]


@pytest.fixture
def offline(tmp_path: Path) -> Workspace:
    """A workspace that cannot reach any API."""
    return workspace_at(tmp_path / "data")


def round_of(
    workspace: Workspace, spoil: Spoil | None, *, word: str = "BATCH_STATE_SUCCEEDED", why: str | None = None
) -> None:
    """Let all who can be asked be asked once, the first of them with this result."""
    deliver(workspace, result(prepare(workspace), spoil=spoil), word=word, why=why)
    workspace.ran("batch-ingest")
    ledger.check(workspace)


def parked(workspace: Workspace) -> dict[str, str]:
    """Return who is parked, and why."""
    ran = workspace.ran("parked", "--json")
    return {row["name"]: row["reason"] for row in json.loads(ran.stdout)}


def test_two_failures_park_with_the_last_reason(offline: Workspace) -> None:
    """A person who failed twice is asked no more; the reason says how often and what was said last."""
    put_people(offline, 1)
    round_of(offline, lambda key: [error(key, 13, "First trouble.")])
    assert ledger.people(offline) == {"total": 1, "untagged": 1}
    round_of(offline, lambda key: [error(key, 14, "Second trouble.")])
    assert ledger.people(offline) == {"total": 1, "parked": 1}
    assert parked(offline) == {"person-0000": "it failed 2 times; last: error 14: Second trouble."}


def test_an_answer_after_a_failure_tags(offline: Workspace) -> None:
    """One failure is forgotten by an answer in the next batch, under the same key."""
    put_people(offline, 1)
    first = prepare(offline)
    deliver(offline, b"")
    assert offline.run("batch-ingest").exit_code == 0
    assert prepare(offline) == first
    deliver(offline, result(first))
    assert offline.run("batch-ingest").exit_code == 0
    assert ledger.people(offline) == {"total": 1, "tagged": 1}
    assert parked(offline) == {}


def test_what_a_batch_did_not_come_to_is_not_charged(offline: Workspace) -> None:
    """A missing line of a batch that ended early is the service's matter; a bad line of it is its item's."""
    put_people(offline, 3)
    keys = prepare(offline)
    deliver(offline, result(keys[1:], spoil=lambda key: [error(key, 13)]), word="BATCH_STATE_EXPIRED", why="expired")
    offline.ran("batch-ingest")
    attempts = offline.query("SELECT item_id, outcome, reason, charged, forgiven FROM findable_attempts ORDER BY 1")
    assert attempts[0] == ("1", "missing", "no line in the result: expired", 0, 0)
    assert (len(attempts), attempts[1][:2], attempts[1][3]) == (2, ("2", "refused"), 1)
    assert ledger.people(offline) == {"total": 3, "tagged": 1, "untagged": 2}


def test_three_failed_batches_in_a_row_park(workspace: Workspace, api: Api, people: Callable[..., list[str]]) -> None:
    """Nothing is paid for for ever: after three batches that gave nothing people are parked, charged with nothing."""
    people(3)
    for rounds in range(3):
        assert ledger.people(workspace) == {"total": 3, "untagged": 3}, rounds
        api.fault("batch_fails" if rounds else "batch_expires")
        assert workspace.run("batch-submit").exit_code == 0
        assert workspace.run("batch-poll").exit_code == 0
    assert ledger.people(workspace) == {"total": 3, "parked": 3}
    assert parked(workspace)["person-0000"].startswith("3 batches in a row gave nothing")
    assert workspace.scalar("SELECT count(*) FROM findable_attempts WHERE charged") == 0
    ledger.check(workspace)


def test_a_line_between_two_such_batches_breaks_the_row(offline: Workspace) -> None:
    """Failures of the service count in a row, and not as the second try; an answer that is no use breaks the row."""
    put_people(offline, 1)
    nothing: tuple[Spoil, str] = (lambda _key: [], "BATCH_STATE_EXPIRED")
    wrong: tuple[Spoil, str] = (lambda key: [error(key, 13)], "BATCH_STATE_SUCCEEDED")
    for spoil, word in (nothing, nothing, wrong, nothing, nothing):
        round_of(offline, spoil, word=word, why="x")
        assert ledger.people(offline) == {"total": 1, "untagged": 1}
    round_of(offline, lambda key: [line(key, response("{}"))])
    assert ledger.people(offline) == {"total": 1, "parked": 1}


def test_after_a_cut_answer_there_is_more_room(offline: Workspace) -> None:
    """The next request of an answer that was cut by the token limit asks for more tokens; others do not."""
    put_people(offline, 3)
    keys = prepare(offline)
    cut = [response(TAGS[:9], finish="MAX_TOKENS"), response(None, finish="MAX_TOKENS")]
    deliver(offline, b"\n".join([*map(line, keys[:2], cut), error(keys[2], 13)]))
    assert offline.run("batch-ingest").exit_code == 0
    prepare(offline)
    first, second = (_room(offline, number) for number in (1, 2))
    assert [second[key] > first[key] for key in keys] == [True, True, False]


def test_a_failed_batch_of_more_people_than_a_statement_holds_lets_all_go(offline: Workspace) -> None:
    """Databases bound how many values one statement may hold; a large batch fails in pieces, in one transaction."""
    put_people(offline, 1)
    prepare(offline)
    offline.change(
        "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 5000) "
        "INSERT INTO findable_requests (task, item_id, batch, line, input_hash, open, at) "
        "SELECT 'expert-tags', CAST(x AS TEXT), 1, x, '', true, '2026-01-01 00:00:00+00' FROM n",
    )
    offline.change("UPDATE findable_batches SET state = 'submitted', remote_name = 'batches/b'")
    event.listen(Engine, "connect", _hold_little)
    try:
        with offline.open() as ws:
            download.download_result(ws, 1, RemoteBatch("batches/b", "", "BATCH_STATE_FAILED", RemoteState.FAILED))
    finally:
        event.remove(Engine, "connect", _hold_little)
    assert ledger.batches(offline) == ["failed"]
    assert offline.scalar("SELECT count(*) FROM findable_requests WHERE open") == 0
    assert offline.scalar("SELECT count(*) FROM findable_attempts WHERE NOT charged") == 5000


def _hold_little(connection: Any, _record: object) -> None:
    """Let a statement hold few values; builds of SQLite differ in how many they allow."""
    if isinstance(connection, sqlite3.Connection):
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 4000)


def test_unpark_forgives_and_lets_go(offline: Workspace) -> None:
    """A person who is let go starts anew: two more failures are needed to park again; who cannot be is said."""
    put_people(offline, 2)
    assert offline.run("parked").stdout == "no person is parked\n"
    assert parked(offline) == {}
    for args, code in (((), 2), (("person-0000", "--all"), 2), (("nobody",), 2), (("person-0000",), 0), (ALL, 0)):
        offline.ran("unpark", *args, code=code)
    round_of(offline, lambda key: [error(key, 3, "Request contains an invalid argument.")])
    assert ledger.people(offline) == {"total": 2, "tagged": 1, "parked": 1}
    assert "Request contains an invalid argument." in parked(offline)["person-0000"]
    ran = offline.run("unpark", "person-0000", "--json")
    assert json.loads(ran.stdout) == {"unparked": ["person-0000"]}
    for left in ("untagged", "parked"):
        assert ledger.people(offline) == {"total": 2, "tagged": 1, "untagged": 1}
        round_of(offline, lambda key: [error(key, 13)])
        assert ledger.people(offline) == {"total": 2, "tagged": 1, left: 1}


def test_unpark_all_asks_first_and_leaves_foreign_text(offline: Workspace) -> None:
    """Everyone is let go at once after a yes, but rows whose tags are another program's text."""
    put_people(offline, 3)
    offline.change("UPDATE experts SET tags = 'law, water' WHERE id = 3")
    deliver(offline, b"\n".join(error(key, 3) for key in prepare(offline)))
    assert offline.run("batch-ingest").exit_code == 0
    assert offline.run("unpark", "--all").exit_code == 2
    assert ledger.people(offline) == {"total": 3, "parked": 3}
    ran = offline.run("unpark", *ALL, "--json")
    assert json.loads(ran.stdout) == {"unparked": ["person-0000", "person-0001"]}
    assert ledger.people(offline) == {"total": 3, "untagged": 2, "parked": 1}
    assert offline.scalar("SELECT tags FROM experts WHERE id = 3") == "law, water"
    assert list(parked(offline)) == ["person-0002"]


def _room(workspace: Workspace, number: int) -> dict[str, int]:
    """Return `maxOutputTokens` of each key in a batch's request file."""
    file = workspace.scalar("SELECT request_file FROM findable_batches WHERE number = :number", number=number)
    lines = [orjson.loads(raw) for raw in (workspace.data / file).read_bytes().splitlines()]
    return {one["key"]: one["request"]["generationConfig"]["maxOutputTokens"] for one in lines}
