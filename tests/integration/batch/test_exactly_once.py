"""However a create call ends, there is one living remote batch for each batch, and no person is asked twice."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pipeline.batch import create, prepare
from pipeline.batch import uploads as batch_uploads
from pipeline.batch.create import SendOutcome
from tests.integration.looks import (
    CREATE,
    alter,
    batch_row,
    claimed,
    creates,
    moves,
    remote,
    states,
    tries,
    uploads,
)
from tests.lab import Api, Workspace, slowness
from tests.progress import NullProgress

People = Callable[..., list[str]]

WORKED: list[tuple[str, dict[str, Any]]] = [  # the batch was made, and the caller was not told
    *(("create_lost_reply_status", {"code": code}) for code in (503, 504, 408, 409, 499)),
    ("create_lost_reply", {}),
    ("create_slow_reply", {"seconds": 0.6}),
    ("no_name", {}),
    ("foreign_name", {}),
    *(("success_code", {"code": code}) for code in (201, 204)),
]

DID_NOT: list[tuple[str, dict[str, Any]]] = [  # nothing was made, and the caller was not told
    *(("status", {"code": code}) for code in (503, 500, 408)),
    *((word, {}) for word in ("drop", "reset", "hang", "empty_200", "html_200", "wrong_shape", "html_502")),
]


def fault_on_create(api: Api, word: str, args: dict[str, Any], **more: Any) -> None:
    """Script a fault for create calls."""
    api.fault(word, method="POST", path=CREATE, args=args, **more)


def names_of_tries(workspace: Workspace) -> list[str]:
    """Return the display name of each create, in order."""
    return [row[0] for row in workspace.query('SELECT display_name FROM findable_tries ORDER BY batch, "try"')]


def test_a_create_that_worked_unseen_is_adopted(workspace: Workspace, api: Api, people: People) -> None:
    """Whatever the caller was told, the batch that exists is found by its name, and create is not called again."""
    people(len(WORKED))
    for word, args in WORKED:
        fault_on_create(api, word, args)
    assert "adopted" in workspace.ran("batch-submit", BATCH_ROWS="1", CREATE_TIMEOUT="0.4").stdout
    assert creates(api) == len(WORKED)
    rows = [batch_row(workspace, number) for number in range(1, len(WORKED) + 1)]
    assert [(row["state"], row["remote_name"], row["tries"]) for row in rows] == [
        ("submitted", one["name"], 1) for one in remote(api)
    ]
    assert tries(workspace) == ["adopted"] * len(WORKED)
    assert len(claimed(workspace)) == len(WORKED)
    assert api.faults()["used_up"]


def test_a_create_that_did_nothing_is_called_again(workspace: Workspace, api: Api, people: People) -> None:
    """Only when the list shows nothing is create called again, with the same upload and another display name."""
    count = len(DID_NOT)
    people(count)
    for nth, (word, args) in enumerate(DID_NOT, 1):  # each strikes at the nth create that no other one strikes
        fault_on_create(api, word, args, nth=nth)
    patience = f"{0.4 * slowness():.1f}"  # that one which hangs is given up, and no other one
    workspace.ran("batch-submit", BATCH_ROWS="1", CREATE_TIMEOUT=patience)
    assert (creates(api), uploads(api), len(remote(api))) == (2 * count, count, count)
    assert tries(workspace) == ["absent", "created"] * count
    names = names_of_tries(workspace)
    assert all(name.endswith("-t1") for name in names[::2])
    assert names[1::2] == [name.removesuffix("-t1") + "-t2" for name in names[::2]]
    assert moves(workspace, count) == [
        (None, "prepared"),
        ("prepared", "submitting"),
        ("submitting", "submitting"),
        ("submitting", "submitted"),
    ]


def test_a_create_that_stays_unclear_ends_the_run_and_goes_on_later(
    workspace: Workspace, api: Api, people: People
) -> None:
    """After three creates without an answer the run ends with 4, claims kept; the next one looks first and creates."""
    people(5)
    fault_on_create(api, "status", {"code": 503}, times=3)
    result = workspace.ran("batch-submit", code=4)
    assert "next: run `make batch-submit` again later" in result.stderr
    assert (states(workspace), len(claimed(workspace)), creates(api)) == (["submitting"], 5, 3)
    assert workspace.run("batch-submit").exit_code == 0
    assert (states(workspace), len(remote(api)), creates(api)) == (["submitted"], 1, 4)


def test_a_create_that_cannot_be_looked_for_is_not_said_to_have_changed_nothing(
    workspace: Workspace, api: Api, people: People
) -> None:
    """The reply is lost and the list fails, too: the run ends with 4, and what was made is kept for the next one."""
    people(2)
    fault_on_create(api, "create_lost_reply", {})
    api.fault("status", method="GET", path="/v1beta/batches", args={"code": 503}, times=1000)
    result = workspace.ran("batch-submit", code=4)
    assert "looking whether it was created" in result.stderr
    assert "next: what came before is kept; run the same command again later" in result.stderr
    assert (states(workspace), len(claimed(workspace)), creates(api)) == (["submitting"], 2, 1)
    api.clear_faults()
    assert "adopted" in workspace.ran("batch-submit").stdout
    assert (states(workspace), len(remote(api)), creates(api)) == (["submitted"], 1, 1)


def waiting(ws: Any, api: Api) -> list[float]:
    """Let time pass at once, here and at the API, where this workspace waits; return how long it waited each time."""
    waits: list[float] = []
    real = ws.now

    def sleep(seconds: float) -> None:
        """Move both clocks on."""
        waits.append(seconds)
        api.advance(seconds)

    ws.sleep, ws.now = sleep, lambda: real() + timedelta(seconds=sum(waits))
    return waits


def test_a_name_that_is_late_in_the_list_is_waited_for(workspace: Workspace, api: Api, people: People) -> None:
    """A batch that the list shows only after a while is found, not made again, as long as LIST_LAG covers the while.

    Where nothing was made, the next create waits for LIST_LAG from the end of the call that stayed unclear.
    """
    people(2)
    fault_on_create(api, "create_lost_reply", {})
    fault_on_create(api, "status", {"code": 503})
    api.configure(list_lag_seconds=60)
    workspace.environ |= {"FINDABLE_LIST_LAG": "90", "FINDABLE_BATCH_ROWS": "1"}
    with workspace.open() as ws:
        waits = waiting(ws, api)
        first, second = prepare.prepare_batches(ws, prepare.Selection(), bar=_bar())
        assert create.send_batch(ws, first) is SendOutcome.ADOPTED
        assert 60 <= sum(waits) <= 91
        assert (creates(api), len(remote(api))) == (1, 1)
        assert batch_row(workspace)["remote_name"] == remote(api)[0]["name"]
        assert any("looking again in" in line for line in ws.display.lines)
        before = sum(waits)
        assert create.send_batch(ws, second) is SendOutcome.CREATED
        assert 89 <= sum(waits) - before <= 91
    assert (creates(api), len(remote(api))) == (3, 2)


def test_the_wait_for_the_list_holds_nothing_and_can_be_interrupted(
    workspace: Workspace, api: Api, people: People
) -> None:
    """While it waits no lease is held, so another command can work; Ctrl-C leaves the batch for the next run."""
    people(2)
    fault_on_create(api, "create_lost_reply", {})
    api.configure(list_lag_seconds=3600)
    with workspace.open() as ws:
        ws.settings = replace(ws.settings, list_lag=600.0)

        def interrupted(seconds: float) -> None:
            """Be a person who has seen enough."""
            assert seconds > 500
            assert workspace.query("SELECT name FROM findable_leases") == []
            with ws.store.write() as tx:
                tx.exec_driver_sql("UPDATE experts SET company = 'Bees' WHERE id = 1")
            raise KeyboardInterrupt

        ws.sleep = interrupted
        [number] = prepare.prepare_batches(ws, prepare.Selection(), bar=_bar())
        with pytest.raises(KeyboardInterrupt):
            create.send_batch(ws, number)
    assert (states(workspace), creates(api)) == (["submitting"], 1)
    api.advance(7200)
    assert workspace.run("batch-submit").exit_code == 0
    assert (states(workspace), creates(api), len(remote(api))) == (["submitted"], 1, 1)


def test_of_several_batches_the_oldest_is_adopted_and_the_others_are_cancelled(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A create that made two batches leaves one alive: the oldest; the twin is recorded with its cost and cancelled.

    It is known from the moment of the adoption: where it cannot be cancelled now, a later look does so.
    """
    people(5)
    api.configure(paused=True)
    api.fault("duplicate_batch")
    fault_on_create(api, "lost_reply", {})
    api.fault("status", times=50, path=":cancel$", method="POST")
    workspace.ran("batch-submit", RETRY_FOR="0.1")
    first, second = remote(api, alive=False)
    assert batch_row(workspace)["remote_name"] == first["name"]
    [twin] = workspace.query("SELECT remote_name, estimated_cost, cancelled_at FROM findable_twins")
    assert twin == (second["name"], pytest.approx(batch_row(workspace)["estimated_cost"]), None)
    api.clear_faults()
    assert workspace.run("batch-poll", WAIT="0").exit_code in {0, 4}
    assert [one["name"] for one in remote(api)] == [first["name"]]
    assert workspace.query("SELECT count(*) FROM findable_twins WHERE cancelled_at IS NULL") == [(0,)]


