"""What live calls leave in the database is checked, mended, carried along and let go like all else."""

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.core.settings import Budget
from pipeline.core.states import CallEnd
from pipeline.cost.budget import BudgetError
from pipeline.cost.estimate import Calibration
from pipeline.engine.questions import PlannedRequest
from pipeline.engine.task import Item
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.gemini.models import RateLimits
from pipeline.gemini.requests import Prompt
from pipeline.gemini.tokens import Usage
from pipeline.live.write_ahead import CallLedger, Purpose
from pipeline.store import live_calls
from pipeline.store.database import Connection
from tests import ledger
from tests.lab import Api, Workspace, copy_tree, ran

LIVE = ":generateContent"
BUDGET = {"FINDABLE_BUDGET_PER_DAY": "9"}  # never passed
TABLES = ("findable_calls", "findable_runs", "findable_due")
KEPT = (*TABLES, "findable_spent")
COLUMNS = (
    "task, item_id, extractor, model, run, purpose, owner, asked_at, day, counted_in, estimated_in, estimated_out, "
    "estimated_cost, outcome, ended_at, tokens_in, tokens_out, cost"
)
LOST = "cost IS NULL AND outcome NOT IN ('throttled', 'not sent')"  # NULL while under way, which is neither
ADDED_UP = f"SELECT sum(cost), sum(CASE WHEN {LOST} THEN estimated_cost ELSE 0 END) FROM findable_calls"  # noqa: S608 - ours
DEAD = "elsewhere-not-a-host|boot|1|0.00|abcd"


