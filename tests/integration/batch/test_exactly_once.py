"""A create that is looked for late, or that another process went on with: times and moments that only a seam shows."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from pipeline.batch import create, prepare
from pipeline.batch.create import SendOutcome
from tests.integration.looks import (
    CREATE,
    alter,
    batch_row,
    creates,
    remote,
    states,
)
from tests.lab import Api, Workspace
from tests.progress import NullProgress

People = Callable[..., list[str]]


def fault_on_create(api: Api, word: str, args: dict[str, Any], **more: Any) -> None:
    """Script a fault for create calls."""
    api.fault(word, method="POST", path=CREATE, args=args, **more)


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