REFUSED: tuple[tuple[str, dict[str, Any], int, bool], ...] = (  # word, args, exit code, upload kept
    ("quota_minute", {}, 4, True),
    ("quota_day", {}, 4, True),
    ("quota_batch", {}, 4, True),
    ("quota_bare", {}, 4, True),
    ("key_invalid", {}, 3, False),
    ("status", {"code": 401}, 3, False),
    ("status", {"code": 403}, 3, False),
    ("status", {"code": 404}, 3, False),
    ("status", {"code": 413}, 4, False),
)


def test_a_clear_refusal_leaves_the_batch_prepared(workspace: Workspace, api: Api, people: People) -> None:
    """One create, no batch, claims kept, none charged; the next run sends the same file, uploaded anew if need be."""
    people(5)
    begun, there = 0, False
    for number, (word, args, code, keeps) in enumerate(REFUSED, 1):
        fault_on_create(api, word, args)
        assert "next: " in workspace.ran("batch-submit", code=code).stderr
        row = batch_row(workspace)
        begun += not there
        there = keeps
        assert (row["state"], creates(api), len(remote(api))) == ("prepared", number, 0)
        assert (row["upload"] is not None, uploads(api)) == (keeps, begun)
        assert (len(claimed(workspace)), workspace.scalar("SELECT count(*) FROM findable_attempts")) == (5, 0)
    fault_on_create(api, "quota_bare", {})
    workspace.ran("batch-submit", code=4)
    upload = batch_row(workspace)["upload"]
    workspace.environ["GOOGLE_GEMINI_BASE_URL"] = "http://127.0.0.1:9"
    workspace.ran("batch-submit", RETRY_FOR="0.05", code=4)
    assert (batch_row(workspace)["upload"], tries(workspace)[-1]) == (upload, "not sent")
    workspace.environ["GOOGLE_GEMINI_BASE_URL"] = api.url
    workspace.ran("batch-submit")
    assert (states(workspace), len(remote(api)), uploads(api)) == (["submitted"], 1, begun + 1)
    assert batch_row(workspace)["request_sha256"] == row["request_sha256"]


