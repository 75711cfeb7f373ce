"""However a create call ends, there is one living remote batch for each batch, and nobody is asked twice."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
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
    crowd,
    moves,
    remote,
    requests_of,
    seconds,
    states,
    tries,
    uploads,
)
from tests.lab import Api, Workspace
from tests.progress import NullProgress

People = Callable[..., list[str]]

WORKED: dict[str, tuple[str, dict[str, Any]]] = {  # the batch was made, and the caller was not told
    "503": ("create_lost_reply_status", {}),
    "504": ("create_lost_reply_status", {"code": 504}),
    "408": ("create_lost_reply_status", {"code": 408}),
    "409": ("create_lost_reply_status", {"code": 409}),
    "499": ("create_lost_reply_status", {"code": 499}),
    "cut": ("create_lost_reply", {}),
    "too late": ("create_slow_reply", {"seconds": 0.6}),
    "no name": ("no_name", {}),
    "another batch's name": ("foreign_name", {}),
    "created, says 201": ("success_code", {"code": 201}),
    "created, says 204": ("success_code", {"code": 204}),
}

DID_NOT: dict[str, tuple[str, dict[str, Any]]] = {  # nothing was made, and the caller was not told
    "503": ("status", {"code": 503}),
    "500": ("status", {"code": 500}),
    "408": ("status", {"code": 408}),
    "dropped": ("drop", {}),
    "reset": ("reset", {}),
    "hung": ("hang", {}),
    "empty 200": ("empty_200", {}),
    "a page": ("html_200", {}),
    "another shape": ("wrong_shape", {}),
    "HTML as JSON": ("html_as_json", {}),
    "a proxy's 502": ("html_502", {}),
}


def fault_on_create(api: Api, word: str, args: dict[str, Any], **more: Any) -> None:
    """Script a fault for create calls."""
    api.fault(word, method="POST", path=CREATE, args=args, **more)


@pytest.mark.parametrize("case", WORKED)
def test_a_create_that_worked_unseen_is_adopted(case: str, workspace: Workspace, api: Api, people: People) -> None:
    """Whatever the caller was told, the batch that exists is found by its name, and create is not called again."""
    people(5)
    word, args = WORKED[case]
    fault_on_create(api, word, args)
    result = workspace.ran("batch-submit", CREATE_TIMEOUT="0.4")
    assert "adopted" in result.stdout
    assert creates(api) == 1
    [one] = remote(api)
    row = batch_row(workspace)
    assert (row["state"], row["remote_name"], row["tries"]) == ("submitted", one["name"], 1)
    assert tries(workspace) == ["adopted"]
    assert len(claimed(workspace)) == 5
    assert api.faults()["used_up"]


@pytest.mark.parametrize("case", DID_NOT)
def test_a_create_that_did_nothing_is_called_again(case: str, workspace: Workspace, api: Api, people: People) -> None:
    """Only when the list shows nothing is create called again, with the same upload and another display name."""
    people(5)
    word, args = DID_NOT[case]
    fault_on_create(api, word, args)
    workspace.ran("batch-submit", CREATE_TIMEOUT="0.4")
    assert creates(api) == 2
    assert uploads(api) == 1
    assert len(remote(api)) == 1
    assert tries(workspace) == ["absent", "created"]
    names = [row[0] for row in workspace.query('SELECT display_name FROM findable_tries ORDER BY "try"')]
    assert names[0].endswith("-t1")
    assert names[1] == names[0].removesuffix("-t1") + "-t2"
    assert moves(workspace) == [
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


def test_a_name_that_is_late_in_the_list_is_waited_for(workspace: Workspace, api: Api, people: People) -> None:
    """A batch that the list shows only after a while is found, not made again, as long as LIST_LAG covers the while."""
    people(5)
    fault_on_create(api, "create_lost_reply", {})
    api.configure(list_lag_seconds=1.0)
    result = workspace.ran("batch-submit", LIST_LAG="1.5")
    assert "looking again in" in result.stderr
    assert (creates(api), len(remote(api))) == (1, 1)
    assert batch_row(workspace)["remote_name"] == remote(api)[0]["name"]
    assert len(api.seen("GET", "/batches?")) >= 2


def test_the_look_that_decides_begins_after_the_lag(workspace: Workspace, api: Api, people: People) -> None:
    """Where nothing was made, create waits for LIST_LAG from the end of the call that stayed unclear."""
    people(2)
    fault_on_create(api, "status", {"code": 503})
    assert workspace.run("batch-submit", LIST_LAG="0.7").exit_code == 0
    sent = workspace.query(f'SELECT {seconds("sent_at")} FROM findable_tries ORDER BY "try"')  # noqa: S608 - ours
    assert float(sent[1][0]) - float(sent[0][0]) >= 0.7
    assert len(remote(api)) == 1


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
        [number] = prepare.prepare_batches(ws, prepare.Selection(), bar=NullProgress().bar("", None).__enter__())
        with pytest.raises(KeyboardInterrupt):
            create.send_batch(ws, number)
    assert (states(workspace), creates(api)) == (["submitting"], 1)
    api.advance(7200)
    assert workspace.run("batch-submit").exit_code == 0
    assert (states(workspace), creates(api), len(remote(api))) == (["submitted"], 1, 1)


def test_a_run_that_died_during_create_counts_the_lag_from_sending_plus_time_out(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Nobody saw the end of the call: the name is looked for until its time-out and the lag are over."""
    people(2)
    fault_on_create(api, "status", {"code": 503}, times=3)
    workspace.run("batch-submit")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    alter(workspace, f"UPDATE findable_batches SET create_sent_at = '{now}', create_ended_at = NULL")  # noqa: S608 - ours
    when = f"SELECT {seconds('create_sent_at')} FROM findable_batches"  # noqa: S608 - ours
    died_at = workspace.scalar(when)
    workspace.ran("batch-submit", CREATE_TIMEOUT="0.8", LIST_LAG="0.4")
    assert float(workspace.scalar(when)) - float(died_at) >= 1.2
    assert len(remote(api)) == 1


