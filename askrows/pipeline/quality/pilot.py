"""Draw pilots, and decide whether all rows may be asked.

A pilot is a small random sample of rows that is asked first; its answers are measured and compared
with the gates, which gives its verdict. To waive a pilot is to allow asking all rows without it.
A version is `task@n/model`. The seed and the rows determine the sample, so an interrupted pilot
resumes with the same rows.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import GateError
from askrows.pipeline.quality.report import QualityReport
from askrows.pipeline.store import answers, runs
from askrows.pipeline.store.database import Connection, Store, stream_rows
from askrows.pipeline.store.runs import PilotVerdict
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.task import Task

# Rows of a pilot, so that a failing share of 1 % is two rows.
DEFAULT_PILOT_SIZE = 200
DEFAULT_PILOT_SEED = 1
# Ids in a fetch.
FETCHED_ROWS = 5000


class PilotPlan(NamedTuple):
    """The next pilot of a version, before it is recorded."""

    size: int
    seed: int
    # At most `size` ids, in the order drawn.
    row_ids: list[str]


def plan_next_pilot(
    tx: "Connection",
    task: Task,
    version: str,
    *,
    size: int | None = None,
    seed: int | None = None,
) -> PilotPlan:
    """Return size, seed and row ids of the next pilot of a version; nothing is written.

    The ids are a random sample of the rows that can be asked or have an answer of the version. The
    same seed draws the same rows again.

    Args:
        version: The version, `task@n/model`.
        size: Number of rows. If it is None, it is that of the version's newest pilot if this is
            unfinished, otherwise DEFAULT_PILOT_SIZE.
        seed: Seed of the sample. If it is None, it is that of the same pilot, otherwise
            DEFAULT_PILOT_SEED.
    """
    newest_pilot = runs.find_newest_pilot(tx, version)
    if newest_pilot is not None and newest_pilot.ended_at is None:
        size = size or newest_pilot.size
        if seed is None:
            seed = newest_pilot.seed
    size = size or DEFAULT_PILOT_SIZE
    if seed is None:
        seed = DEFAULT_PILOT_SEED
    row_ids = draw_pilot_row_ids(tx, task, version, size=size, seed=seed)
    return PilotPlan(size, seed, row_ids)


def draw_pilot_row_ids(
    tx: "Connection", task: Task, version: str, *, size: int, seed: int
) -> list[str]:
    """Return the ids of at most `size` random rows for a pilot of a version, in the order drawn.

    They are drawn from all rows that can be asked or have an answer of the version, without rows
    that left their source. A row that gets an answer stays in the draw, so the same seed draws the
    same rows again, as long as no row is parked, added or removed. Memory does not grow with the
    table.

    Args:
        version: The version, `task@n/model`.
        size: Maximum number of rows.
        seed: Seed of the sample.
    """
    table = task.rows
    askable_ids = table.select_rows(claiming.make_rows_to_ask_condition(tx, task))
    # A row with an answer that was not applied is in both queries.
    answered_ids = answers.select_answered_ids(task.name, version)
    if table.is_gone is not None:
        gone_ids = table.select_rows(table.is_gone)
        answered_ids = answered_ids.where(answers_table.c.row_id.not_in(gone_ids))
    ids = chain.from_iterable(
        stream_rows(tx, query, page=FETCHED_ROWS).scalars() for query in (askable_ids, answered_ids)
    )
    return draw_row_ids(ids, size=size, seed=seed)


def draw_row_ids(ids: Iterable[str], *, size: int, seed: int) -> list[str]:
    """Return a random sample of at most `size` distinct ids, in the order of the draw.

    The ids and the seed determine the sample; the order of `ids` does not matter. An id may occur
    at most twice in `ids`.
    """

    def make_draw_order_key(row_id: str) -> tuple[bytes, str]:
        """Return a hash of seed and id, which decides the order of the draw, and the id."""
        key = f"{seed}:{row_id}".encode("utf-8", "replace")
        return hashlib.blake2b(key, digest_size=8).digest(), row_id

    drawn_pairs = heapq.nsmallest(2 * size, map(make_draw_order_key, ids))
    return list(dict.fromkeys(row_id for _, row_id in drawn_pairs))[:size]


def is_newest_pilot_unfinished(tx: "Connection", version: str) -> bool:
    """Return whether the newest pilot of a version is unfinished.

    Args:
        version: The version, `task@n/model`.
    """
    pilot = runs.find_newest_pilot(tx, version)
    return pilot is not None and pilot.ended_at is None


def describe_blocking_pilot(tx: "Connection", version: str, *, is_required: bool = False) -> str:
    """Return the reason why a pilot keeps rows of a version from being asked; "" if none does.

    The first rule that applies decides:

    1. If a pilot of the version has ended, the newest ended pilot decides. It blocks if it failed,
       not if it passed or was waived. A newer unfinished pilot changes nothing.
    2. An unfinished pilot blocks.
    3. If there is no pilot, the version is blocked if `is_required` is set.

    Reads only.

    Args:
        version: The version, `task@n/model`.
        is_required: The version needs a pilot, so that a missing pilot blocks it.
    """
    pilot = runs.find_newest_pilot(tx, version, must_be_ended=True) or runs.find_newest_pilot(
        tx,
        version,
    )
    if pilot is None:
        if is_required:
            return f"{version} has not passed a pilot"
        return ""
    if pilot.verdict is None:
        return f"pilot {pilot.number} of {version} is not finished"
    if pilot.verdict is PilotVerdict.FAILED:
        return f"{version} failed its gates ({pilot.report or 'no report'})"
    return ""


def waive_pilot_if_needed(
    store: Store, task: Task, *, version: str, now: Callable[[], datetime]
) -> None:
    """Record that a person waived the pilot of a version, so that its rows may be asked.

    Does nothing if no pilot blocks them, and none is missing that the task needs.
    """
    with store.write() as tx:
        if describe_blocking_pilot(tx, version, is_required=task.needs_pilot):
            runs.record_waived_pilot(tx, task.name, version, now=now())


def record_failed_pilot_if_hopeless(
    store: Store, task: Task, *, data: Path, quality: QualityReport, now: Callable[[], datetime]
) -> bool:
    """Record a failed pilot, which blocks the version, if a report is hopeless; return if it is.

    A report is hopeless if a share misses the bound of its gate by at least HOPELESS_MISS on enough
    rows. The failed pilot blocks all further rows of the version until a pilot passes or is waived.
    A task that needs no pilots gets no record. A version with an unfinished pilot gets none either,
    because that pilot gets its own verdict.

    Returns:
        Whether the report is hopeless, even if an unfinished pilot kept this from being recorded.
        Always False for a task that needs no pilots.
    """
    if not task.needs_pilot or not quality.is_hopeless:
        return False

    report_path = str(quality.path.relative_to(data))
    version = str(quality.document["version"])
    with store.write() as tx:
        runs.record_failed_pilot(tx, task.name, version, report=report_path, now=now())
    return True


def check_pilot_allows_asking(
    tx: "Connection", task: Task, version: str, *, is_required: bool = False
) -> None:
    """Check that no pilot forbids to ask all rows of a version; raise if one does.

    If a pilot has ended, the newest ended pilot decides, whatever newer pilot is unfinished.

    Args:
        version: The version, `task@n/model`.
        is_required: Raise also if the version has no pilot.

    Raises:
        GateError: The newest ended pilot failed, no pilot has ended yet, or a required pilot is
            missing. The hint has the command that runs a pilot.
    """
    reason = describe_blocking_pilot(tx, version, is_required=is_required)
    if not reason:
        return

    pilot_step = CommandHint("tag", pilot=DEFAULT_PILOT_SIZE)
    if task.needs_pilot:
        pilot_step = CommandHint(f"{task.nouns.plural}-pilot", version=task.prompt_version)
    skip_option = OptionHint(skip_pilot=True)
    raise GateError(
        f"{reason}; nothing was prepared or sent",
        hint=f"run `{pilot_step}`, or continue without a pilot by {skip_option}",
    )


def check_pilot_allows_open_rows(
    tx: "Connection", task: Task, version: str, *, is_required: bool = False
) -> None:
    """Check that no pilot keeps open rows from being asked; without open rows nothing is raised.

    Args:
        version: The version, `task@n/model`.
        is_required: Raise also if the version has no pilot.

    Raises:
        GateError: As `check_pilot_allows_asking`.
    """
    # Counting reads all rows, so it is left out if nothing blocks them.
    if not describe_blocking_pilot(tx, version, is_required=is_required):
        return
    if claiming.count_claimable(tx, task):
        check_pilot_allows_asking(tx, task, version, is_required=is_required)