@pytest.mark.sampled(0)
def test_a_file_refused_twice_is_given_up(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second 400 ends the batch as failed with its reason and lets its items go, uncharged; exit 4.

    That is settled before the upload is deleted: meanwhile it could be sent by another process, or cancelled.
    """
    people(5)
    fault_on_create(api, "status", {"code": 400, "message": "Request contains an invalid argument."}, times=2)
    assert workspace.run("batch-submit").exit_code == 4
    assert (states(workspace), batch_row(workspace)["upload"]) == (["prepared"], None)
    found, real = [], batch_uploads.drop_upload

    def dropping(*arguments: Any) -> None:
        """Look at the batch, and cancel it, at the moment at which the upload goes."""
        found.append((states(workspace), claimed(workspace), workspace.run("batch-cancel", "1", "--yes").exit_code))
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(create, "drop_upload", dropping)
        result = workspace.ran("batch-submit", code=4)
    assert found == [(["failed"], [], 2)]
    assert "given up" in result.stderr
    row = batch_row(workspace)
    assert (row["state"], row["refusals"], claimed(workspace)) == ("failed", 2, [])
    assert "invalid argument" in row["reason"]
    assert workspace.scalar("SELECT count(*) FROM findable_attempts") == 0
    assert workspace.run("batch-submit").exit_code == 0
    assert states(workspace) == ["failed", "submitted"]
    assert len(api.seen("DELETE", "/files/")) == 2


@pytest.mark.sampled(0)
def test_a_refused_line_is_charged_and_the_rest_goes_out_in_the_same_run(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A refusal of line 3 costs the third item one attempt; the others of LIMIT stand in a new batch without it.

    It is told by name and in the API's words, asked once more by a later run, and then parked. A refusal of a line that
    is not there is one of the file, and charges no person.
    """
    names = people(5)
    api.fault("bad_line", args={"line": 3})
    said = workspace.ran("batch-submit", "--limit", "4").stderr
    assert f"line 3 was refused: invalid JSON, near column 42: no such field: 'cachedContent'; {names[2]}, " in said
    assert "asked once more by a later run" in said
    assert (claimed(workspace), len(remote(api))) == (["1", "2", "4"], 1)
    api.fault("bad_line", args={"line": 99})
    workspace.ran("batch-submit", code=4)
    assert states(workspace) == ["failed", "submitted", "prepared"]
    assert workspace.query("SELECT item_id, charged, outcome FROM findable_attempts") == [("3", 1, "refused")]
    api.fault("bad_line", args={"line": 1})
    last = workspace.run("batch-submit")
    assert f"{names[2]}, which stands there, is parked" in last.stderr
    assert workspace.query("SELECT item_id FROM findable_parked") == [("3",)]
    assert workspace.run("batch-submit").stdout.startswith("nothing to submit")


@pytest.mark.full
def test_equal_refusals_of_lines_are_kept_in_equal_words(workspace: Workspace, api: Api, people: People) -> None:
    """Whichever batch and line they stood in, `status` counts those who were parked for one reason together."""
    people(6)
    for _ in range(2):
        for line in (4, 2):
            api.fault("bad_line", args={"line": line})
        assert workspace.run("batch-submit", "--limit", "6").exit_code == 0
        workspace.change("UPDATE findable_requests SET open = :no", no=False)
    assert workspace.query("SELECT count(*), count(DISTINCT reason) FROM findable_attempts") == [(4, 1)]
    parked = json.loads(workspace.run("status", "--json").stdout)["parked"]
    assert list(parked.values()) == [2], parked
    assert "findable-" not in str(parked)


@pytest.mark.sampled(0)
def test_batches_in_a_row_that_are_refused_alike_charge_nobody_further(
    workspace: Workspace, api: Api, people: People
) -> None:
    """The third time it is the question, and no item of it: exit 4, also in later runs, until a create is taken."""
    people(6)
    api.fault("bad_line", args={"line": 1}, times=4)
    for number in (3, 4):
        result = workspace.ran("batch-submit", code=4)
        assert "no such field: 'cachedContent'), so the question itself is wrong" in result.stderr
        assert (states(workspace), claimed(workspace)) == (["failed"] * number, [])
        assert workspace.query("SELECT item_id FROM findable_attempts ORDER BY id") == [("1",), ("2",)]
    assert workspace.run("batch-submit").exit_code == 0
    assert (states(workspace)[-1], len(claimed(workspace))) == ("submitted", 6)


@pytest.mark.sampled(0)
def test_items_that_others_were_taken_without_are_parked_however_many_they_are(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Three of five are refused, the others are taken; the next run asks those three alone, and parks each."""
    people(5)
    for line in (2, 3, 3):
        api.fault("bad_line", args={"line": line})
    assert workspace.run("batch-submit").exit_code == 0
    assert states(workspace) == ["failed", "failed", "failed", "submitted"]
    api.fault("bad_line", args={"line": 1}, times=3)
    workspace.ran("batch-submit")
    assert workspace.query("SELECT item_id FROM findable_parked ORDER BY item_id") == [("2",), ("4",), ("5",)]


def stand_still_in_create(ws: Any, meanwhile: Callable[[], None]) -> None:
    """Make this workspace's next create reach the API, and let others work before its answer is read here."""
    real = ws.client.create_batch

    def slow(*args: Any, **values: Any) -> Any:
        """Create, and stand still for longer than the lease."""
        made = real(*args, **values)
        ws.client.create_batch = real
        meanwhile()
        return made

    ws.client.create_batch = slow


def take_over(workspace: Workspace) -> None:
    """Be another process that finds the lease over and goes on."""
    alter(workspace, "DELETE FROM findable_leases")
    assert workspace.run("batch-submit", CREATE_TIMEOUT="0").exit_code == 0


@pytest.mark.parametrize("lag_s", [0, 3600])
def test_a_create_that_somebody_else_went_on_with_meanwhile_is_left_to_them(
    lag_s: int, workspace: Workspace, api: Api, people: People
) -> None:
    """A process that stood still in its create finds its batch adopted: nothing is cancelled or made twice.

    Where the other one could not see it and made its own, what comes back late is recorded and cancelled at once.
    """
    people(2)
    api.configure(paused=True)
    api.fault("list_lag", args={"seconds": lag_s})
    with workspace.open() as ws:
        stand_still_in_create(ws, lambda: take_over(workspace))
        [number] = prepare.prepare_batches(ws, prepare.Selection(), bar=_bar())
        assert create.send_batch(ws, number) is SendOutcome.ELSEWHERE
    made_twice = bool(lag_s)
    assert (states(workspace), creates(api)) == (["submitted"], 1 + made_twice)
    assert [one["name"] for one in remote(api)] == [batch_row(workspace)["remote_name"]]
    assert workspace.query("SELECT cancelled_at IS NOT NULL FROM findable_twins") == [(1,)] * made_twice


def _bar() -> Any:
    """Return progress that is not looked at."""
    return NullProgress().bar("", None).__enter__()
