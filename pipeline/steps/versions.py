"""Every version that is here: rows, items, dates, what was paid for it, and whether it is being taken back."""

from typing import Any

from pipeline import withdrawing
from pipeline.runtime import Runtime
from pipeline.withdrawing import Here


def run(rt: Runtime) -> list[Here]:
    """Return every version of every subject, or where TASK= is set of that one, from one snapshot; reads all rows."""
    only = "task" in rt.settings.sources
    subjects = [one for one in rt.subjects if one.task is rt.task or not only]
    with rt.store.read() as tx:
        return [version for one in subjects for version in withdrawing.here(tx, one)]


def document(one: Here) -> dict[str, Any]:
    """Return a version for programs."""
    label, model, rows, items, first, last = one.stock
    return {
        "task": one.subject,
        "version": label,
        "model": model or None,
        "extractor": one.extractor,
        "rows": rows,
        "items": items,
        "first": None if first is None else first.isoformat(),
        "last": None if last is None else last.isoformat(),
        "cost": round(one.paid, 6),
        "withdrawn": one.withdrawn,
    }
