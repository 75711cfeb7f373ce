"""List every version that is here: rows, items, dates, what was paid for it, and whether it is being taken back."""

from typing import Any

from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops import rollback
from pipeline.ops.rollback import VersionSummary


def run(ws: OpenWorkspace) -> list[VersionSummary]:
    """Return every version of every subject, or where TASK= is set of that one, from one snapshot; reads all rows."""
    only = "task" in ws.settings.sources
    subjects = [one for one in ws.subjects if one.task is ws.task or not only]
    with ws.store.read() as tx:
        return [version for one in subjects for version in rollback.version_summaries(tx, one)]


def document(one: VersionSummary) -> dict[str, Any]:
    """Return a version for programs."""
    label, model, rows, items, first, last = one.counts
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
