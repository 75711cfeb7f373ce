"""A pilot: a few items drawn by a seed, asked and judged before all of them are.

Which items those are follows from the seed and the items alone, so a pilot that was killed goes on with the same ones.
"""

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.core.errors import GateError
from pipeline.quality import gates
from pipeline.store import answers, pilots, statistics
from pipeline.store.database import pages, streamed
from pipeline.store.pilots import Pilot, PilotVerdict

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.quality.evaluate import QualityReport
    from pipeline.store.database import Connection


SIZE = gates.PILOT
SEED = 1
FEWEST = 20  # items: fewer may be anything by chance
PAGE = 5000


def draw_pilot(ws: "OpenWorkspace", tx: "Connection", *, size: int, seed: int) -> list[str]:
    """Return the ids of the pilot's items, in the order in which they were drawn; at flat memory.

    Drawn from those that are open or were answered under this extractor, so that the sample stays as it is while its
    items are answered one by one.
    """
    # one whose answer could not be applied comes twice, so twice as many are looked at
    smallest = heapq.nsmallest(2 * size, ((_draw(seed, one), one) for one in _candidates(ws, tx)))
    return list(dict.fromkeys(one for _, one in smallest))[:size]


def _candidates(ws: "OpenWorkspace", tx: "Connection") -> Iterator[str]:
    """Yield the ids that a pilot is drawn from."""
    for query in (ws.task.pending(), statistics.applied_ids(ws.task.name, ws.extractor)):
        for page in streamed(tx, query, page=PAGE).scalars().partitions(PAGE):
            yield from page


def _draw(seed: int, item_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{item_id}".encode("utf-8", "replace"), digest_size=8).digest()


def exempt_unserved(ws: "OpenWorkspace", ids: Sequence[str]) -> None:
    """Let those of the pilot's items be asked again that are parked for failed batches alone, and none else."""
    with ws.store.read() as tx:
        found = unserved_items(ws, tx, ids)
    for some in pages(found):
        with ws.store.write() as tx:
            answers.unpark(tx, ws.task.name, ids=unserved_items(ws, tx, some))


def unserved_items(ws: "OpenWorkspace", tx: "Connection", ids: Sequence[str]) -> list[str]:
    """Return those of these items that are parked for batches that gave nothing, and were never charged."""
    stopped = list(parked_of_pilot(ws, tx, ids))
    found = []
    for some in pages(stopped):
        spent = answers.count_charged(tx, ws.task.name, some)
        failures = answers.service_failures(tx, ws.task.name, some)
        found += [one for one in some if one not in spent and failures.get(one, 0) >= answers.MAX_SERVICE_FAILURES]
    return found


def parked_of_pilot(ws: "OpenWorkspace", tx: "Connection", ids: Sequence[str]) -> dict[str, str]:
    """Return why each of these items is parked, for those that are."""
    mine = set(ids)
    return {one: why for one, why, foreign, _ in answers.parked_rows(tx, ws.task.name) if one in mine and not foreign}


def deciding_pilot(ws: "OpenWorkspace", tx: "Connection") -> Pilot | None:
    """Return the newest pilot of the extractor in use that is over, which alone says whether all may be asked."""
    return pilots.newest_pilot(tx, ws.extractor, over=True)


def is_pilot_begun(ws: "OpenWorkspace", tx: "Connection") -> bool:
    """Return whether the newest pilot of the extractor in use has no verdict yet."""
    found = pilots.newest_pilot(tx, ws.extractor)
    return found is not None and found.ended_at is None


def why_not(ws: "OpenWorkspace", tx: "Connection", *, compulsory: bool = False) -> str:
    """Return why not all items may be asked: a pilot failed, is not over or, where `compulsory`, never was; else "".

    A pilot that is not over stops nothing where an older one passed or was waived.
    """
    found = deciding_pilot(ws, tx) or pilots.newest_pilot(tx, ws.extractor)
    if found is None:
        return f"{ws.extractor} has not passed a pilot" if compulsory else ""
    if found.verdict is None:
        return f"pilot {found.number} of {ws.extractor} is not over"
    if found.verdict is PilotVerdict.FAILED:
        return f"{ws.extractor} failed its gates ({found.report or 'no report'})"
    return ""


def is_pilot_cleared(ws: "OpenWorkspace", tx: "Connection") -> bool:
    """Return whether all items may be asked unattended: no pilot is needed, it passed, or it was waived."""
    return not why_not(ws, tx, compulsory=ws.task.needs_pilot)


def waive_open_pilot(ws: "OpenWorkspace") -> None:
    """Let all items be asked without a pilot of the extractor in use; nothing where they may be already."""
    with ws.store.write() as tx:
        if why_not(ws, tx, compulsory=ws.task.needs_pilot):
            pilots.waive_pilot(tx, ws.task.name, ws.extractor, at=ws.now())


def note_failed_pilot(ws: "OpenWorkspace", quality: "QualityReport") -> None:
    """Keep that answers are hopeless after all, so that nobody is asked unattended until a person has looked.

    A gate that is missed by a little is told, by the exit code and the report, and stops nothing.

    A pilot that passes, or a person who does without one, opens the way again.
    """
    if not ws.task.needs_pilot or not quality.is_hopeless:
        return
    path = str(quality.path.relative_to(ws.data))
    with ws.store.write() as tx:
        pilots.fail_pilot(tx, ws.task.name, str(quality.document["extractor"]), report=path, at=ws.now())


def check_pilot(ws: "OpenWorkspace", tx: "Connection", *, compulsory: bool = False) -> None:
    """Make sure that all items may be asked.

    Raises:
        GateError: a pilot of this extractor failed, is not over or, where `compulsory`, never was; nothing was asked.
    """
    why = why_not(ws, tx, compulsory=compulsory)
    if not why:
        return
    words, newest = ws.task.words, pilots.newest_pilot(tx, ws.extractor)
    size = newest.size if newest is not None and newest.size else SIZE
    again = f"make {words.many}-pilot VERSION={ws.task.label}" if ws.task.needs_pilot else f"make tag PILOT={size}"
    raise GateError(f"{why}; nothing was prepared or sent", hint=f"run `{again}`, or SKIP_PILOT=1 to do without")
