"""Test that each batch has exactly one remote batch, and that no row is sent twice."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.creates import count_creates, fail_creates, living_batches, remote_names
from tests.acceptance.engine import CANCEL_PATH, MANY_TIMES, Engine
from tests.acceptance.product import PROVIDER, Workspace
from tests.scratch import wait_until

LIST_PATH = r"/batches\?"
Fault = tuple[str, dict[str, Any]]

# The batch was created, but the reply does not say so.
HIDDEN_SUCCESSES: Sequence[Fault] = (
    ("create_lost_reply_status", {"code": 503}),
    ("create_lost_reply_status", {"code": 504}),
    ("create_lost_reply_status", {"code": 408}),
    ("create_lost_reply_status", {"code": 409}),
    ("create_lost_reply_status", {"code": 499}),
    ("create_lost_reply", {}),
    ("create_slow_reply", {"seconds": 1.5}),
    ("no_name", {}),
    ("foreign_name", {}),
    ("success_code", {"code": 201}),
    ("success_code", {"code": 204}),
)
# No batch was created, but the reply does not say so.
HIDDEN_FAILURES: Sequence[Fault] = (
    ("status", {"code": 503}),
    ("status", {"code": 500}),
    ("status", {"code": 408}),
    ("drop", {}),
    ("reset", {}),
    ("hang", {}),
    ("empty_200", {}),
    ("html_200", {}),
    ("wrong_shape", {}),
    ("html_502", {}),
)


def count_uploads(api: Engine) -> int:
    """Return the number of uploads that were started."""
    started_count = api.count_calls("POST", "/upload/") - api.count_calls("POST", "upload_id=")
    return started_count + api.count_calls("POST", "/openai/v1/files")


@pytest.mark.promise("once")
def test_create_with_a_lost_reply_is_adopted(workspace: Workspace, api: Engine) -> None:
    """A batch that exists after an unclear reply is found by its name and not created again."""
    workspace.import_people(len(HIDDEN_SUCCESSES))
    for fault, args in HIDDEN_SUCCESSES:
        fail_creates(api, fault, args)

    assert "adopted" in workspace.run_command("submit", BATCH_ROWS=1, CREATE_TIMEOUT=1).stdout
    assert count_creates(api) == len(HIDDEN_SUCCESSES)
    assert remote_names(workspace) == living_batches(api)
    states = [(batch["state"], batch["tries"]) for batch in workspace.batches()]
    assert states == [("submitted", 1)] * len(HIDDEN_SUCCESSES)
    assert api.scripted_faults()["used_up"]


def test_a_batch_is_sent_only_to_its_address(
    workspace: Workspace, api: Engine, tmp_path: Path
) -> None:
    """The list of another address proves nothing about an unclear create, and gets no batch."""
    workspace.import_people(1)
    fail_creates(api, "create_lost_reply")
    api.script_fault("status", method="GET", path=LIST_PATH, args={"code": 503}, times=MANY_TIMES)
    workspace.run_command("submit", RETRY_FOR=0.1, code=4)
    api.clear_faults()
    with Engine(tmp_path / "other") as other:
        workspace.url = other.url
        assert "nothing was sent" in workspace.run_command("submit", code=3).stderr
        assert "nothing was sent" in workspace.run_command("cancel", 1, code=3).stderr
        assert count_creates(other) == 0

    workspace.url = api.url
    workspace.run_command("submit")
    assert (remote_names(workspace), count_creates(api)) == (living_batches(api), 1)


def test_create_without_effect_is_repeated(workspace: Workspace, api: Engine) -> None:
    """A batch that the list does not show is created again, with its upload and a new name."""
    count = len(HIDDEN_FAILURES)
    workspace.import_people(count)
    # Each fault applies to the nth create that no other fault changes.
    for nth, (fault, args) in enumerate(HIDDEN_FAILURES, 1):
        fail_creates(api, fault, args, nth=nth)

    workspace.run_command("submit", BATCH_ROWS=1, CREATE_TIMEOUT=1)
    assert count_creates(api) == 2 * count
    assert count_uploads(api) == count
    assert len(living_batches(api)) == count
    assert [batch["tries"] for batch in workspace.batches()] == [2] * count
    assert all(batch["displayName"].endswith("-t2") for batch in api.batches())


def test_unclear_create_ends_the_run_and_is_continued_later(
    workspace: Workspace, api: Engine
) -> None:
    """Three creates without an answer end the run with exit 4, and only `submit` creates again."""
    workspace.import_people(5)
    fail_creates(api, "status", {"code": 503}, times=3)
    assert (
        "next: run `askrows batch-submit` again later"
        in workspace.run_command("submit", code=4).stderr
    )
    assert workspace.batch_states() == ["submitting"]
    assert workspace.state_counts() == {"claimed": 5}
    assert count_creates(api) == 3

    assert "askrows batch-submit" in workspace.run_command("poll", code=4).stderr
    assert count_creates(api) == 3

    workspace.run_command("submit")
    assert workspace.batch_states() == ["submitted"]
    assert (len(living_batches(api)), count_creates(api)) == (1, 4)


@pytest.mark.promise("once")
def test_batch_on_a_later_page_of_the_list_is_found(workspace: Workspace, api: Engine) -> None:
    """All pages of the list are read before a batch is created again."""
    other_workspace = Workspace(workspace.home.with_name("others"), api.url)
    other_workspace.import_people(3)
    other_workspace.run_command("submit", BATCH_ROWS=1, limit=1)
    workspace.import_people(1)
    fail_creates(api, "create_lost_reply")
    api.script_fault("status", method="GET", path=LIST_PATH, args={"code": 503}, times=MANY_TIMES)
    workspace.run_command("submit", RETRY_FOR=0.1, code=4)
    api.clear_faults()

    # Other batches come before and after it, each on a page of its own.
    api.configure(list_page_most=1)
    own_batch = living_batches(api)[1]
    other_workspace.run_command("submit", BATCH_ROWS=1)
    workspace.run_command("submit")
    assert (remote_names(workspace), count_creates(api)) == ([own_batch], 4)


@pytest.mark.promise("once")
def test_batch_that_the_list_shows_late_is_awaited(workspace: Workspace, api: Engine) -> None:
    """A batch that the list shows late is awaited and not created again.

    The wait can be interrupted.
    """
    workspace.import_people(2)
    fail_creates(api, "create_lost_reply")
    api.configure(list_lag_seconds=3600)
    with workspace.start_command("submit", LIST_LAG=600) as running:
        wait_until(lambda: "checking again in" in running.read_output(), running.read_output)
        workspace.write_file("late.csv", "Username,Bio\nlate,I came in meanwhile.\n")
        workspace.run_command("import", "late.csv")
        running.signal(signal.SIGINT)
        assert running.wait().code == 130
    assert (workspace.batch_states(), count_creates(api)) == (["submitting"], 1)

    # The second create is for the person who was imported during the wait.
    with workspace.start_command("submit", LIST_LAG=5) as running:
        api.advance_clock(7200)
        assert running.wait().code == 0
    assert count_creates(api) == 2
    assert remote_names(workspace) == living_batches(api)


@pytest.mark.excused("batches_are_made_once")
def test_oldest_of_several_batches_is_adopted_and_others_are_cancelled(
    workspace: Workspace, api: Engine
) -> None:
    """The oldest duplicate batch is adopted, and `poll` cancels the other as soon as it can."""
    workspace.import_people(5)
    api.configure(paused=True)
    api.script_fault("duplicate_batch")
    fail_creates(api, "lost_reply")
    api.script_fault("status", times=50, path=CANCEL_PATH, method="POST")
    workspace.run_command("submit", RETRY_FOR=0.1)

    oldest, newest = living_batches(api)
    # OpenAI's times are whole seconds. Of two batches of a second, each may count as the oldest.
    if PROVIDER == "openai" and remote_names(workspace) == [newest]:
        oldest, newest = newest, oldest
    assert remote_names(workspace) == [oldest]
    estimated_cost = workspace.batches()[0]["estimated_cost"]
    assert workspace.spending()["lost"] == pytest.approx(estimated_cost, abs=1e-6)

    api.clear_faults()
    assert workspace.try_command("poll", WAIT=0).code in {0, 4}
    assert living_batches(api) == [oldest] != [newest]


# Each refusal: the fault and its arguments, the exit code, and whether the upload is used again.
REFUSALS: Sequence[tuple[str, dict[str, Any], int, bool]] = (
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


@pytest.mark.promise("refusals")
def test_refused_create_leaves_the_batch_prepared(workspace: Workspace, api: Engine) -> None:
    """A refused create leaves the batch prepared, and the next run sends the same file."""
    workspace.import_people(5)
    upload_count = 0
    is_uploaded = False
    for number, (fault, args, code, keeps_upload) in enumerate(REFUSALS, 1):
        fail_creates(api, fault, args)
        assert "next: " in workspace.run_command("submit", code=code).stderr
        upload_count += not is_uploaded
        is_uploaded = keeps_upload
        assert count_creates(api) == number, fault
        assert count_uploads(api) == upload_count, fault
        assert api.batches() == [], fault
    assert (workspace.batch_states(), workspace.state_counts()) == (["prepared"], {"claimed": 5})

    # The upload before the last two failures is used again.
    fail_creates(api, "quota_bare")
    workspace.run_command("submit", code=4)
    assert count_uploads(api) == upload_count + 1
    api.kill()
    workspace.run_command("submit", RETRY_FOR=0.05, code=4)
    api.start()
    workspace.run_command("submit")
    assert workspace.batch_states() == ["submitted"]
    assert count_uploads(api) == 0

    workspace.run_commands("poll", "ingest")
    assert workspace.state_counts() == {"tagged": 5}


def test_file_that_is_refused_twice_is_given_up(workspace: Workspace, api: Engine) -> None:
    """A second 400 fails the batch, releases its rows without a charge and deletes uploads."""
    workspace.import_people(5)
    error = {"code": 400, "message": "Request contains an invalid argument."}
    fail_creates(api, "status", error, times=4)
    for failed_batches in range(2):
        workspace.run_command("submit", code=4)
        assert workspace.batch_states() == ["failed"] * failed_batches + ["prepared"]
        assert "given up" in workspace.run_command("submit", code=4).stderr
        assert workspace.state_counts() == {"open": 5}
    assert "invalid argument" in workspace.batches()[0]["reason"]
    assert api.count_calls("DELETE", "/files/") == 4

    workspace.run_command("submit")
    assert workspace.batch_states() == ["failed", "failed", "submitted"]


def test_refused_line_is_charged_and_other_rows_are_sent_at_once(
    workspace: Workspace, api: Engine
) -> None:
    """A refused line charges its own row, and the same run sends the other rows.

    A second refusal parks the row. A refusal of a line that does not exist charges no row.
    """
    names = workspace.import_people(5)
    api.script_fault("bad_line", args={"line": 3})
    error_output = workspace.run_command("submit", limit=4).stderr
    message = "line 3 was refused: invalid JSON, near column 42: no such field: 'cachedContent'"
    assert f"{message}; its row, {names[2]}, " in error_output
    keys = [request["key"] for request in workspace.sealed_requests(2)]
    assert keys == ["experts/1", "experts/2", "experts/4"]

    api.script_fault("bad_line", args={"line": 99})
    workspace.run_command("submit", code=4)
    assert workspace.batch_states() == ["failed", "submitted", "prepared"]

    api.script_fault("bad_line", args={"line": 1})
    assert f"its row, {names[2]}, is parked" in workspace.run_command("submit").stderr
    assert [*workspace.parked_reasons()] == [names[2]]
    assert workspace.run_command("submit").stdout.startswith("nothing to submit")


@pytest.mark.excused("batches_are_made_once")
def test_duplicate_batch_that_shows_after_ingest_is_counted(
    workspace: Workspace, api: Engine
) -> None:
    """A duplicate batch that the list shows after the ingest counts as lost cost."""
    workspace.import_people(2)
    fail_creates(api, "create_lost_reply")
    api.script_fault("list_lag", args={"seconds": 600})
    workspace.run_commands("submit", "poll", "ingest", "poll")
    assert (workspace.state_counts(), workspace.spending()["lost"]) == ({"tagged": 2}, 0)

    api.advance_clock(601)
    workspace.run_command("poll")
    assert workspace.spending()["lost"] > 0
    workspace.run_command("doctor")


@pytest.mark.excused("batches_are_made_once")
def test_duplicate_batch_that_shows_late_is_cancelled_and_counted(
    workspace: Workspace, api: Engine
) -> None:
    """A late duplicate batch is cancelled by the next `poll`, and its cost counts as lost.

    This also applies to a batch that was given up by hand before the list showed it.
    """
    workspace.import_people(2)
    api.configure(batch_looks=2)
    fail_creates(api, "create_lost_reply")
    api.script_fault("list_lag", args={"seconds": 600})
    workspace.run_command("submit")
    assert (len(living_batches(api)), workspace.spending()["lost"]) == (2, 0)

    api.advance_clock(601)
    workspace.run_command("poll")
    assert living_batches(api) == remote_names(workspace)
    assert workspace.spending()["lost"] > 0
    workspace.run_command("ingest")

    # The second batch is given up while the list is unavailable.
    workspace.import_people(1, first=2)
    fail_creates(api, "create_lost_reply")
    api.script_fault("never_ends")
    api.script_fault("list_lag", args={"seconds": 600})
    api.script_fault("status", times=MANY_TIMES, method="GET", path=LIST_PATH)
    workspace.run_command("submit", RETRY_FOR=0.05, code=4)
    api.clear_faults()
    workspace.run_command("cancel", 2)
    assert workspace.batch_states() == ["ingested", "failed"]

    api.advance_clock(601)
    workspace.run_command("poll")
    assert living_batches(api) == remote_names(workspace)[:1]
    assert workspace.state_counts() == {"tagged": 2, "open": 1}
