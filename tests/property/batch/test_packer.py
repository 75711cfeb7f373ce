"""Request files are cut alike by a plan and by what is written, keep every limit, and lose no item."""

import itertools
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.batch import prepare
from pipeline.batch.packer import FileLimits, Funds, Packer, StopReason
from pipeline.core.settings import Budget
from pipeline.core.task import Item, Prompt
from pipeline.cost import estimate
from pipeline.cost.estimate import Calibration
from pipeline.engine.questions import PlannedRequest, RequestBuilder
from pipeline.experts import table
from pipeline.gemini.tokens import Usage
from pipeline.store import batches
from tests.delivery import workspace_at
from tests.progress import NullProgress

BEGAN = datetime(2020, 1, 1, tzinfo=UTC)


ITEM = Item("1", Prompt("", (), 1), "")

calibrations = st.builds(
    Calibration,
    prompt=st.floats(0.2, 5),
    answer=st.none() | st.floats(1, 500),
    error=st.floats(0, 2),
)
lines = st.lists(
    st.builds(
        PlannedRequest,
        item=st.just(ITEM),
        head=st.just(b""),
        rest=st.just(b""),
        size=st.integers(0, 60),
        usage=st.builds(Usage, prompt=st.integers(0, 50), answer=st.integers(0, 50)),
    ),
    max_size=40,
)
limits = st.builds(FileLimits, rows=st.integers(1, 8), size=st.integers(1, 150), tokens=st.integers(1, 120))


def is_too_much(file: list[PlannedRequest], most: FileLimits, known: Calibration) -> bool:
    """Return whether lines are more than one file may hold, added up anew."""
    counted = Usage(prompt=sum(one.usage.prompt for one in file), answer=sum(one.usage.answer for one in file))
    tokens = known.applied(counted, count=len(file)).prompt
    return (len(file) > most.rows or sum(one.size + 1 for one in file) > most.size or tokens > most.tokens) and len(
        file
    ) > 1


@given(lines=lines, most=limits, known=calibrations)
def test_every_file_is_filled_and_none_too_much(
    lines: list[PlannedRequest], most: FileLimits, known: Calibration
) -> None:
    """Whatever the limits, all lines stand in files in their order, none passes a limit, and none ends before it."""
    files: list[list[PlannedRequest]] = []
    packer = Packer(most, known)
    for one in lines:
        if not files or packer.add(one) is not None:
            packer = packer.next_file()
            assert packer.add(one) is None, "an empty file takes any line"
            files.append([])
        files[-1].append(one)
    assert [one for file in files for one in file] == lines
    assert not any(is_too_much(file, most, known) for file in files)
    assert all(is_too_much([*file, after[0]], most, known) for file, after in itertools.pairwise(files))


@given(lines=lines, known=calibrations, room=st.floats(0, 2), quota=st.none() | st.integers(0, 300))
def test_no_file_passes_a_budget_or_a_quota(
    lines: list[PlannedRequest], known: Calibration, room: float, quota: int | None
) -> None:
    """A file ends before the first line that would pass either, and holds no more when that is looked at again."""
    funds = Funds(room, known.error, lambda usage: (usage.prompt + 2 * usage.answer) / 1000)
    packer = Packer(FileLimits(100, 10**6, 10**6), known, budget=funds, quota=quota)
    stop = next((found for one in lines if (found := packer.add(one)) is not None), None)
    assert packer.rows == len(lines) or stop in {StopReason.BUDGET, StopReason.QUOTA}
    if packer.rows:
        assert funds.cost(packer.likely) * (1 + known.error) <= room
        assert quota is None or packer.likely.prompt <= quota
        assert packer.stop_for(packer.likely) is None


MODEL = """[models."gemini-3.5-flash-lite"]
price_in = 0.3
price_out = 2.5
priced_on = 2026-10-07
source = "a page"
kind = "generate"
enqueued_tokens = {}
"""


@settings(
    max_examples=25 if os.environ.get("FAULTS") == "all" else 4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    bios=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    most=st.builds(FileLimits, rows=st.integers(1, 6), size=st.integers(2000, 20_000), tokens=st.integers(300, 4000)),
    known=calibrations,
    budget=st.none() | st.floats(0.0001, 0.01),
    enqueued=st.integers(500, 20_000),
)
def test_a_plan_is_cut_as_it_is_written(
    bios: list[int], most: FileLimits, known: Calibration, budget: float | None, enqueued: int
) -> None:
    """The files are the beginning of the plan's lines, all of them where there is room; money and quota hold."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "calibration", lambda *_: known)
        workspace = workspace_at(Path(folder) / "data")
        names = {"BATCH_ROWS": most.rows, "BATCH_BYTES": most.size, "BATCH_TOKENS": most.tokens}
        workspace.environ |= {f"FINDABLE_{name}": str(value) for name, value in names.items()}
        workspace.environ["FINDABLE_MODELS_FILE"] = str(Path(folder) / "models.toml")
        Path(workspace.environ["FINDABLE_MODELS_FILE"]).write_text(MODEL.format(enqueued))
        bar = NullProgress().bar("", None).__enter__()
        stops: list[StopReason] = []
        with workspace.open() as ws:
            with ws.store.write() as tx:
                for number, length in enumerate(bios):
                    table.insert_person(tx, f"p-{number}", {"bio": "b " * length})
            ws.budget = None if budget is None else Budget(budget, BEGAN, "BUDGET")
            with ws.store.read() as tx:
                wanted = [
                    one.data
                    for one in prepare.request_lines(tx, RequestBuilder(ws.task, ws.model), prepare.Selection())
                ]
            plan = prepare.plan_batches(ws, prepare.Selection(), bar=bar)
            numbers = prepare.prepare_batches(ws, prepare.Selection(), bar=bar, on_stop=stops.append)
            files = [prepare.request_path(ws.data, number).read_bytes().splitlines() for number in numbers]
            with ws.store.read() as tx:
                made = batches.batches_in_states(tx)
        written = [line for file in files for line in file]
        assert written == wanted[: len(written)]
        assert (plan.requests, plan.size) == (len(bios), sum(len(line) + 1 for line in wanted))
        assert all(len(file) <= most.rows for file in files)
        several = [one for one in made if one.requests > 1]
        assert all(one.estimated_in <= most.tokens and one.request_size <= most.size for one in several)
        if budget is not None:
            assert sum(one.estimated_cost for one in made) * (1 + known.error) <= budget * (1 + 1e-6)
        assert sum(one.estimated_in for one in made) <= enqueued or len(made) == 1
        if stops == [StopReason.DONE]:
            assert (written, len(files)) == (wanted, plan.batches)
            assert sum(one.counted_in or 0 for one in made) == plan.counted_in
        else:
            assert len(written) < len(wanted)
