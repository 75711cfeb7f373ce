"""Was every version that was begun to be rolled back taken back to the end?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline import withdrawing
from pipeline.checks.finding import Finding, Mend
from pipeline.store import versions
from pipeline.task import Stock

if TYPE_CHECKING:
    from pipeline.runtime import Runtime
    from pipeline.store.versions import Version


def check_withdrawn(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Find what a killed rollback left: out of sight already, and on its way out; to finish it loses nothing more."""
    with rt.store.read() as tx:
        left = versions.withdrawn(tx)
    for one in left:
        mended = _finish(rt, one) if mend.on else ""
        said = f"the rollback of {one.name} was begun, and is not over"
        yield Finding(
            "rolled back",
            said,
            "what is left of it is out of sight, takes room, and nothing is asked under it",
            contradiction=False,
            mendable=True,
            mended=mended,
            next=f"make rollback EXTRACTOR={one.name}",
        )


def _finish(rt: "Runtime", one: "Version") -> str:
    """Delete what is left of a version; return what went, nothing where its subject is not here."""
    task = next((subject.task for subject in rt.subjects if subject.task.name == one.task), None)
    if task is None:
        return ""
    stock = Stock(one.label, one.model, 0, 0, None, None)
    with (
        rt.waited_lease(withdrawing.LEASE, waiting=withdrawing.WAITING) as lease,
        rt.display.bar("taking back", None) as bar,
    ):
        gone = withdrawing.remove(rt, lease, task, stock, bar=bar)
    return f"taken back: {gone.rows} rows, {gone.answers} answers"
