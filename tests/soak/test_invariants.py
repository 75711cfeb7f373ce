"""Each invariant of the soak sees the one thing it is there for; a short soak is in trouble and violates nothing."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from emulator.server import start
from tests.lab import KEY, Api, Workspace
from tests.soak.invariants import INVARIANTS, SETTLED, violations
from tests.soak.look import Look, Memory, look
from tests.soak.people import People
from tests.soak.soak import Soak

pytestmark = [pytest.mark.full, pytest.mark.sqlite_only("the soak looks into an SQLite file")]

PEOPLE = 6
SECONDS = 20
SEED = 41


class Patient:
    """A copy of a healthy workspace, to be broken and looked at."""

    def __init__(self, healthy: Path, data: Path, *, status: dict[str, Any], remote: list[dict[str, Any]]) -> None:
        """Copy the workspace and look at it once, so that there is something to remember."""
        shutil.copytree(healthy, data, symlinks=True)
        self.data, self.status, self.remote = data, json.loads(json.dumps(status)), [dict(one) for one in remote]
        self.creates = tuple(one["displayName"] for one in remote)
        self.memory = Memory()
        assert self.found() == []

    def found(self, *, is_settled: bool = False) -> list[str]:
        """Return the violations that are seen now."""
        return violations(self.look(is_settled=is_settled))

    def look(self, *, is_settled: bool) -> Look:
        """Return one look."""
        facts = {"status": self.status, "remote": self.remote, "memory": self.memory, "creates": self.creates}
        return look(self.data, is_settled=is_settled, **facts)

    def alter(self, statement: str) -> None:
        """Change rows as no command of ours would."""
        with closing(sqlite3.connect(self.data / "findable.db")) as connection, connection:
            connection.execute(statement)

    def append(self, pattern: str) -> None:
        """Add a byte to the first file of a pattern."""
        with min(self.data.glob(pattern)).open("ab") as file:
            file.write(b" ")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Patient]]:
    """A function that makes a patient: some people tagged and indexed, and some in a batch that is not over."""
    folder = tmp_path_factory.mktemp("healthy")
    with start(folder / "api") as server:
        api = Api(server)
        environ = {"FINDABLE_DATA": str(folder / "data"), "GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": api.url}
        workspace = Workspace(folder / "data", environ | {"FINDABLE_LIST_LAG": "0", "FINDABLE_POLL_FIRST": "0.02"})
        api.configure(batch_looks=1)
        _import(workspace, PEOPLE)
        for command in ("batch-submit", "batch-poll", "batch-ingest", "index"):
            workspace.ran(command)
        _import(workspace, 2)
        api.configure(paused=True)
        workspace.ran("batch-submit")
        status = json.loads(workspace.run("status", "--json").stdout)
        remote = api.batches()["batches"]
        yield lambda data: Patient(folder / "data", data, status=status, remote=remote)


def _import(workspace: Workspace, count: int) -> None:
    """Bring people in; each number of them has names of its own."""
    path = workspace.data.parent / f"{count}.json"
    people = [{"username": f"of-{count}-{number}", "bio": f"I know water law, {number}."} for number in range(count)]
    path.write_text(json.dumps(people))
    workspace.ran("import", str(path))


def _twice(patient: Patient) -> None:
    name = patient.remote[0]["displayName"]
    patient.alter(
        f"INSERT INTO findable_tries SELECT '{name}-2', batch, 2, sent_at, outcome, note "  # noqa: S608
        f"FROM findable_tries WHERE display_name = '{name}'"
    )
    patient.remote.append({**patient.remote[0], "name": "batches/second", "displayName": f"{name}-2"})


def _sent_again(patient: Patient) -> None:
    patient.creates += patient.creates[:1]


def _sql(statement: str) -> Callable[[Patient], None]:
    return lambda patient: patient.alter(statement)


BROKEN: dict[str, Callable[[Patient], None]] = {
    "database_is_sound": _sql("DELETE FROM findable_batches WHERE number = 1"),
    "status_adds_up": _sql("INSERT INTO experts (username, bio) VALUES ('somebody', 'I know.')"),
    "claims_have_live_batches": _sql("UPDATE findable_batches SET state = 'failed' WHERE number = 2"),
    "batches_account_for_every_request": _sql("UPDATE findable_requests SET outcome = 'missing' WHERE id = 1"),
    "nobody_is_answered_twice": _sql("UPDATE findable_answers SET item_id = '1', input_hash = (SELECT input_hash "
                                     "FROM findable_answers WHERE id = 1) WHERE id = 2"),
    "tags_come_from_answers": _sql("UPDATE experts SET tags = NULL WHERE id = 1"),
    "tags_never_change": _sql("""UPDATE experts SET tags = '["forged"]' WHERE id = 1"""),
    "answers_reach_whom_they_are_about": _sql("UPDATE experts SET username = 'somebody' WHERE id = 1"),
    "batches_move_as_allowed": _sql("DELETE FROM findable_events WHERE kind = 'batch' AND new = 'submitting'"),
    "what_is_fixed_stays": _sql("UPDATE findable_batches SET remote_name = 'batches/another' WHERE number = 1"),
    "remote_batches_are_ours": _sql("DELETE FROM findable_tries WHERE batch = 1"),
    "each_try_is_sent_once": _sent_again,
    "second_batches_are_explained": _twice,
    "sealed_files_are_as_sealed": lambda patient: patient.append("batches/*-results.jsonl"),
    "index_is_of_one_build": lambda patient: patient.append("index/builds/1/metadata.json"),
    "spend_adds_up": _sql("INSERT INTO findable_calls SELECT 1, task, item_id, extractor, 'm', NULL, 'live', 'o', at, "
                          "'day', 1, 1, 1, 0.5, 'lost', at, NULL, NULL, NULL FROM findable_answers WHERE id = 1"),
    "nothing_is_left_to_do": lambda patient: (patient.data / "batches" / "x.part").touch(),
    "index_holds_everybody": _sql("""UPDATE experts SET tags = '["forged"]' WHERE id = 1"""),
}  # fmt: skip


@pytest.mark.parametrize("name", [one.__name__ for one in INVARIANTS + SETTLED])
def test_an_invariant_sees_what_it_is_there_for(name: str, healthy: Callable[[Path], Patient], tmp_path: Path) -> None:
    """Nothing is wrong with the healthy workspace; broken in one place, the invariant of that place says so."""
    patient = healthy(tmp_path / "patient")
    BROKEN[name](patient)
    is_settled = name in {one.__name__ for one in SETTLED}
    assert name in {said.partition(":")[0] for said in patient.found(is_settled=is_settled)}


def test_a_create_that_the_api_doubled_is_seen(healthy: Callable[[Path], Patient], tmp_path: Path) -> None:
    """Two remote batches of one name are more than no create that was doubled explains."""
    patient = healthy(tmp_path / "patient")
    patient.remote.append({**patient.remote[0], "name": "batches/second"})
    assert [one.partition(":")[0] for one in patient.found()] == ["second_batches_are_explained"]


def test_people_who_are_lost_or_changed_are_seen(tmp_path: Path) -> None:
    """Whoever was cut off may have written or not; anything else, and anybody lost or strange, is told."""
    people = People(tmp_path / "none.db")
    people.may_have({"a": "old", "b": "old"}, done=True)
    people.may_have({"b": "new", "c": "new"}, done=False)
    assert list(people.wrong({"a": "old", "b": "new"})) == []
    assert people.present == ["a", "b"]
    said = list(people.wrong({"b": "old", "d": "x"}))
    assert [one.split()[0] for one in said] == ["d", "a", "b"]


@pytest.mark.timeout(300)
def test_a_short_soak_violates_nothing(tmp_path: Path) -> None:
    """Twenty seconds of faults, kills, two at once and other programs; then all is brought to its end."""
    with closing(Soak(tmp_path / "soak", seed=SEED)) as soak:
        report = soak.run(minutes=SECONDS / 60)
    assert report.violations == [], report.text()
    assert all((report.rounds, report.settled, report.signals, report.batches["ingested"], report.people["tagged"]))