def test_every_page_of_the_list_is_read(workspace: Workspace, api: Api, people: People) -> None:
    """An empty page in the middle and a 503 on the page after it do not hide the batch that is looked for."""
    people(5)
    fault_on_create(api, "create_lost_reply", {})
    assert workspace.run("batch-submit").exit_code == 0
    [lost] = remote(api)
    alter(
        workspace,
        "UPDATE findable_batches SET state = 'submitting', remote_name = NULL, submitted_at = NULL",
        "UPDATE findable_tries SET outcome = 'unclear'",
    )
    crowd(api, 101)
    api.clear_faults()
    api.fault("empty_page")
    api.fault("page_status", nth=2)
    workspace.ran("batch-submit")
    assert batch_row(workspace)["remote_name"] == lost["name"]
    assert api.faults()["used_up"]
    assert creates(api) == 1 + 101


def test_of_several_batches_the_oldest_is_adopted_and_the_others_are_cancelled(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A create that made two batches leaves one alive: the oldest; the twin is cancelled and recorded with its cost."""
    people(5)
    api.configure(paused=True)
    api.fault("duplicate_batch")
    fault_on_create(api, "lost_reply", {})
    workspace.ran("batch-submit")
    first, second = remote(api, alive=False)
    assert batch_row(workspace)["remote_name"] == first["name"]
    assert second["state"].endswith("CANCELLED")
    [(name, cost, cancelled_at)] = workspace.query(
        "SELECT remote_name, estimated_cost, cancelled_at FROM findable_twins"
    )
    assert name == second["name"]
    assert cost == pytest.approx(batch_row(workspace)["estimated_cost"])
    assert cancelled_at is not None


def test_a_twin_that_cannot_be_cancelled_now_is_cancelled_by_a_later_look(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A twin is known from the moment of the adoption, so that nothing can make it forgotten."""
    people(5)
    api.configure(paused=True)
    api.fault("duplicate_batch")
    fault_on_create(api, "lost_reply", {})
    api.fault("status", times=50, path=":cancel$", method="POST")
    assert workspace.run("batch-submit", RETRY_FOR="0.1").exit_code == 0
    assert workspace.query("SELECT cancelled_at FROM findable_twins") == [(None,)]
    api.clear_faults()
    assert workspace.run("batch-poll", WAIT="0").exit_code in {0, 4}
    assert [one["state"] for one in remote(api, alive=False)][1].endswith("CANCELLED")
    assert workspace.query("SELECT count(*) FROM findable_twins WHERE cancelled_at IS NULL") == [(0,)]


def test_an_old_try_that_turns_up_late_is_cancelled_as_a_twin(workspace: Workspace, api: Api, people: People) -> None:
    """A batch that the list showed later than LIST_LAG promised costs nothing more once `batch-poll` has looked."""
    people(5)
    api.configure(paused=True)
    api.fault("list_lag", args={"seconds": 3600})
    fault_on_create(api, "create_lost_reply", {})
    assert workspace.run("batch-submit").exit_code == 0
    assert len(remote(api)) == 2
    api.advance(7200)
    workspace.run("batch-poll", WAIT="0")
    [alive] = remote(api)
    assert alive["name"] == batch_row(workspace)["remote_name"]
    assert workspace.scalar("SELECT count(*) FROM findable_twins WHERE cancelled_at IS NOT NULL") == 1


REFUSED: dict[str, tuple[str, dict[str, Any], int, bool]] = {  # word, args, exit code, upload kept
    "429 by the minute": ("quota_minute", {}, 4, True),
    "429 by the day": ("quota_day", {}, 4, True),
    "429 with a help link only": ("quota_batch", {}, 4, True),
    "429 bare": ("quota_bare", {}, 4, True),
    "400 key": ("key_invalid", {}, 3, False),
    "401": ("status", {"code": 401}, 3, False),
    "403": ("status", {"code": 403}, 3, False),
    "404": ("status", {"code": 404}, 3, False),
    "400": ("status", {"code": 400}, 4, False),
    "413": ("status", {"code": 413}, 4, False),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_clear_refusal_leaves_the_batch_prepared(case: str, workspace: Workspace, api: Api, people: People) -> None:
    """One create, no batch, claims kept, nobody charged; the next run sends the same file."""
    people(5)
    word, args, code, keeps = REFUSED[case]
    fault_on_create(api, word, args)
    result = workspace.ran("batch-submit", code=code)
    assert "next: " in result.stderr
    row = batch_row(workspace)
    assert (row["state"], creates(api), len(remote(api))) == ("prepared", 1, 0)
    assert (row["upload"] is not None) is keeps
    assert (len(claimed(workspace)), workspace.scalar("SELECT count(*) FROM findable_attempts")) == (5, 0)
    assert workspace.run("batch-submit").exit_code == 0
    assert uploads(api) == (1 if keeps else 2)
    assert (states(workspace), len(remote(api))) == (["submitted"], 1)
    assert batch_row(workspace)["request_sha256"] == row["request_sha256"]


def test_a_server_that_goes_away_before_create_leaves_the_batch_prepared_and_its_upload_kept(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A refused connection is certain: nothing was sent, so the batch goes back and the upload stays good."""
    people(5)
    fault_on_create(api, "quota_bare", {})
    workspace.run("batch-submit")
    upload = batch_row(workspace)["upload"]
    address = workspace.environ["GOOGLE_GEMINI_BASE_URL"]
    workspace.environ["GOOGLE_GEMINI_BASE_URL"] = "http://127.0.0.1:9"
    assert workspace.run("batch-submit", RETRY_FOR="0.05").exit_code == 4
    row = batch_row(workspace)
    assert (row["state"], row["upload"], tries(workspace)) == ("prepared", upload, ["refused", "not sent"])
    workspace.environ["GOOGLE_GEMINI_BASE_URL"] = address
    assert workspace.run("batch-submit").exit_code == 0
    assert (uploads(api), len(remote(api))) == (1, 1)


def test_a_file_refused_twice_is_given_up(workspace: Workspace, api: Api, people: People) -> None:
    """The second 400 ends the batch as failed with its reason and lets its items go, uncharged; exit 4."""
    people(5)
    fault_on_create(api, "status", {"code": 400, "message": "Request contains an invalid argument."}, times=2)
    assert workspace.run("batch-submit").exit_code == 4
    result = workspace.ran("batch-submit", code=4)
    assert "given up" in result.stderr
    row = batch_row(workspace)
    assert (row["state"], row["refusals"], claimed(workspace)) == ("failed", 2, [])
    assert "invalid argument" in row["reason"]
    assert workspace.scalar("SELECT count(*) FROM findable_attempts") == 0
    assert workspace.run("batch-submit").exit_code == 0
    assert states(workspace) == ["failed", "submitted"]
    assert len(api.seen("DELETE", "/files/")) == 2


def test_what_a_refusal_comes_to_is_settled_before_the_upload_is_deleted(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the time a deletion takes, a batch that still seemed prepared could be sent by somebody else, or cancelled."""
    people(5)
    fault_on_create(api, "status", {"code": 400, "message": "Request contains an invalid argument."}, times=2)
    assert workspace.run("batch-submit").exit_code == 4
    found, real = [], batch_uploads.drop_upload

    def dropping(*arguments: Any) -> None:
        """Look at the batch, and cancel it, at the moment at which the upload goes."""
        found.append((states(workspace), claimed(workspace), workspace.run("batch-cancel", "1", "--yes").exit_code))
        real(*arguments)

    monkeypatch.setattr(create, "drop_upload", dropping)
    result = workspace.run("batch-submit")
    assert found == [(["failed"], [], 2)]
    assert result.exit_code == 4, result.output
    assert len(api.seen("DELETE", "/files/")) == 2


def test_a_refused_line_is_charged_and_the_rest_goes_out_in_the_same_run(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A refusal of line 3 costs the third item one attempt; the others stand in a new batch without it."""
    people(5)
    api.fault("bad_line", args={"line": 3})
    workspace.ran("batch-submit")
    assert states(workspace) == ["failed", "submitted"]
    third = requests_of(workspace, 1)[2]["key"].partition("/")[2]
    assert workspace.query("SELECT item_id, charged, outcome FROM findable_attempts") == [(third, 1, "refused")]
    assert claimed(workspace) == [one for one in ["1", "2", "3", "4", "5"] if one != third]
    assert len(remote(api)) == 1
    assert remote(api)[0]["requests"] == 4


def test_an_item_whose_line_is_refused_twice_is_parked(workspace: Workspace, api: Api, people: People) -> None:
    """It is asked once more by the next run, and then not again until a person says so."""
    people(3)
    api.fault("bad_line", args={"line": 3})
    assert workspace.run("batch-submit").exit_code == 0
    api.fault("bad_line", args={"line": 1})
    workspace.ran("batch-submit")
    assert states(workspace) == ["failed", "submitted", "failed"]
    assert workspace.query("SELECT item_id FROM findable_parked") == [("3",)]
    assert workspace.run("batch-submit").stdout.startswith("nothing to submit")


def test_a_refused_line_that_does_not_exist_counts_as_a_refused_file(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Nobody is charged for a line number that is not in the file."""
    people(2)
    api.fault("bad_line", args={"line": 99})
    assert workspace.run("batch-submit").exit_code == 4
    assert (states(workspace), workspace.scalar("SELECT count(*) FROM findable_attempts")) == (["prepared"], 0)


def test_a_refused_line_under_a_limit_still_sends_the_rest_and_no_more(
    workspace: Workspace, api: Api, people: People
) -> None:
    """LIMIT counts new people: the rest of a batch that was announced goes out, and nobody beyond it."""
    people(10)
    api.fault("bad_line", args={"line": 1})
    assert workspace.run("batch-submit", "--limit", "4").exit_code == 0
    assert claimed(workspace) == ["2", "3", "4"]


def test_a_refused_line_is_told_with_who_stands_there_and_why(workspace: Workspace, api: Api, people: People) -> None:
    """By name and in the API's words; where nobody was sent after all, there is nothing to poll."""
    names = people(1)
    api.fault("bad_line", args={"line": 1})
    result = workspace.run("batch-submit")
    assert (result.exit_code, result.stdout.rpartition("Next: ")[2]) == (0, "make status\n"), result.output
    assert f"line 1 was refused: invalid JSON, near column 42: no such field: 'cachedContent'; {names[0]}, " in (
        result.stderr
    )
    assert "asked once more by a later run" in result.stderr
    api.fault("bad_line", args={"line": 1})
    assert f"{names[0]}, which stands there, is parked\n" in workspace.run("batch-submit").stderr


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


def test_batches_in_a_row_that_are_refused_alike_charge_nobody_further(
    workspace: Workspace, api: Api, people: People
) -> None:
    """The third time it is the question, and no item of it: exit 4, also in later runs, until a create is taken."""
    people(6)
    api.fault("bad_line", args={"line": 1}, times=4)
    for number in (3, 4):
        result = workspace.ran("batch-submit", code=4)
        assert "no such field: 'cachedContent'), so the question itself must be wrong" in result.stderr
        assert (states(workspace), claimed(workspace)) == (["failed"] * number, [])
        assert workspace.query("SELECT item_id FROM findable_attempts ORDER BY id") == [("1",), ("2",)]
    assert workspace.run("batch-submit").exit_code == 0
    assert (states(workspace)[-1], len(claimed(workspace))) == ("submitted", 6)


def test_lines_that_differ_are_no_fault_of_the_question(workspace: Workspace, api: Api, people: People) -> None:
    """Three items with one fault in a file: what stands before them was read and found good, so they alone pay."""
    people(8)
    for line in (2, 4, 5):
        api.fault("bad_line", args={"line": line})
    assert workspace.run("batch-submit").exit_code == 0
    assert states(workspace) == ["failed", "failed", "failed", "submitted"]
    assert len(claimed(workspace)) == 5


def test_items_that_others_were_taken_without_are_parked_however_many_they_are(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Three of five are refused, the others are taken; the next run asks those three alone, and parks each."""
    people(5)
    for line in (2, 3, 3):
        api.fault("bad_line", args={"line": line})
    assert workspace.run("batch-submit").exit_code == 0
    api.fault("bad_line", args={"line": 1}, times=3)
    workspace.ran("batch-submit")
    assert workspace.query("SELECT item_id FROM findable_parked ORDER BY item_id") == [("2",), ("4",), ("5",)]


def test_a_batch_left_unclear_by_a_dead_run_is_adopted_before_anything_new_is_sent(
    workspace: Workspace, api: Api, people: People
) -> None:
    """The intent was committed before the call, so the next run finds the batch that the dead one made."""
    people(4)
    fault_on_create(api, "create_lost_reply", {})
    api.fault("status", times=50, method="GET", path=r"/batches\?", args={"code": 503})
    workspace.ran("batch-submit", "--limit", "2", RETRY_FOR="0.1", code=4)
    assert states(workspace) == ["submitting"]
    api.clear_faults()
    workspace.ran("batch-submit")
    assert states(workspace) == ["submitted", "submitted"]
    assert (creates(api), len(remote(api))) == (2, 2)
    assert claimed(workspace) == ["1", "2", "3", "4"]


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


def test_a_create_that_somebody_else_adopted_meanwhile_is_left_to_them(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A process that stood still in its create finds its batch adopted: nothing is cancelled or made twice."""
    people(2)
    api.configure(paused=True)
    with workspace.open() as ws:
        stand_still_in_create(ws, lambda: take_over(workspace))
        [number] = prepare.prepare_batches(ws, prepare.Selection(), bar=NullProgress().bar("", None).__enter__())
        assert create.send_batch(ws, number) is SendOutcome.ELSEWHERE
    assert (states(workspace), creates(api), len(remote(api))) == (["submitted"], 1, 1)
    assert workspace.query("SELECT * FROM findable_twins") == []


def test_a_create_that_somebody_else_replaced_meanwhile_is_cancelled_as_a_twin(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Where the other one could not see it and made its own, what comes back late is recorded and cancelled at once."""
    people(2)
    api.configure(paused=True)
    api.fault("list_lag", args={"seconds": 3600})
    with workspace.open() as ws:
        stand_still_in_create(ws, lambda: take_over(workspace))
        [number] = prepare.prepare_batches(ws, prepare.Selection(), bar=NullProgress().bar("", None).__enter__())
        assert create.send_batch(ws, number) is SendOutcome.ELSEWHERE
    assert (states(workspace), creates(api)) == (["submitted"], 2)
    assert [one["name"] for one in remote(api)] == [batch_row(workspace)["remote_name"]]
    assert workspace.scalar("SELECT count(*) FROM findable_twins WHERE cancelled_at IS NOT NULL") == 1
