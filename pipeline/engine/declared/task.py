"""Make the engine's task of a record of a declared one."""

from typing import cast

from pipeline.core.task import Task, Words
from pipeline.engine.declared.given import ROWS
from pipeline.engine.declared.hooks import DeclaredHooks
from pipeline.engine.declared.row_images import UNSET, ImageSettings
from pipeline.engine.declared.rows import NO_WRITER, DeclaredRows, RowWriter
from pipeline.store.tasks import TaskRecord

ANSWER_TOKENS = 150  # where the record is older than estimates by the schema


def declared_task(
    record: TaskRecord, *, refreshes: bool = False, image_settings: ImageSettings = UNSET, writer: RowWriter = NO_WRITER
) -> Task:
    """Return the task of a record; no file is loaded. `refreshes` asks again about rows that changed."""
    named = f" TASK={record.name}"
    words = Words(
        one="row",
        many="rows",
        done="answered",
        all_done="every row that holds something is answered, claimed or parked",
        input="row",
        inputs=f"the rows of {record.name}" + (" and their images" if record.words.get("images") else ""),
        after=f"make export{named} TO={record.name}-answers.csv",
        again=f"make tag{named}",
        named=named,
    )
    source = "its query gives none" if record.is_query else f"{record.items} holds none that can be asked about"
    rows = DeclaredRows(record, refreshes, image_settings=image_settings, writer=writer)
    return Task(
        name=record.name,
        label=rows.label,
        words=words,
        how_to_fill=f"{source}; `{words.make('try')}` shows what is asked",
        items_from=_items_from(record),
        answer_tokens=record.words.get("answer_tokens", ANSWER_TOKENS),
        rows=rows,
        hooks=DeclaredHooks(rows),
        fingerprint=record.fingerprint,
        model=record.words.get("model"),
        sends_images=bool(record.words.get("images")),
        gates=str(record.words.get("gates") or ""),
    )


def _items_from(record: TaskRecord) -> str:
    if record.items == ROWS:
        return "they are given in Python, which may give others"
    if record.is_query:
        return f"they are what the query in `{record.path}` gives; change that, or what it reads"
    return f"they stand in `{record.items}`, which `{record.path}` names; change that file, and it is read again"


def rows_of(task: Task) -> DeclaredRows:
    """Return the rows of a declared task."""
    return cast(DeclaredRows, task.rows)
