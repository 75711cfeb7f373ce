"""List items of a task, page by page, as a file, counted; show all that is known of one; let parked ones go again."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.batch.batch_files import sealed_request, sealed_result
from pipeline.core import files
from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import FindableError, InputError
from pipeline.core.row_listing import (
    SORT_TIMEOUT_S,
    ListedRow,
    RowCounts,
    RowFilter,
    RowListOptions,
    RowsPage,
)
from pipeline.core.text import format_object
from pipeline.engine import claiming
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.gemini.requests import request_key, shown_line
from pipeline.gemini.responses import ResultFile
from pipeline.index.builds import describe_index_state
from pipeline.ops.export import ExportReport, check_target, write_file
from pipeline.store import answers, batches, claims, erasure, workspace
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection, Store
from pipeline.tables import export

ROWS = 1_000  # of a file that are read at once
ALL = RowFilter()
CLEANED = HintTemplate("the batch's files were removed by `{}`", CommandHint("clean"))


def page(
    ws: WorkspaceSession,
    which: RowFilter = ALL,
    *,
    limit: int,
    after: str | None = None,
    **how: Any,
) -> RowsPage:
    """Return at most `limit` items of the task in use, those behind the place `after` where it is given.

    Of `sort` and `fields` see `RowListOptions`; InputError where there is no such place, state, sort or column.
    """
    with ws.store.read() as tx:
        return ws.task.grid(tx).page(tx, RowListOptions(limit, which, after, **how))


def counts(
    ws: WorkspaceSession, which: RowFilter = ALL, *, within_s: float | None = SORT_TIMEOUT_S
) -> RowCounts:
    """Return how many items there are of each state; what else tells them apart where that takes no longer."""
    with ws.store.read() as tx:
        return ws.task.grid(tx).counts(tx, which, within_s=within_s)


def write_csv(
    ws: WorkspaceSession, path: Path, which: RowFilter = ALL, *, overwrite: bool, **how: Any
) -> ExportReport:
    """Write what `csv` yields to a file that appears when it is whole; InputError where `check_target` refuses."""
    check_target(path, overwrite=overwrite)
    lines = write_file(path, csv(ws, which, **how))
    return ExportReport(str(path), "csv", lines - 1, ws.task.words.one)  # the header is a line, too


def csv(ws: WorkspaceSession, which: RowFilter = ALL, **how: Any) -> Iterator[bytes]:
    """Yield all items that are wanted as CSV: the header, then an item a line, its state last."""
    with ws.store.read() as tx:
        pages = ws.task.grid(tx).pages(tx, RowListOptions(ROWS, which, within_s=None, **how))
        first = next(pages)
        rows = (
            [*map(_cell, one.values.values()), one.state]
            for page in chain([first], pages)
            for one in page.items
        )
        yield from export.encode_csv(rows, [*first.names, "state"])


def _cell(value: Any) -> str | float:
    return export.to_spreadsheet_cell(
        value, texts=isinstance(value, list) and all(isinstance(one, str) for one in value)
    )


# ---- one item


def show(ws: WorkspaceSession, name: str, *, raw: bool = False) -> dict[str, Any]:
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
        listed = next(iter(ws.task.grid(tx).page(tx, RowListOptions(1, only=item_id)).items), None)
        given, failed = answers.answers_and_attempts_of_row(tx, ws.task.name, item_id)
        parked = claims.parked_reason(tx, ws.task.name, item_id, prompt_version=ws.task.own)
        called = ws.task.table(tx).names(tx, [item_id]).get(item_id, item_id)
        index = None  # where nothing of the task is indexed
        if ws.is_indexed:
            entry = next(iter(ws.collection.entries(tx, [item_id])), None)
            index = describe_index_state(ws.data, ws.collection, item_id, entry)
        requests = answers.requests_of_row(tx, ws.task.name, item_id)
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
            {
                **one,
                "answer": json.loads(one["answer"]),
                "forgotten": one["answer"] == answers.FORGOTTEN_ANSWER,
            }
            for one in given
        ],
        "attempts": failed,
        "index": index,
        "requests": requests,
        "cost": sum(one["cost"] or 0.0 for one in requests),
    }


def newest_requests(
    ws: WorkspaceSession, *, limit: int, every: bool = False, raw: bool = False
) -> list[dict[str, Any]]:
    """Return the newest requests of the task in use, or of `every` task, newest first.

    Each has `name`, by which a person knows the item, and with `raw` how it went over the wire. Only about so many are
    read, however many there are.
    """
    with ws.store.read() as tx:
        found = answers.newest_requests(tx, limit=limit, task=None if every else ws.task.name)
        names: dict[tuple[str, str], str] = {}
        for task in dict.fromkeys(one["task"] for one in found):
            ids = [one["item"] for one in found if one["task"] == task]
            names |= {
                (task, key): name for key, name in ws.task_of(task).table(tx).names(tx, ids).items()
            }
        found = _with_wire(tx, found, ws.data) if raw else found
    return [{**one, "name": names.get((one["task"], one["item"]), one["item"])} for one in found]


def _with_wire(tx: Connection, found: list[dict[str, Any]], data: Path) -> list[dict[str, Any]]:
    cleaned = erasure.cleaned_batches(tx)
    return [
        {**one, "wire": _wire(data, batches.get_batch(tx, one["batch"]), one["item"], cleaned)}
        for one in found
    ]


def _is_stale(listed: ListedRow | None, given: Sequence[dict[str, Any]]) -> bool | None:
    """Return whether the input is another one than that of the last answer that stands."""
    stands = [one for one in given if one["applied"] and one["answer"] != answers.FORGOTTEN_ANSWER]
    if listed is None or listed.input_hash is None or not stands:
        return None
    return bool(stands[-1]["input_hash"] != listed.input_hash)


def _wire(data: Path, batch: BatchRow, item_id: str, cleaned: Collection[int]) -> dict[str, Any]:
    """Return what a batch's sealed files hold of an item, or why nothing; of those `cleaned` the files were removed."""

    def lines(
        locate: Callable[[Path, BatchRow], Path], sha256: str | None
    ) -> tuple[tuple[str, ...], str]:
        try:
            path = locate(data, batch)
            if batch.number in cleaned and not path.is_file():
                return (), str(CLEANED)
            name = path.relative_to(data).as_posix()
            files.verify(path, sha256=sha256 or "", file_label=name)
        except FindableError as error:
            return (), error.message
        with ResultFile(path) as found:
            found_lines = found.lines_of([request_key(batch.task, item_id)])[0]
        told = tuple(line.decode("utf-8", "replace") for line in found_lines)
        return told, "" if told else f"{name} has no line of it"

    asked, no_request = lines(sealed_request, batch.request_sha256)
    request = next((shown_line(one.encode()).decode() for one in asked), None)
    ended = "it ended without a result" if batch.is_over else "no result has come yet"
    replies: tuple[tuple[str, ...], str] = ((), f"the batch is {batch.state}: {ended}")
    if batch.result_file is not None:
        replies = lines(sealed_result, batch.result_sha256)
    return {
        "request": request,
        "replies": replies[0],
        "no_request": no_request,
        "no_reply": replies[1],
    }


