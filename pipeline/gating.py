"""The gate before new batches: closed while a probe is under way, and after one that failed.

A new probe that passes opens it again, or a person who does without.
"""

from typing import TYPE_CHECKING

from pipeline.errors import GateError
from pipeline.store import probes

if TYPE_CHECKING:
    from pipeline.runtime import Runtime
    from pipeline.store.database import Connection


def why(rt: "Runtime", tx: "Connection") -> str:
    """Return why no batch may be prepared for the extractor in use; an empty text where one may."""
    found = probes.stopping(tx, rt.extractor)
    if found is None:
        return ""
    if found.verdict is None:
        return f"the probe of batch {found.batch} is not over"
    return f"the probe of batch {found.batch} failed: its answers do not validate as live ones do"


def check(rt: "Runtime", tx: "Connection") -> None:
    """Make sure that a batch may be prepared.

    Raises:
        GateError: a probe is under way, or the newest one failed.
    """
    closed = why(rt, tx)
    if closed:
        probe = rt.task.words.make("preflight PROBE=1")
        raise GateError(
            f"{closed}; nothing more was prepared or sent",
            hint=f"`{probe}` goes on with the probe or tries again; PROBE=0 does without it",
        )
