"""List, count and export the rows of a task, show one, unpark rows, and ask rows again.

A sealed file is a request or result file of a batch whose SHA-256 is in the database. An answer is
applied, or in force, if the task's table shows it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from askrows.pipeline.batch.batch_files import get_checked_request_path, get_checked_result_path
from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import AskrowsError, InputError
from askrows.pipeline.core.report import (
    Report,
    format_members_as_line,
    format_nested_lines,
    make_document_parts,
    make_table,
)
from askrows.pipeline.core.row_listing import (
    NO_FILTER,
    SORT_TIMEOUT_S,
    RowCounts,
    RowFilter,
    RowListOptions,
    RowPosition,
    RowsPage,
)
from askrows.pipeline.core.text import make_short_repr, plural
from askrows.pipeline.index.builds import make_index_state_document
from askrows.pipeline.index.indexed_tasks import find_indexed_task
from askrows.pipeline.provider.requests import make_request_key, replace_line_images_by_hashes
from askrows.pipeline.provider.result_file import ResultFile
from askrows.pipeline.rows import export
from askrows.pipeline.rows.facets import MAX_VALUES
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.stored_rows import CHANGED_AT_COLUMN
from askrows.pipeline.store import again, answers, batches, claims, journal, request_history
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks import claiming, row_export
from askrows.pipeline.tasks.row_export import ExportReport, check_export_target
from askrows.pipeline.tasks.selection import find_task_by_name
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Columns of parked rows and of the newest requests, and members of a row; see `make_table`.
PARKED_COLUMNS = "row=name reason since"
REQUEST_COLUMNS = "when=at row=name batch state outcome reason in=tokens_in out=tokens_out cost"
ROW_MEMBERS = (
    "row=name state parked stale changed=changed_at columns answer confidences answers attempts "
    "requests index wire"
)

# Lists of rows


def read_rows_page(
    store: Store,
    task: Task,
    options: RowListOptions,
) -> RowsPage:
    """Return a page of the rows of a task.

    Raises:
        InputError: A row id, state, sort order, column or condition is invalid, or sorting takes
            too long.
    """
    with store.read() as tx:
        return task.make_grid(tx).read_page(tx, options)


def find_row_position(
    store: Store,
    task: Task,
    row_id: str,
    options: RowListOptions,
) -> RowPosition | None:
    """Return the place of a row in a list; None if counting takes more than `options.within_s`.

    Raises:
        InputError: The row id, a state, sort order, column or condition is invalid.
    """
    with store.read() as tx:
        return task.make_grid(tx).find_place_and_list_length(tx, row_id, options)


def count_rows(
    ws: OpenWorkspace,
    task: Task,
    row_filter: RowFilter = NO_FILTER,
    *,
    within_s: float | None = SORT_TIMEOUT_S,
    max_members: int = MAX_VALUES,
) -> RowCounts:
    """Return the number of rows of the task, by state, version and values of fields.

    Args:
        max_members: The most members of lists that are counted.
        within_s: Leave out versions and fields if counting them takes more seconds. If this
            is None, there is no limit.

    Raises:
        InputError: The filter is invalid.
    """
    with ws.store.read() as tx:
        return task.make_grid(tx).count_rows(
            tx, row_filter, data=ws.data, within_s=within_s, max_members=max_members
        )


def write_rows_to_file(
    ws: OpenWorkspace,
    task: Task,
    path: Path,
    options: RowListOptions,
    *,
    overwrite: bool,
) -> ExportReport:
    """Write the rows of a list to a file in the format of its ending.

    The file appears when it is complete. The last column is the state. One snapshot is read.

    Args:
        ws: The workspace.
        task: The task.
        path: The file.
        options: The list.
        overwrite: Replace an existing file.

    Returns:
        The path, the format and the number of written rows.

    Raises:
        InputError: The ending is unknown; a state, sort order, column or condition is invalid; or
            the file cannot be written, or exists and must not be overwritten.
        ConfigurationError: The format is Parquet, and its library is not installed.
    """
    format_ = row_export.choose_or_refuse_format(task, path, None)
    check_export_target(path, ws.store, ws.data, overwrite=overwrite)
    report = ExportReport(str(path), format_, word=task.nouns.singular)
    with ws.store.read() as tx:
        grid = task.make_grid(tx)
        kinds, listed_rows = grid.read_kinds_and_rows(tx, options)
        rows = ({**row.values, grid.state_name: row.state} for row in listed_rows)
        counted_rows = row_export.count_rows(rows, report, ws.display)
        kinds = {**kinds, grid.state_name: "text"}
        row_export.write_or_replace_file(
            path, export.encode_rows(counted_rows, format_, kinds=kinds)
        )
    return report


# Details of a row


def read_row_details(
    ws: OpenWorkspace,
    task: Task,
    name: str,
    *,
    raw: bool = False,
) -> dict[str, Any]:
    """Return all that the workspace has about a row, for JSON, from a single snapshot.

    Args:
        name: Name or id of the row.
        raw: Add to each request `wire`, with its lines in the sealed files.

    Returns:
        A document with these members:

        - `task`, `row` (its id), `name`, `state`, `parked` (the reason, or None)
        - `columns`: the row's values, and the reason of its state if there is one; `changed_at`:
          the last change of the input
        - `stale`: why the row is stale, or None
        - `answers` (with `preferred`: whether lists and exports show it; `forgotten`: whether it
          was erased; and `confidences` by field as {probability, model}) and `attempts`, oldest
          first, each with all stored columns
        - `index`: `indexed`, `up_to_date` and `build`, or None if the task has no index
        - `requests`, newest first, each with its batch, outcome, tokens, cost and answer; `cost`:
          their sum in USD, with unknown costs as 0

    Raises:
        InputError: No row has this name.
    """
    with ws.store.read() as tx:
        row_id = task.require_row_id_by_key_or_hash(tx, name)
        grid = task.make_grid(tx)
        view_row = next(grid.read_rows(tx, row_ids=[row_id], has_gone_rows=True), None)
        columns = {}
        if view_row is not None:
            names = [*grid.source_names, *([grid.reason_name] if view_row.reason else [])]
            columns = grid.list_values(view_row, names)
        preferred_answer = view_row.answer if view_row else None
        answer_rows, attempt_rows = answers.list_answers_and_attempts(tx, task.name, row_id)
        parked_reason = claims.find_parked_reason(
            tx,
            task.name,
            row_id,
            prompt_version=task.parked_version,
        )
        display_name = task.rows.read_names(tx, [row_id]).get(row_id, row_id)
        stale_reason = None
        if view_row is not None and view_row.state == RowState.STALE:
            stale_reason = view_row.reason
            marker = again.find_marking_person(tx, task.name, row_id)
            if marker is not None:
                stale_reason = f"{stale_reason} by {marker}"

        index_state = None
        index = find_indexed_task(ws, task)
        if index is not None:
            entry = next(iter(index.read_entries(tx, [row_id])), None)
            index_state = make_index_state_document(ws.data, index, row_id, entry)

        requests = request_history.list_requests_of_row(tx, task.name, row_id)
        if raw:
            _add_request_and_reply_lines(tx, requests, ws.data)

    return {
        "task": task.name,
        "row": row_id,
        "name": display_name,
        "state": view_row.state if view_row else None,
        "parked": parked_reason,
        "columns": columns,
        "changed_at": view_row.cells.get(CHANGED_AT_COLUMN) if view_row else None,
        "stale": stale_reason,
        "answers": [
            _make_answer_document(answer_row, preferred_answer) for answer_row in answer_rows
        ],
        "attempts": attempt_rows,
        "index": index_state,
        "requests": requests,
        "cost": sum(request["cost"] or 0.0 for request in requests),
    }


def _make_answer_document(
    answer_row: dict[str, Any], preferred_answer: answers.PreferredAnswer | None
) -> dict[str, Any]:
    """Return a database row of an answer with its JSON parsed, and two members added."""
    is_preferred = preferred_answer is not None and answer_row["id"] == preferred_answer.id
    return {
        **answer_row,
        "answer": json.loads(answer_row["answer"]),
        "unmerged": json.loads(answer_row["unmerged"] or "null"),
        "confidences": json.loads(answer_row["confidences"] or "{}"),
        "preferred": is_preferred,
        "forgotten": answer_row["answer"] == answers.FORGOTTEN_ANSWER,
    }


def report_row(
    ws: OpenWorkspace,
    task: Task,
    name: str,
    *,
    raw: bool,
) -> Report:
    """Report all that the workspace has about a row, with its preferred answer.

    Args:
        name: Name or id of the row.
        raw: Add the lines of each request in the sealed files.

    Raises:
        InputError: No row has this name.
    """
    document = read_row_details(ws, task, name, raw=raw)
    row_id = document["row"]
    with ws.store.read() as tx:
        titles = task.rows.read_titles(tx, [row_id])
    preferred_answers = [answer for answer in document["answers"] if answer["preferred"]]
    preferred_answer: Mapping[str, Any] = next(iter(preferred_answers), {})
    index_state = document["index"] or {}
    members = {
        **document,
        "name": titles.get(row_id, row_id),
        "answer": preferred_answer.get("answer"),
        "confidences": {
            name: confidence["probability"]
            for name, confidence in preferred_answer.get("confidences", {}).items()
        },
        "index": format_members_as_line(index_state, " ".join(index_state)),
        "wire": [request["wire"] for request in document["requests"] if raw],
    }
    return Report(document, parts=make_document_parts(members, ROW_MEMBERS))


def report_newest_requests(
    ws: OpenWorkspace,
    task: Task,
    tasks: Sequence[Task],
    *,
    limit: int,
    all_tasks: bool,
    raw: bool,
) -> Report:
    """Report at most `limit` requests, newest first, each with the `name` of its row.

    The name is the row's id if the row is not in its table. The text is a table, or with `raw` all
    members of each request. Only the newest requests are read.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
        limit: The largest number of requests.
        all_tasks: Report requests of all tasks, not only of the task in use.
        raw: Add to each request `wire`, with its lines in the sealed files.
    """
    with ws.store.read() as tx:
        requests = request_history.list_newest_requests(
            tx,
            limit=limit,
            task=None if all_tasks else task.name,
        )
        for request in requests:
            row_id = request["row"]
            request_task = find_task_by_name(tasks, request["task"], default=task)
            table = request_task.rows
            request["name"] = table.read_titles(tx, [row_id]).get(row_id, row_id)
        if raw:
            _add_request_and_reply_lines(tx, requests, ws.data)

    if raw:
        return Report(requests, parts=[*format_nested_lines("request", requests)])
    return Report(requests, parts=[make_table(requests, REQUEST_COLUMNS)])


def _add_request_and_reply_lines(
    tx: Connection,
    requests: Iterable[dict[str, Any]],
    data: Path,
) -> None:
    """Add `wire` to each request: the lines about its row in the sealed files of its batch.

    `wire` has `request` (the line without images, None if there is no line) and `replies` (all
    lines), and in `no_request` and `no_reply` the reasons why they are missing, else "".
    """
    cleaned_batches = journal.read_cleaned_batches(tx)
    for request in requests:
        batch = batches.get_batch(tx, request["batch"])
        is_cleaned = batch.number in cleaned_batches
        read_lines = partial(
            _read_sealed_lines_or_reason, data, batch, request["row"], is_cleaned=is_cleaned
        )
        request_lines, no_request = read_lines(get_checked_request_path, batch.request_sha256)
        reply_lines, no_reply = read_lines(get_checked_result_path, batch.result_sha256)
        redacted_lines = [
            replace_line_images_by_hashes(line.encode()).decode() for line in request_lines
        ]
        request["wire"] = {
            "request": next(iter(redacted_lines), None),
            "replies": reply_lines,
            "no_request": no_request,
            "no_reply": no_reply,
        }


def _read_sealed_lines_or_reason(
    data: Path,
    batch: batches.BatchRow,
    row_id: str,
    locate: Callable[[Path, batches.BatchRow], Path],
    sha256: str | None,
    *,
    is_cleaned: bool,
) -> tuple[list[str], str]:
    """Return the lines about a row in a sealed file, and the reason if it has no lines, else "".

    Errors are returned as the reason: there is no file, or the file is missing, changed, wrongly
    named, removed by `clean`, or has no line of the row.

    Args:
        locate: Returns the path of the file from the folder DATA and the batch.
        sha256: The recorded hash of the file. No lines are read if the file has another hash.
        is_cleaned: The removal of the batch's files by `clean` is recorded.
    """
    if sha256 is None:
        return [], f"the batch is {batch.state}, and no result was stored"
    try:
        path = locate(data, batch)
        if is_cleaned and not path.is_file():
            return [], f"the batch's files were removed by `{CommandHint('clean')}`"
        name = path.relative_to(data).as_posix()
        files.verify_sealed_file(path, sha256=sha256, file_label=name)
    except AskrowsError as error:
        return [], error.message

    with ResultFile(path) as result_file:
        (raw_lines,) = result_file.read_and_mark_lines([make_request_key(batch.task, row_id)])
    lines = [line.decode("utf-8", "replace") for line in raw_lines]
    return lines, "" if lines else f"{name} has no line about this row"


# Parked and answered rows


@dataclass(frozen=True)
class ParkedRow:
    """A parked row: its name, the reason, and the time since when it is parked."""

    name: str
    reason: str
    since: datetime

    __repr__ = make_short_repr


def list_parked_rows(store: Store, task: Task) -> list[ParkedRow]:
    """Return every parked row of the task, those parked longest first."""
    with store.read() as tx:
        parked_rows = claims.list_parked_rows(tx, task.name, prompt_version=task.parked_version)
        row_ids = [record.row_id for record in parked_rows]
        names = task.rows.read_titles(tx, row_ids)
    return [
        ParkedRow(names.get(record.row_id, record.row_id), record.reason, record.parked_at)
        for record in parked_rows
    ]


def report_parked_rows(ws: OpenWorkspace, task: Task) -> Report:
    """Report every parked row of the task with the reason and the time."""
    figures = [vars(row) for row in list_parked_rows(ws.store, task)]
    return Report(figures, parts=[make_table(figures, PARKED_COLUMNS)])


def unpark_rows(
    ws: OpenWorkspace,
    task: Task,
    *,
    name: str | None,
    all_rows: bool,
) -> Report:
    """Unpark a row, or all parked rows after the user confirmed it, and report their names.

    Rows that are being forgotten stay parked. If no row can be unparked, nobody is asked.

    Args:
        name: Name of the row, or None with `all_rows`.
        all_rows: Unpark all parked rows of the task.

    Raises:
        InputError: Both or neither of the arguments are given, no row has the name, or the user did
            not confirm.
    """
    nouns = task.nouns
    if (name is None) == (not all_rows):
        raise InputError(
            "name one row, or choose all; nothing was changed",
            hint=f"`{nouns.command('parked')}` lists them; {OptionHint(all=True)} chooses all",
        )

    with ws.store.read() as tx:
        row_ids = None if name is None else [task.require_row_id(tx, name)]
        unparkable_ids = claims.list_ids_user_may_unpark(
            tx,
            task.name,
            prompt_version=task.parked_version,
            row_ids=row_ids,
        )
    if not unparkable_ids:
        return Report({"unparked": []}, f"no {nouns.singular} to unpark")

    if all_rows:
        ws.confirm(f"Let {len(unparkable_ids)} parked {nouns.plural} be asked again?")
    with ws.store.write() as tx:
        unparked_ids = claims.unpark_and_forgive(
            tx,
            task.name,
            prompt_version=task.parked_version,
            row_ids=row_ids,
        )
        names_by_id = task.rows.read_titles(tx, unparked_ids)
    names = sorted(names_by_id.get(row_id, row_id) for row_id in unparked_ids)
    title = f"{plural(len(names), nouns.singular, nouns.plural)} can be asked again"
    return Report({"unparked": names}, title)


def unpark_and_mark_rows(
    store: Store,
    task: Task,
    row_ids: Sequence[str],
    *,
    who: str,
    now: datetime,
) -> list[str]:
    """Unpark rows and mark answered rows, so that they are asked; return the ids of these rows.

    Nothing changes for rows that are claimed, have a correction by a person, are empty, or are no
    longer in the source. One transaction, without a confirmation.

    Args:
        who: Who asks for the rows again.
    """
    with store.write() as tx:
        claims.unpark_and_forgive(
            tx, task.name, prompt_version=task.parked_version, row_ids=row_ids
        )
        claiming.mark_to_ask_again(tx, task, RowFilter(ids=row_ids), who=who, now=now)
        return claiming.filter_claimable_ids(tx, task, row_ids)
