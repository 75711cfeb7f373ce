"""Continue a run that asks only selected rows of a user's task (`tag WHERE=`)."""

from pipeline.engine.task import Task
from pipeline.engine.user_task import UserTask
from pipeline.store import selections
from pipeline.store.answers import VersionCounts
from pipeline.store.database import Connection


def with_unfinished_selection(tx: Connection, task: Task) -> Task:
    """Return a copy of a task in which only the selected rows of its unfinished run are open.

    The copy has the version of that run (`tag WHERE=`). The task itself is returned if it has no
    unfinished run over selected rows, or if the run began before `version=` of the task's file was
    raised.
    """
    run = selections.find_unfinished_selection(tx, task.name)
    if run is None or not isinstance(task, UserTask):
        return task
    label = VersionCounts.from_version(run.version).label
    if label not in task.record.current_versions:
        return task
    return task.with_selection(run.number, label)
