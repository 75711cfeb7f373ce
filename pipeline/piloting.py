"""A pilot: a few items drawn by a seed, asked and judged before all of them are.

Which items those are follows from the seed and the items alone, so a pilot that was killed goes on with the same ones.
"""

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.errors import GateError
from pipeline.store import answers, pilots
from pipeline.store.pilots import Pilot, Verdict
from pipeline.store.streams import streamed

if TYPE_CHECKING:
    from pipeline.reporting import Report
    from pipeline.runtime import Runtime
    from pipeline.store.database import Connection

SIZE = 200  # items: a share of 1 % that fails is two of them
SEED = 1
PAGE = 5000


def sample(rt: "Runtime", tx: "Connection", *, size: int, seed: int) -> list[str]:
    """Return the ids of the pilot's items, in the order in which they were drawn; at flat memory.

    Drawn from those that are open or were answered under this extractor, so that the sample stays as it is while its
    items are answered one by one.
    """
    # one whose answer could not be applied comes twice, so twice as many are looked at
    smallest = heapq.nsmallest(2 * size, ((_draw(seed, one), one) for one in _candidates(rt, tx)))
    return list(dict.fromkeys(one for _, one in smallest))[:size]


def _candidates(rt: "Runtime", tx: "Connection") -> Iterator[str]:
    """Yield the ids that a pilot is drawn from."""
    for query in (rt.task.open_items(), answers.applied_ids(rt.task.name, rt.extractor)):
        for page in streamed(tx, query, page=PAGE).scalars().partitions(PAGE):
            yield from page


def _draw(seed: int, item_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{item_id}".encode("utf-8", "replace"), digest_size=8).digest()


def forgive(rt: "Runtime", ids: Sequence[str]) -> None:
    """Let those of the pilot's items be asked again that are parked for failed batches alone, and none else."""
    with rt.store.read() as tx:
        found = unserved(rt, tx, ids)
    for start in range(0, len(found), answers.PAGE):
        with rt.store.write() as tx:
            answers.unpark(tx, rt.task.name, ids=unserved(rt, tx, found[start : start + answers.PAGE]))


def unserved(rt: "Runtime", tx: "Connection", ids: Sequence[str]) -> list[str]:
    """Return those of these items that are parked for batches that gave nothing, and were never charged."""
    stopped = list(parked(rt, tx, ids))
    found = []
    for start in range(0, len(stopped), answers.PAGE):
        some = stopped[start : start + answers.PAGE]
        spent, failures = answers.spent(tx, rt.task.name, some), answers.service_failures(tx, rt.task.name, some)
        found += [one for one in some if one not in spent and failures.get(one, 0) >= answers.MAX_SERVICE_FAILURES]
    return found


def parked(rt: "Runtime", tx: "Connection", ids: Sequence[str]) -> dict[str, str]:
    """Return why each of these items is parked, for those that are."""
    mine = set(ids)
    return {one: why for one, why, foreign, _ in answers.parked_rows(tx, rt.task.name) if one in mine and not foreign}


def standing(rt: "Runtime", tx: "Connection") -> Pilot | None:
    """Return the newest pilot of the extractor in use that is over, which alone says whether all may be asked."""
    return pilots.newest(tx, rt.extractor, over=True)


def is_begun(rt: "Runtime", tx: "Connection") -> bool:
    """Return whether the newest pilot of the extractor in use has no verdict yet."""
    found = pilots.newest(tx, rt.extractor)
    return found is not None and found.ended_at is None


def why_not(rt: "Runtime", tx: "Connection", *, compulsory: bool = False) -> str:
    """Return why not all items may be asked: a pilot failed, is not over or, where `compulsory`, never was; else "".

    A pilot that is not over stops nothing where an older one passed or was waived.
    """
    found = standing(rt, tx) or pilots.newest(tx, rt.extractor)
    if found is None:
        return f"{rt.extractor} has not passed a pilot" if compulsory else ""
    if found.verdict is None:
        return f"pilot {found.number} of {rt.extractor} is not over"
    if found.verdict is Verdict.FAILED:
        return f"{rt.extractor} failed its gates ({found.report or 'no report'})"
    return ""


def is_cleared(rt: "Runtime", tx: "Connection") -> bool:
    """Return whether all items may be asked unattended: no pilot is needed, it passed, or it was waived."""
    return not why_not(rt, tx, compulsory=rt.task.needs_pilot)


def waive(rt: "Runtime") -> None:
    """Let all items be asked without a pilot of the extractor in use; nothing where they may be already."""
    with rt.store.write() as tx:
        if why_not(rt, tx, compulsory=rt.task.needs_pilot):
            pilots.waive(tx, rt.task.name, rt.extractor, at=rt.now())


def note_failed(rt: "Runtime", quality: "Report") -> None:
    """Keep that answers are hopeless after all, so that nobody is asked unattended until a person has looked.

    A gate that is missed by a little is told, by the exit code and the report, and stops nothing.

    A pilot that passes, or a person who does without one, opens the way again.
    """
    if not rt.task.needs_pilot or not quality.is_hopeless:
        return
    path = str(quality.path.relative_to(rt.data))
    with rt.store.write() as tx:
        pilots.fail(tx, rt.task.name, str(quality.document["extractor"]), report=path, at=rt.now())


def check(rt: "Runtime", tx: "Connection", *, compulsory: bool = False) -> None:
    """Make sure that all items may be asked.

    Raises:
        GateError: a pilot of this extractor failed, is not over or, where `compulsory`, never was; nothing was asked.
    """
    why = why_not(rt, tx, compulsory=compulsory)
    if not why:
        return
    words, newest = rt.task.words, pilots.newest(tx, rt.extractor)
    size = newest.size if newest is not None and newest.size else SIZE
    again = f"make {words.many}-pilot VERSION={rt.task.label}" if rt.task.needs_pilot else f"make tag PILOT={size}"
    raise GateError(f"{why}; nothing was prepared or sent", hint=f"run `{again}`, or SKIP_PILOT=1 to do without")
