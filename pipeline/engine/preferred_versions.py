"""Store the versions that a user prefers."""

from pipeline.core.progress import Progress
from pipeline.core.settings import Settings
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.tables.answer_views import (
    are_views_made,
    make_views,
)


def store_preference(store: Store, name: str, settings: Settings, *, display: Progress) -> None:
    """Store PREFER_VERSIONS with a task, and update its views to show the preferred answers.

    A changed preference is also recorded as a change of the task's rows. `PREFER_VERSIONS=none`
    removes the stored preference. If PREFER_VERSIONS is not set, the stored preference stays, and
    only missing or outdated views are made. It is not checked that the versions exist. Writes
    nothing if the task does not exist or all is up to date. Lines about new views are printed.

    Args:
        store: The database.
        name: The name of the task.
        settings: They contain the preferred versions.
        display: Gets the lines.
    """
    versions = settings.prefer_versions
    with store.read() as tx:
        record = workspace.get_task(tx, name)
        if record is None:
            return
        is_stored = versions in {None, record.preferred}
        if is_stored and are_views_made(tx, record):
            return

    with store.write() as tx:
        record = workspace.get_task(tx, name) or record
        if versions not in {None, record.preferred}:
            workspace.update_members(tx, name, preferred_versions=versions)
            workspace.record_row_change(tx, name)
            record = workspace.get_task(tx, name) or record
        lines = make_views(tx, record)

    for line in lines:
        display.say(line)
