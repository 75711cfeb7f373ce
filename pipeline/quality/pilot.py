"""Draw a pilot, a few items that are asked and judged before all are, and say whether all may be asked.

Which items those are follows from the seed and the items alone, so a killed pilot resumes with the same ones.
"""

import hashlib
import heapq
from collections.abc import Iterable
from itertools import chain

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import GateError
from pipeline.engine.task import Task
from pipeline.engine.workspace import WorkspaceSession
from pipeline.quality.report import QualityReport
from pipeline.store import answers, runs
from pipeline.store.database import Connection, streamed
from pipeline.store.runs import PilotVerdict

SIZE = 200  # items, where a share of 1 % that fails is two of them
SEED = 1
PAGE = 5000


def next_pilot(
    tx: "Connection",
    task: Task,
    extractor: str,
    *,
    size: int | None = None,
    seed: int | None = None,
) -> tuple[int, int, list[str]]:
    """Return the next pilot's size, seed and items: one that is not over goes on, unless another of these is given."""
    before = runs.newest_pilot(tx, extractor)
    if before is not None and before.ended_at is None:
        size = size or before.size
        seed = before.seed if seed is None else seed
    size = size or SIZE
    seed = SEED if seed is None else seed
    return size, seed, draw_pilot(tx, task, extractor, size=size, seed=seed)


def draw_pilot(tx: "Connection", task: Task, extractor: str, *, size: int, seed: int) -> list[str]:
    """Return the ids of the pilot's items, in the order in which they were drawn; at flat memory.

    Drawn from those that are open or were answered under this extractor, so that the sample stays as it is while its
    items are answered one by one.
    """
    queries = (
        task.pending(tx),
        answers.answered_ids(task.name, extractor),
    )  # an answer not applied comes twice
    pages = (
        page
        for query in queries
        for page in streamed(tx, query, page=PAGE).scalars().partitions(PAGE)
    )
    return draw_items(chain.from_iterable(pages), size=size, seed=seed)


def draw_items(ids: Iterable[str], *, size: int, seed: int) -> list[str]:
    """Return some of these ids, each of which comes twice at the most, in the order in which they were drawn."""
    drawn = (
        (hashlib.blake2b(f"{seed}:{one}".encode("utf-8", "replace"), digest_size=8).digest(), one)
        for one in ids
    )
    return list(dict.fromkeys(one for _, one in heapq.nsmallest(2 * size, drawn)))[:size]


def is_pilot_begun(tx: "Connection", extractor: str) -> bool:
    """Return whether the newest pilot of an extractor has no verdict yet."""
    found = runs.newest_pilot(tx, extractor)
    return found is not None and found.ended_at is None


def why_not(tx: "Connection", extractor: str, *, compulsory: bool = False) -> str:
    """Return why not all items may be asked: a pilot failed, is not over or, where `compulsory`, never was; else "".

    A pilot that is not over stops nothing where an older one passed or was waived.
    """
    found = runs.newest_pilot(tx, extractor, over=True) or runs.newest_pilot(tx, extractor)
    if found is None:
        return f"{extractor} has not passed a pilot" if compulsory else ""
    if found.verdict is None:
        return f"pilot {found.number} of {extractor} is not over"
    if found.verdict is PilotVerdict.FAILED:
        return f"{extractor} failed its gates ({found.report or 'no report'})"
    return ""


def waive_open_pilot(ws: WorkspaceSession) -> None:
    """Let all items be asked without a pilot of the extractor in use; nothing where they may be already."""
    with ws.store.write() as tx:
        if why_not(tx, ws.extractor, compulsory=ws.task.needs_pilot):
            runs.waive_pilot(tx, ws.task.name, ws.extractor, at=ws.now())


def note_failed_pilot(ws: WorkspaceSession, quality: QualityReport) -> bool:
    """Keep that answers are hopeless after all, so that no item is asked until a user has looked; return whether.

    A gate that is missed by a little is a warning, and stops nothing. A pilot that passes or is waived opens the way
    again.
    """
    if not ws.task.needs_pilot or not quality.is_hopeless:
        return False
    path = str(quality.path.relative_to(ws.data))
    with ws.store.write() as tx:
        runs.fail_pilot(
            tx, ws.task.name, str(quality.document["extractor"]), report=path, at=ws.now()
        )
    return True


def check_pilot(tx: "Connection", task: Task, extractor: str, *, compulsory: bool = False) -> None:
    """Raise GateError where a pilot of an extractor failed, is not over or, where `compulsory`, never was."""
    why = why_not(tx, extractor, compulsory=compulsory)
    if not why:
        return
    newest = runs.newest_pilot(tx, extractor)
    size = newest.size if newest is not None and newest.size else SIZE
    has_failed = newest is not None and newest.verdict is PilotVerdict.FAILED
    again = (
        CommandHint(f"{task.words.many}-pilot", version=task.label)
        if task.needs_pilot
        else CommandHint("tag", pilot=size)
    )
    free = (
        f"`{task.words.step('unpark', all=True)}` frees rows that failed for the API's sake; "
        if has_failed
        else ""
    )
    hint = f"{free}run `{again}`, or {OptionHint(skip_pilot=True)} to do without"
    raise GateError(f"{why}; nothing was prepared or sent", hint=hint)