# ---- those that are parked


@dataclass(frozen=True)
class ParkedRow:
    """One parked item: the name it goes by, the reason, and since when."""

    name: str
    reason: str
    since: datetime

    __repr__ = format_object


def list_parked(store: Store, task: Task) -> list[ParkedRow]:
    """Return every parked item of the task, longest first."""
    with store.read() as tx:
        rows = claims.parked_rows(tx, task.name, prompt_version=task.own)
        names = task.table(tx).names(tx, [row[0] for row in rows])
    return [ParkedRow(names.get(key, key), reason, since) for key, reason, since in rows]


def unpark_items(ws: WorkspaceSession, *, name: str | None, everyone: bool) -> list[str]:
    """Let one item or all of the task go again, and return their names.

    Raises:
        InputError: neither or both were asked for, nothing has that name, or it was not confirmed.
    """
    if (name is None) == (not everyone):
        raise InputError(
            "say who: one by name, or everyone",
            hint=f"`{ws.task.words.step('parked')}` lists them; {OptionHint(all=True)} is everyone",
        )
    task = ws.task
    with ws.store.read() as tx:
        ids = None if name is None else [task.id_of(tx, name)]
        free = claims.unparkable_ids(tx, task.name, prompt_version=task.own, ids=ids)
    if not free:
        return []
    if everyone:
        ws.agree(
            f"Let {len(free)} parked {task.words.many} be asked again?",
            nothing="nothing was let go",
        )
    with ws.store.write() as tx:
        unparked = claims.unpark(tx, task.name, prompt_version=task.own, ids=ids)
        names = task.table(tx).names(tx, unparked)
    return sorted(names.get(key, key) for key in unparked)


def reopen(ws: WorkspaceSession, ids: Sequence[str]) -> list[str]:
    """Let some rows be asked again, and return those that are open by then.

    Parked ones are let go. What a model answered is kept, and counts no more; a person's word stays, as does a row that
    is being asked.
    """
    task = ws.task
    with ws.store.write() as tx:
        claims.unpark(tx, task.name, prompt_version=task.own, ids=ids)
        taken = claims.claimed_among(tx, task.name, ids) | answers.corrected_among(
            tx, task.name, ids
        )
        free = [one for one in ids if one not in taken]
        task.take_back(tx, free)
        answers.unapply_answers(tx, task.name, free)
        claims.reopen_rows(tx, task.name, free)
        workspace.record_row_change(tx, task.name)
        return claiming.claimable_among(tx, task, free)
