"""`tag-live` on bad days: what the service does wrong is charged to none, loses none, and ends the run in order."""

import time

import pytest

from pipeline.cost.budget import BudgetError
from pipeline.live import tag
from tests import ledger
from tests.integration.live.asking import LIVE, ONE_BY_ONE, People, attempts, ends, says, tagged
from tests.lab import ON_POSTGRESQL, Api, Workspace
from tests.ledger import COUNTED

pytestmark = pytest.mark.sampled(4)


@pytest.fixture(autouse=True)
def _patient(workspace: Workspace) -> None:
    """Take no call for lost because the machine is busy."""
    workspace.environ["FINDABLE_CALL_TIMEOUT"] = "60"


def test_what_the_service_fails_twice_is_recorded_and_the_run_goes_on(
    workspace: Workspace, api: Api, people: People
) -> None:
    """One attempt that is charged to no person; the person is left for the next run, which asks them."""
    people(2)
    api.fault("status", path=LIVE, nth=2, times=2, args={"code": 503})
    document = tagged(workspace, **ONE_BY_ONE)
    assert ends(workspace) == [("1", "answered"), ("2", "lost"), ("2", "lost")]
    assert [(item, charged) for item, charged, _ in attempts(workspace)] == [("2", False)]
    assert (document["answered"], sum(document["failed"].values())) == (1, 1)
    assert document["samples"][0]["username"] == "person-0001"
    assert ledger.people(workspace) == {"total": 2, "tagged": 1, "untagged": 1}
    assert tagged(workspace)["answered"] == 1
    ledger.check(workspace)


def test_a_day_that_is_over_at_the_server_ends_the_run(workspace: Workspace, api: Api, people: People) -> None:
    """Exit code 4 with the time of the reset; who was answered stays, and no other person is touched."""
    people(9)
    api.fault("quota_day", nth=2, times=10_000, path=LIVE)
    result = workspace.ran("tag-live", **ONE_BY_ONE, code=4)
    assert "UTC" in result.stderr
    assert "1 tagged, 8 left" in result.stdout
    assert [how for _, how in ends(workspace)][:2] == ["answered", "throttled"]
    assert attempts(workspace) == []
    assert workspace.scalar(COUNTED) == 1
    assert ledger.people(workspace) == {"total": 9, "tagged": 1, "untagged": 8}


def test_the_days_requests_are_not_passed(workspace: Workspace, api: Api, people: People) -> None:
    """Our own count ends the run before the server has to: a warning at four fifths, the reset, exit code 4."""
    people(8)
    result = workspace.ran("tag-live", RPD="5", code=4)
    assert "of today's 5 requests" in result.stderr
    assert "the 5 requests a day of gemini-3.5-flash-lite are used up; nothing was lost" in result.stderr
    assert "UTC" in result.stderr
    assert len(api.seen("POST", LIVE)) == 5
    assert ledger.people(workspace) == {"total": 8, "tagged": 5, "untagged": 3}
    again = workspace.run("tag-live", RPD="5")
    assert (again.exit_code, len(api.seen("POST", LIVE))) == (4, 5)
    assert workspace.run("tag-live", RPD="8").exit_code == 0


