"""Take answers back, of any task: whose there are, and the next block of one version."""

from typing import TYPE_CHECKING, Any

from pipeline.core.task import RolledBackPage, Task, VersionCounts
from pipeline.store import answers, versions

if TYPE_CHECKING:
    from pipeline.store.database import Connection


def version_counts(tx: "Connection", task: Task) -> list[VersionCounts]:
    """Return every version that has answers, by label and model; also one that is being rolled back."""
    found = task.hooks.versions(tx)
    return answers.version_counts(tx, task.name) if found is None else found


def take_back(tx: "Connection", task: Task, label: str, *, model: str, after: Any | None) -> RolledBackPage:
    """Remove the next block of a version's answers, in the caller's transaction; `after` is None for the first.

    Only what is still as that version gave it goes.
    """
    found = task.hooks.roll_back(tx, label, model=model, after=after)
    if found is not None:
        return found
    extractor = f"{label}/{model}"
    page = versions.page_of_answers(tx, task.name, extractor, after=after or 0, applied=True)
    if not page:
        return RolledBackPage(0, None)
    ids = list(dict.fromkeys(one for _, one in page))
    return RolledBackPage(task.rows.remove(tx, ids, extractor=extractor), page[-1][0])
