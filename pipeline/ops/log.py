"""List the newest requests, of a task or of all: what was asked when, which way, and what came of it. Reads only."""

from typing import Any

from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops.show import request_document
from pipeline.store import asked


def run(ws: OpenWorkspace, *, limit: int, every: bool = False) -> list[dict[str, Any]]:
    """Return the newest requests of the task in use, or of `every` task, newest first.

    Each is as `pipeline.ops.show.request_document` has it, with `name`, by which a person knows the item. Only about
    so many are read, however many there are.
    """
    with ws.store.read() as tx:
        found = asked.newest_requests(tx, limit=limit, task=None if every else ws.task.name)
        names: dict[tuple[str, str], str] = {}
        for task in dict.fromkeys(one.task for one in found):
            ids = [one.item_id for one in found if one.task == task]
            names |= {(task, key): name for key, name in ws.task_of(task).names(tx, ids).items()}
    return [{**request_document(one), "name": names.get((one.task, one.item_id), one.item_id)} for one in found]