def rows(workspace: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """Return what stands in the tables of live calls, in some fixed order."""
    return {name: sorted(workspace.query(f"SELECT * FROM {name}"), key=repr) for name in TABLES}  # noqa: S608 - ours


def findings(workspace: Workspace, *args: str, code: int = 0) -> list[dict[str, Any]]:
    """Return what doctor finds."""
    result = workspace.ran("doctor", "--json", *args, code=code)
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return found


def _make(workspace: Workspace, api: Api, new: Path) -> None:
    """Let live calls end in many ways: answered, refused, throttled, lost; and leave a person due."""
    with workspace.open() as ws, ws.store.write() as tx:
        for number in range(5):
            table.insert_person(tx, f"person-{number:04d}", {"bio": f"I keep bees, number {number}."})
    api.fault("safety", times=2, path=LIVE)
    ran(workspace, "tag-live", LIMIT="1")
    api.fault("quota_minute", path=LIVE, args={"delay": "0.01s"})
    api.fault("status", path=LIVE, args={"code": 503})
    ran(workspace, "tag-live")
    new.write_text(json.dumps({"username": "new", "bio": "I mend clocks."}))
    api.fault("status", times=2, path=LIVE, args={"code": 503})
    ran(workspace, "add-expert", str(new))
    ends = {row[0] for row in workspace.query("SELECT outcome FROM findable_calls")}
    assert ends == {"answered", "refused", "throttled", "lost"}
    assert workspace.scalar("SELECT count(*) FROM findable_due WHERE ended_at IS NULL") == 1
    ledger.check(workspace)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs them leaves those calls, for the others to copy."""
    return tmp_path_factory.mktemp("made") / "data"


@pytest.fixture
def asked(workspace: Workspace, api: Api, made: Path, tmp_path: Path) -> Workspace:
    """A workspace with live calls that ended in many ways, in which nothing is wrong."""
    if not made.exists():
        first = Workspace(made, workspace.environ | {"FINDABLE_DATA": str(made)} | BUDGET)
        _make(first, api, tmp_path / "new.json")
        assert findings(first) == []
    copy_tree(made, workspace.data)
    return Workspace(workspace.data, workspace.environ)


@pytest.mark.sampled(0)
def test_a_copy_has_the_calls_too(asked: Workspace, tmp_path: Path) -> None:
    """Marks, runs, days and who is due are as they were, after backup and restore."""
    before = rows(asked)
    assert all(before.values())
    ran(asked, "backup", str(tmp_path / "copy"))
    other = Workspace(tmp_path / "other", asked.environ | {"FINDABLE_DATA": str(tmp_path / "other")})
    ran(other, "restore", str(tmp_path / "copy"))
    assert rows(other) == before
    ran(other, "forget", "new", "--yes")
    assert other.query("SELECT item_id FROM findable_due") == []
    assert other.query("SELECT id FROM findable_calls WHERE item_id = '6'") == []
    assert findings(other) == []


def account(ws: OpenWorkspace) -> CallLedger:
    """Return the account of a run of its own."""
    return CallLedger(ws, Purpose.COMPARE, None, Calibration(error=0.0), RateLimits(None, None, None))


def marked(one: CallLedger, tx: Connection) -> int:
    """Mark a call that is about to be made; return the number of the mark."""
    item = Item(id="1", prompt=Prompt(system="", parts=[], max_output_tokens=8), input_hash="")
    number = one.mark(tx, PlannedRequest(item, b"", Usage(prompt=1000, answer=100))).number
    assert number is not None
    return number


def kept(workspace: Workspace) -> tuple[Any, ...]:
    """Return what is kept as (known, lost) since the budget began, which must be what the calls add up to."""
    (found,) = workspace.query("SELECT known, lost FROM findable_spent")
    assert found == pytest.approx(workspace.query(ADDED_UP)[0])
    return found


def test_what_a_budget_counts_is_what_the_calls_add_up_to(asked: Workspace) -> None:
    """However calls end: answered, refused, throttled, lost, or after they were given up as lost."""
    asked.environ |= BUDGET
    assert 0 < sum(kept(asked)) < 9
    with asked.open() as ws:
        one = account(ws)
        with ws.store.write() as tx:
            numbers = [marked(one, tx) for _ in range(4)]
        before = kept(asked)
        asked.change(
            "UPDATE findable_calls SET owner = :owner, asked_at = '2090-01-01' WHERE outcome IS NULL", owner=DEAD
        )
        with ws.store.write() as tx:
            assert live_calls.end_dead_calls(tx, now=datetime(2090, 1, 2, tzinfo=UTC)) == 4
        known, lost = kept(asked)
        assert (known, lost) == (before[0], pytest.approx(before[1] + 4 * one_costs(asked)))
        with ws.store.write() as tx:
            live_calls.end_call(tx, numbers[0], CallEnd.ANSWERED, tokens=(5, 5), cost=0.5, at=ws.now())
            live_calls.end_call(tx, numbers[1], CallEnd.THROTTLED, at=ws.now())
            live_calls.end_call(tx, numbers[2], CallEnd.ANSWERED, at=ws.now())
        now = kept(asked)
        assert now == pytest.approx((known + 0.5, lost - 2 * one_costs(asked)))
        with contextlib.suppress(InputError), ws.store.write() as tx:
            live_calls.end_call(tx, marked(one, tx), CallEnd.ANSWERED, tokens=(5, 5), cost=9.0, at=ws.now())
            raise InputError("a transaction that fails takes its ends with it", hint="")
        assert kept(asked) == now
        with ws.store.write() as tx:
            marked(one, tx)


def one_costs(workspace: Workspace) -> float:
    """Return what the call that was marked last is estimated at, in USD."""
    return float(workspace.scalar("SELECT estimated_cost FROM findable_calls ORDER BY id DESC LIMIT 1"))


def test_two_that_mark_in_turn_never_pass_a_budget(workspace: Workspace, people: Callable[..., list[str]]) -> None:
    """Whatever the calls of the other come to between two of one's own, in whichever order they begin and end."""
    people(1)
    with workspace.open() as ws, ws.store.write() as tx:
        marked(account(ws), tx)
    one = one_costs(workspace)
    most = workspace.environ["FINDABLE_BUDGET_PER_DAY"] = f"{20.5 * one:.12f}"
    with workspace.open() as first, workspace.open() as second:
        accounts = [account(first), account(second)]
        left: list[int] = []
        for at in range(60):
            mine = accounts[at % 2]
            with contextlib.suppress(BudgetError), mine.ws.store.write() as tx:
                left.append(marked(mine, tx))
            if at % 3 == 0:
                with accounts[at % 5 % 2].ws.store.write() as tx:
                    live_calls.end_call(
                        tx, left.pop(0), CallEnd.ANSWERED, tokens=(1, 1), cost=one * (at % 4) / 2, at=mine.ws.now()
                    )
            spent = workspace.scalar("SELECT sum(coalesce(cost, estimated_cost)) FROM findable_calls")
            assert spent <= float(most) + one, "an answer may cost more than estimated, and no call begins after it"
        with pytest.raises(BudgetError), first.store.write() as tx:
            marked(accounts[0], tx)
        assert spent > float(most) - one


@pytest.mark.sqlite_only("counts the steps that SQLite takes")
def test_a_mark_reads_no_more_where_many_calls_were_made(asked: Workspace) -> None:
    """Only the first look of a run adds up what was spent since its budget began."""

    def steps() -> tuple[int, int]:
        """Return how many steps the first mark of a run took, and the second."""
        counted = [0, 0]
        with asked.open() as ws, ws.store.write() as tx:
            ws.budget, one = Budget(9.0, datetime(2000, 1, 1, tzinfo=UTC), "BUDGET"), account(ws)
            driver = tx.connection.driver_connection
            assert driver is not None
            for at in range(2):

                def count(at: int = at) -> int:
                    """Count one more."""
                    counted[at] += 1
                    return 0

                driver.set_progress_handler(count, 1)
                marked(one, tx)
            driver.set_progress_handler(None, 1)
            tx.rollback()
        return counted[0], counted[1]

    few = steps()
    for _ in range(8):
        asked.change(f"INSERT INTO findable_calls ({COLUMNS}) SELECT {COLUMNS} FROM findable_calls")  # noqa: S608 - ours
    assert asked.scalar("SELECT count(*) FROM findable_calls") > 2000
    asked.change("UPDATE findable_calls SET asked_at = datetime(asked_at, '-2 minutes') || '.000000'")
    many = steps()
    assert many[1] < 1.2 * few[1]
    assert many[0] > 5 * few[0]
