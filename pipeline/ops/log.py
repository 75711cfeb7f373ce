"""List the newest requests, of a task or of all: what was asked when, which way, and what came of it. Reads only."""

from typing import Any

from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops.show import request_documents
from pipeline.store import asked


def run(ws: OpenWorkspace, *, limit: int, every: bool = False, raw: bool = False) -> list[dict[str, Any]]:
    """Return the newest requests of the task in use, or of `every` task, newest first.

    Each is as `pipeline.ops.show.request_documents` has it, with `name`, by which a person knows the item, and with
    `raw` as it went over the wire. Only about so many are read, however many there are.
    """
    with ws.store.read() as tx:
        found = asked.newest_requests(tx, limit=limit, task=None if every else ws.task.name)
        names: dict[tuple[str, str], str] = {}
        for task in dict.fromkeys(one.task for one in found):
            ids = [one.item_id for one in found if one.task == task]
            names |= {(task, key): name for key, name in ws.task_of(task).names(tx, ids).items()}
        told = request_documents(tx, found, data=ws.data if raw else None)
    return [{**one, "name": names.get((one["task"], one["item"]), one["item"])} for one in told]