def test_what_was_refused_for_a_quota_is_not_counted_for_the_day(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A 429 with RetryInfo is neither counted nor charged, and made again: a day of four requests has four answers."""
    people(4)
    api.fault("quota_minute", times=2, path=LIVE, args={"delay": "0.01s"})
    document = tagged(workspace, RPD="4", **ONE_BY_ONE)
    assert [how for _, how in ends(workspace)] == ["throttled"] * 2 + ["answered"] * 4
    assert (document["throttled"], document["answered"], attempts(workspace)) == (2, 4, [])
    assert workspace.scalar(COUNTED) == 4


def test_no_key_at_all_is_said_before_anything_is_written(workspace: Workspace, people: People) -> None:
    """Exit code 3, and no run is recorded."""
    people(1)
    del workspace.environ["GEMINI_API_KEY"]
    assert workspace.run("tag-live", BACKEND="gemini").exit_code == 3
    assert workspace.scalar("SELECT count(*) FROM findable_runs") == 0


FROZEN = "CREATE TRIGGER theirs BEFORE UPDATE OF tags ON experts {}"
RAISING = (
    "CREATE FUNCTION freeze() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''this row is frozen''; END'"
)
ON_EACH = "FOR EACH ROW WHEN (old.id = 1) EXECUTE FUNCTION freeze()"
REFUSING = {  # how the table refuses the tags of the first person, as another program's rules do
    "a trigger": [RAISING, FROZEN.format(ON_EACH)]
    if ON_POSTGRESQL
    else [FROZEN.format("WHEN old.id = 1 BEGIN SELECT RAISE(ABORT, 'this row is frozen'); END")],
    "too narrow a column": ["ALTER TABLE experts ALTER tags TYPE VARCHAR(5)"],
}
WRONG = {"code": 400, "message": "Request contains an invalid argument."}


def test_a_request_that_is_refused_for_everybody_stops_after_three(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Where nothing was ever answered, the request itself must be wrong: exit code 4, and no person is charged."""
    people(20)
    api.fault("status", times=10_000, path=LIVE, args=WRONG)
    result = workspace.ran("tag-live", **ONE_BY_ONE, code=4)
    assert "invalid argument" in result.stderr
    assert len(api.seen("POST", LIVE)) == 3
    assert not any(charged for _, charged, _ in attempts(workspace))
    assert ledger.people(workspace) == {"total": 20, "untagged": 20}


def test_the_only_one_who_is_refused_is_asked_twice_and_left(workspace: Workspace, api: Api, people: People) -> None:
    """Nothing tells whose fault it is: recorded, charged to no person, and the run ends well."""
    people(1)
    api.fault("status", times=10_000, path=LIVE, args=WRONG)
    document = tagged(workspace)
    assert (document["calls"], sum(document["failed"].values()), document["left"]) == (2, 1, 0)
    assert [charged for _, charged, _ in attempts(workspace)] == [False, False]
    assert ledger.people(workspace) == {"total": 1, "untagged": 1}


@pytest.mark.full
def test_a_budget_without_room_is_waited_for_and_not_asked_about_again_and_again(
    workspace: Workspace, api: Api, people: People
) -> None:
    """While a call is under way whose end may free some of it, the run does nothing."""
    people(3)
    api.configure(latencies={LIVE: {"kind": "constant", "seconds": 1}})
    looks = 0
    workspace.environ["FINDABLE_BUDGET_PER_DAY"] = "0.0002"
    with workspace.open() as ws:

        def monotonic() -> float:
            """Count how often the clock is looked at."""
            nonlocal looks
            looks += 1
            return time.monotonic()

        ws.monotonic = monotonic
        report = tag.run(ws, limit=None)
    assert isinstance(report.asked.stopped, BudgetError)
    assert report.asked.answered == 1
    assert looks < 100


def test_who_is_larger_than_a_whole_minute_is_left_and_the_rest_is_asked(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Any number of them in a row: each is told, no person is charged, and those between them are tagged."""
    people(6)
    for name in ("person-0000", "person-0001", "person-0003", "person-0004", "person-0005"):
        workspace.change("UPDATE experts SET bio = :bio WHERE username = :name", bio="Keeps bees. " * 1000, name=name)
    document = tagged(workspace, TPM="1000", **ONE_BY_ONE)
    assert (document["answered"], sum(document["failed"].values()), document["left"]) == (1, 5, 0)
    assert "can never start under a limit of 1000 tokens" in document["samples"][0]["reason"]
    assert attempts(workspace) == []
    assert len(api.seen("POST", LIVE)) == 1
    assert ledger.people(workspace) == {"total": 6, "tagged": 1, "untagged": 5}


@pytest.mark.parametrize("how", ["a trigger", "too narrow a column"] if ON_POSTGRESQL else ["a trigger"])
def test_an_answer_that_the_table_refuses_is_paid_for_once(workspace: Workspace, people: People, how: str) -> None:
    """The person is parked with what the database says, and no other is held up; what the call cost is known."""
    people(3)
    for statement in REFUSING[how]:
        workspace.change(statement)
    for _ in range(2):
        workspace.ran("tag-live", **ONE_BY_ONE)
        calls = workspace.query("SELECT item_id, outcome, tokens_in > 0, tokens_out > 0, cost > 0 FROM findable_calls")
        assert sorted(calls) == [(key, "answered", True, True, True) for key in "123"]
    assert workspace.scalar("SELECT count(*) FROM findable_asks WHERE state = 'claimed'") == 0
    counts = {"parked": 1, "tagged": 2} if how == "a trigger" else {"parked": 3}
    assert ledger.people(workspace) == {"total": 3, **counts}
    assert "the table experts of this database refuses a row: " in workspace.ran("parked").stdout
    assert workspace.run("doctor").exit_code == 0


@pytest.mark.sqlite_only("where alone a trigger can end the whole transaction")
def test_an_answer_that_could_not_be_kept_is_counted_as_paid(workspace: Workspace, people: People) -> None:
    """Exit code 3 and no word that nothing was changed; what the call used is known, and no other person is held up."""
    people(3)
    workspace.change(FROZEN.format("WHEN old.id = 1 BEGIN SELECT RAISE(ROLLBACK, 'this row is frozen'); END"))
    for _ in range(2):
        result = workspace.ran("tag-live", **ONE_BY_ONE, code=3)
        assert "an answer that came could not be kept, and what it cost is counted" in result.stderr
        assert "1 failed (its answer could not be kept)" in result.stdout
        assert "person-0000: its answer could not be kept" in result.stderr
        assert "nothing was changed" not in says(result)
    lost = workspace.query("SELECT item_id, tokens_in > 0, tokens_out > 0, cost > 0, outcome FROM findable_calls")
    assert [(row[0], all(row[1:4]), row[4]) for row in lost] == [("1", True, "lost")] * 2
    assert workspace.scalar("SELECT count(*) FROM findable_asks WHERE state = 'claimed'") == 0
    assert ledger.people(workspace) == {"total": 3, "untagged": 3}
    assert workspace.run("doctor").exit_code == 0
