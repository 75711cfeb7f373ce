"""A step twice at the same time, one that was killed, one that stood still past its lease: no person is asked twice."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.batch import prepare
from pipeline.core import files
from pipeline.store.leases import LeaseLostError
from tests import ledger
from tests.delivery import deliver, error, put_people, result, workspace_at
from tests.delivery import prepare as prepare_one
from tests.integration.hands import Hand
from tests.integration.looks import alter, asked_ids, batch_row, claimed, remote, states
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
At = Callable[[int], Workspace]

ROUNDS = 2 if os.environ.get("FAULTS") == "all" else 1
PEOPLE = 7


@pytest.fixture(scope="module")
def hands() -> Iterator[tuple[Hand, Hand]]:
    """Two programs that run commands at the same time."""
    both = (Hand(), Hand())
    yield both
    for hand in both:
        hand.close()


@pytest.fixture
def at(tmp_path: Path, workspace: Workspace) -> At:
    """A function that returns a filled workspace by number, each with a key and so with batches of its own."""

    def make(number: int) -> Workspace:
        """Return a workspace with seven people."""
        data = tmp_path / f"round-{number}"
        made = Workspace(data, workspace.environ | {"FINDABLE_DATA": str(data), "GEMINI_API_KEY": f"key-{number}"})
        made.begin()
        for one in range(PEOPLE):
            bio = f"I teach water law, number {one}."
            made.change("INSERT INTO experts (username, bio) VALUES (:name, :bio)", name=f"person-{one}", bio=bio)
        return made

    return make


def check(workspace: Workspace, api: Api, *, said: object) -> None:
    """Hold that everyone stands in one batch, each batch is sealed and has one living remote batch of its own."""
    assert states(workspace) == ["submitted"] * len(states(workspace)), said
    numbers = range(1, len(states(workspace)) + 1)
    assert Counter(asked_ids(workspace, numbers)) == Counter(str(one) for one in range(1, PEOPLE + 1)), said
    assert claimed(workspace) == [str(one) for one in range(1, PEOPLE + 1)], said
    workspace_id = workspace.scalar("SELECT workspace_id FROM findable_workspace")
    alive = Counter(one["name"] for one in remote(api) if workspace_id in one["displayName"])
    assert alive == Counter(batch_row(workspace, number)["remote_name"] for number in numbers), said
    for number in numbers:
        row = batch_row(workspace, number)
        files.verify(workspace.data / row["request_file"], sha256=row["request_sha256"], what="a request file")


def test_two_submits_at_the_same_time_ask_everyone_once(api: Api, hands: tuple[Hand, Hand], at: At) -> None:
    """Everyone stands in one batch, each exists once; two polls and two ingests bring it home and account once."""
    for number in range(ROUNDS):
        workspace = at(number)
        for paused, command in ((True, "batch-submit"), (False, "batch-poll"), (False, "batch-ingest")):
            api.configure(paused=paused, batch_looks=6)
            for hand in hands:
                hand.start(workspace, command, values={"BATCH_ROWS": "3"})
            ended = [hand.ended() for hand in hands]
            assert [one.code for one in ended] == [0, 0], ended
            if paused:
                check(workspace, api, said=(number, ended))
        moves = "SELECT new, count(*) FROM findable_events WHERE new IN ('downloaded', 'ingested') GROUP BY new, name"
        assert sorted(workspace.query(moves)) == sorted(
            (state, 1) for state in ("downloaded", "ingested") for _ in states(workspace)
        )
        ledger.check(workspace)
        assert ledger.people(workspace) == {"total": PEOPLE, "tagged": PEOPLE}


@pytest.mark.sampled(0)
def test_killed_in_the_middle_and_run_again_it_is_as_if_never_killed(hands: tuple[Hand, Hand], tmp_path: Path) -> None:
    """An ingest of several pages that is killed at any of its steps ends, run again, as an undisturbed one does."""
    prepared = workspace_at(tmp_path / "prepared")
    put_people(prepared, 1200)
    keys = prepare_one(prepared)
    deliver(prepared, result(keys, spoil=lambda key: [error(key, 13)]) + b"%%%\n" + error("nobody/0", 3) + b"\n")
    wanted, steps = None, 0
    for step in (0, 2, 4):
        prepared.copy_to(tmp_path / str(step))
        workspace = workspace_at(tmp_path / str(step))
        workspace.environ["FINDABLE_GATES"] = "commonest=off"  # all of them have the same tags
        hands[0].start(workspace, "batch-ingest", stop_at=step, how="KILL")
        ended = hands[0].ended()
        assert ended.code == (-signal.SIGKILL if step else 0), ended
        steps = max(steps, ended.steps)
        workspace.ran("batch-ingest")
        ledger.check(workspace)
        wanted = wanted or ledger.snapshot(workspace)
        assert ledger.snapshot(workspace) == wanted
    assert steps > 4


def test_a_sweep_that_lost_its_lease_removes_nothing(workspace: Workspace, people: People) -> None:
    """A process that stood still right before its sweep leaves the other one's files alone, and then begins again."""
    people(4)
    folder = workspace.data / "batches"
    folder.mkdir()
    (folder / "000009-requests.jsonl").write_text("{}\n")
    with workspace.open() as ws, ws.lease(prepare.LEASE) as lease:
        alter(workspace, "DELETE FROM findable_leases")
        with pytest.raises(LeaseLostError):
            prepare.sweep_request_files(ws.store, ws.data, lease)
    assert [path.name for path in folder.iterdir()] == ["000009-requests.jsonl"]
