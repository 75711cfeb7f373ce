"""Derived values and indexed texts of rows, which functions of a task's file compute.

They are computed from a row and its preferred answer, stored with the row, and also written to the
columns of other programs that `derive=` names.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.files import hash_file
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.rows.cells import to_column_value, to_compact_json, to_plain_value
from askrows.pipeline.rows.stored_rows import KEY_COLUMN
from askrows.pipeline.rows.write_to import make_derived_targets
from askrows.pipeline.store import rows as row_store
from askrows.pipeline.store.database import split_into_pages
from askrows.pipeline.store.workspace import record_row_change
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_file import find_source_file
from askrows.pipeline.tasks.task_values import RowFault, RowFaults

# A fault that `doctor` finds.
WRONG_DERIVED_FAULT = "derived values that do not match their rows"


def update_derived_values(tx: Connection, task: Task, row_ids: Sequence[str] | None = None) -> None:
    """Compute the derived values and the indexed texts of rows anew, and store them.

    They are also written to the columns of other programs that `derive=` names. Nothing is done if
    the task's file has no function that makes them. Called after the rows or their answers changed,
    in the same transaction.

    Args:
        row_ids: The rows; None: those whose values are not computed yet.

    Raises:
        ConfigurationError: A function failed, or its value cannot be stored.
        RefusedRowError: Another program's table refuses a value.
    """
    if not task.record.functions_id:
        return
    if row_ids is None:
        row_ids = row_store.list_ids_without_derived_values(tx, task.name)
    targets = make_derived_targets(task.record)
    for page_ids in split_into_pages(row_ids):
        derived_rows = _derive_rows(tx, task, page_ids)
        records = [
            {"id": row_id, "derived": to_compact_json(values), "index_text": index_text}
            for row_id, (values, index_text) in derived_rows.items()
        ]
        row_store.store_derived_values(tx, task.name, records)
        for name, target in targets.items():
            target_values = {row_id: values[name] for row_id, (values, _) in derived_rows.items()}
            target.overwrite_values(tx, target_values)


def correct_derived_values(tx: Connection, task: Task) -> int:
    """Compute and store wrong derived values anew; return how many rows had wrong values.

    If a row had some, it is recorded that the task's rows changed.

    Raises:
        ConfigurationError: A function failed, or its value cannot be stored.
        RefusedRowError: Another program's table refuses a value.
    """
    wrong_ids = list(_find_rows_with_wrong_derived_values(tx, task))
    update_derived_values(tx, task, wrong_ids)
    if wrong_ids:
        record_row_change(tx, task.name)
    return len(wrong_ids)


def find_derived_value_faults(tx: Connection, task: Task, display: Progress) -> Sequence[RowFault]:
    """Return the faults of derived values; only read.

    They are not checked after a change of the task's file: the next `tag` computes them anew.
    """
    file = find_source_file(Path(task.record.path))
    if not file.is_file() or hash_file(file) != task.record.functions_id:
        return ()
    row_faults = RowFaults(
        {
            WRONG_DERIVED_FAULT: (
                "lists, exports and the index show other values",
                CommandHint("score", task=task.name),
                True,
            )
        }
    )
    table = task.rows
    with display.bar(f"checking {task.nouns.plural}", table.count_rows(tx)):
        for page_ids in split_into_pages(_find_rows_with_wrong_derived_values(tx, task)):
            names = table.read_names(tx, page_ids)
            row_faults.add(WRONG_DERIVED_FAULT, names.values(), len(page_ids))
    return row_faults.summarize_faults()


def _find_rows_with_wrong_derived_values(tx: Connection, task: Task) -> Iterator[str]:
    """Yield the ids of rows whose stored derived values or indexed text are not right.

    A cell that `derive=` names is wrong, too, if another program changed it. Rows that have no
    derived values yet are left out.
    """
    targets = make_derived_targets(task.record)
    for page in row_store.iterate_derived_pages(tx, task.name):
        derived_rows = _derive_rows(tx, task, list(page))
        wrong_ids = {
            row_id
            for row_id, (values, index_text) in derived_rows.items()
            if page[row_id] != (to_compact_json(values), index_text)
        }
        for name, target in targets.items():
            kind = task.record.derived[name]
            for row_id, cell in target.read_values(tx, list(derived_rows)):
                values, _ = derived_rows[row_id]
                stored_value = to_column_value(kind, to_plain_value(cell))
                if stored_value != to_column_value(kind, values[name]):
                    wrong_ids.add(row_id)
        yield from sorted(wrong_ids)


def _derive_rows(
    tx: Connection, task: Task, row_ids: Sequence[str]
) -> dict[str, tuple[dict[str, Any], Any]]:
    """Return the derived values and the indexed text of rows, by row id; store nothing."""
    rows = task.read_rows(tx, row_ids)
    answers = task.read_preferred_values(tx, row_ids)
    return {
        row_id: _derive_values_and_index_text(task, row, answers[row_id] or None)
        for row_id, row in rows.items()
    }


def _derive_values_and_index_text(
    task: Task, row: Mapping[str, Any], answer: Mapping[str, Any] | None
) -> tuple[dict[str, Any], Any]:
    """Return the derived values of a row by name, and its indexed text.

    The text is None if no function makes it. Functions get the answer None if the row has none.
    """
    declaration = task.declaration
    source_values = {name: row[name] for name in task.record.columns}
    derive = partial(
        task.user_file.run_derive_function, row_id=row[KEY_COLUMN], row=source_values, answer=answer
    )
    functions = declaration.derived_functions
    values = {
        name: derive(functions[name], kind=kind) for name, kind in task.record.derived.items()
    }
    index_text = None
    if callable(declaration.index):
        index_text = derive(declaration.index, kind="text")
    return values, index_text
