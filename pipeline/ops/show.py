"""Show everything known about one item of any task: its row, state, answers, attempts, requests, cost. Reads only."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pipeline.core import files
from pipeline.core.errors import FindableError
from pipeline.core.listed import ItemsWanted, ListedItem
from pipeline.core.step import Hint, Step
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.requests import request_key, shown_line
from pipeline.gemini.responses import ResultFile
from pipeline.index.builds import place_of_entry
from pipeline.store import answers, asks, batches, erase
from pipeline.store.batches import Batch
from pipeline.store.database import Connection

CLEANED = Hint("the batch's files were removed by `{}`", Step("clean"))


def run(ws: OpenWorkspace, name: str, *, raw: bool = False) -> dict[str, Any]:
    """Return what is known about the item of that name, from one snapshot.

    Its keys: `task`, `item` (id), `name`, `state`, `parked` (the reason), `columns`, `changed_at` (the input, last),
    `stale` (it changed since it was answered; None where not known), `answers` and `attempts` (oldest first, each with
    all that is kept of it, an answer as a document, `forgotten` where it was), `index` (`indexed`, `up_to_date`,
    `build`; None where nothing of the task is indexed), `requests` (newest first; see `asked`), `cost`
    (USD). With `raw` each request has `wire`.

    Raises:
        InputError: there is no such item.
    """
    with ws.store.read() as tx:
        item_id = ws.task.id_of(tx, name)
        listed = next(iter(ws.task.grid(tx).page(tx, ItemsWanted(1, only=item_id)).items), None)
        given, failed = answers.of_item(tx, ws.task.name, item_id)
        parked = asks.parked_reason(tx, ws.task.name, item_id, own=ws.task.own)
        called = ws.task.table(tx).names(tx, [item_id]).get(item_id, item_id)
        index = None  # where nothing of the task is indexed
        if ws.is_indexed:
            entry = next(iter(ws.collection.entries(tx, [item_id])), None)
            index = place_of_entry(ws.data, ws.collection, item_id, entry)
        requests = answers.requests_of_item(tx, ws.task.name, item_id)
        requests = _with_wire(tx, requests, ws.data) if raw else requests
    return {
        "task": ws.task.name,
        "item": item_id,
        "name": called,
        "state": listed.state if listed else None,
        "parked": parked,
        "columns": dict(listed.values) if listed else {},
        "changed_at": listed.changed_at if listed else None,
        "stale": _is_stale(listed, given),
        "answers": [
            {**one, "answer": json.loads(one["answer"]), "forgotten": one["answer"] == answers.FORGOTTEN}
            for one in given
        ],
        "attempts": failed,
        "index": index,
        "requests": requests,
        "cost": sum(one["cost"] or 0.0 for one in requests),
    }


def newest_requests(ws: OpenWorkspace, *, limit: int, every: bool = False, raw: bool = False) -> list[dict[str, Any]]:
    """Return the newest requests of the task in use, or of `every` task, newest first.

    Each has `name`, by which a person knows the item, and with `raw` how it went over the wire. Only about so many are
    read, however many there are.
    """
    with ws.store.read() as tx:
        found = answers.newest_requests(tx, limit=limit, task=None if every else ws.task.name)
        names: dict[tuple[str, str], str] = {}
        for task in dict.fromkeys(one["task"] for one in found):
            ids = [one["item"] for one in found if one["task"] == task]
            names |= {(task, key): name for key, name in ws.task_of(task).table(tx).names(tx, ids).items()}
        found = _with_wire(tx, found, ws.data) if raw else found
    return [{**one, "name": names.get((one["task"], one["item"]), one["item"])} for one in found]


def _with_wire(tx: Connection, found: list[dict[str, Any]], data: Path) -> list[dict[str, Any]]:
    cleaned = erase.cleaned_batches(tx)
    return [{**one, "wire": _wire(data, batches.get_batch(tx, one["batch"]), one["item"], cleaned)} for one in found]


def _is_stale(listed: ListedItem | None, given: Sequence[dict[str, Any]]) -> bool | None:
    """Return whether the input is another one than that of the last answer that stands."""
    stands = [one for one in given if one["applied"] and one["answer"] != answers.FORGOTTEN]
    if listed is None or listed.input_hash is None or not stands:
        return None
    return bool(stands[-1]["input_hash"] != listed.input_hash)


def _wire(data: Path, batch: Batch, item_id: str, cleaned: Collection[int]) -> dict[str, Any]:
    """Return what a batch's sealed files hold of an item, or why nothing; of those `cleaned` the files were removed."""

    def lines(name: str, sha256: str | None) -> tuple[tuple[str, ...], str]:
        if batch.number in cleaned and not (data / name).is_file():
            return (), str(CLEANED)
        try:
            path = files.verify(data / name, sha256=sha256 or "", what=name)
        except FindableError as error:
            return (), error.message
        with ResultFile(path) as found:
            found_lines = found.lines_of([request_key(batch.task, item_id)])[0]
        told = tuple(line.decode("utf-8", "replace") for line in found_lines)
        return told, "" if told else f"{name} has no line of it"

    asked, no_request = lines(batch.request_file, batch.request_sha256)
    request = next((shown_line(one.encode()).decode() for one in asked), None)
    ended = "it ended without a result" if batch.is_over else "no result has come yet"
    replies: tuple[tuple[str, ...], str] = ((), f"the batch is {batch.state}: {ended}")
    if batch.result_file is not None:
        replies = lines(batch.result_file, batch.result_sha256)
    return {"request": request, "replies": replies[0], "no_request": no_request, "no_reply": replies[1]}
