"""Change the question and the fields of a task whose file findable wrote.

A change is tried on a few rows beside their present answers, and nothing is stored. If it is used,
the task's file is written with the next version. Then all rows are open, and present answers stay.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from pipeline.core import files, trust
from pipeline.core.errors import ChangedMeanwhileError, InputError
from pipeline.engine import task_file, task_registry
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_parser import WrittenTask, parse_task_file
from pipeline.engine.task_template import AnswerField
from pipeline.engine.user_task import UserTask
from pipeline.quality.label_accuracy import FieldComparison
from pipeline.quality.pilot import DEFAULT_PILOT_SEED
from pipeline.store import answers, workspace
from pipeline.store.database import Store
from pipeline.workflows import ask, try_out
from pipeline.workflows.preflight import Preflight


class ChangeTrial(NamedTuple):
    """Result of a trial of a change."""

    # Each row with its members id, name, a (present) and b (new): an answer, or why there is none.
    pairs: list[dict[str, Any]]
    # Estimate for all rows, or None if no reply came.
    estimate: Preflight | None
    # Number of all rows.
    row_count: int
    # How often the present (a) and the new answers (b) to labelled rows are right, by field.
    accuracy: Sequence[FieldComparison] = ()


def read_written_task(task: Task) -> WrittenTask | None:
    """Return the parts of a task's file, or None if findable did not write that file.

    None also if the task has no file, if the file cannot be read, or if a person edited it.
    """
    if not isinstance(task, UserTask) or task.user_file.path is None:
        return None
    path = Path(task.record.path)
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    return parse_task_file(text, path, task.record.columns)


def try_change(ws: WorkspaceSession, change: WrittenTask, *, size: int) -> ChangeTrial:
    """Ask a changed question about a few rows; only the cost is stored.

    The rows are rows with a person's label first, then other rows with an answer of the present
    version. If there is no such answer, they are the first rows. The result compares the new
    answers with the present ones and with labels, and has an estimate for all rows.

    Args:
        ws: The workspace, with the present task.
        change: The changed parts of its file.
        size: How many rows are asked.

    Raises:
        InputError: The change is invalid, there is no row to ask about, or the cost was not
            confirmed.
        ConfigurationError: No key is set, the model does not exist, or a budget has no room.
        FindableError: An error ended the calls before any reply was validated.
    """
    declaration = task_file.load_declaration_source(
        change.render().encode(), ws.task.name, change.draft.path
    )
    label = ws.task.version_label
    with ws.store.read() as tx:
        draft = task_registry.make_draft(tx, ws.task, declaration, change.draft.path, now=ws.now())
        has_answers = any(answers.row_ids_with_versions(tx, ws.task.name, [label]))
        first_ids, row_count = cast(UserTask, ws.task).rows.read_first_ids(tx, size)

    draft_ws = replace(ws, task=draft)
    accuracy: Sequence[FieldComparison] = ()
    if has_answers:
        comparison = try_out.compare_sides(
            draft_ws,
            (label, try_out.DRAFT_SIDE),
            size=size,
            seed=DEFAULT_PILOT_SEED,
            is_draft_loaded=True,
            labelled=True,
        )
        pairs = comparison.pairs
        accuracy = comparison.accuracy
        report = comparison.asked
    else:
        draft_ws.announce_placeholders()
        report = try_out.try_rows(draft_ws, first_ids)
        pairs = [
            {"id": row.id, "name": row.name, "a": "", "b": row.answer or row.reason or row.outcome}
            for row in report.items
        ]
    assert report is not None  # noqa: S101 - the draft was asked
    ask.check_any_reply_validated(report)
    row_ids = [row.id for row in report.items]
    estimate = ask.estimate_all(draft_ws, row_ids, row_count, report)
    return ChangeTrial(pairs, estimate, row_count, accuracy)


def write_change(data: Path, task_before: WrittenTask, change: WrittenTask) -> None:
    """Write a task's file with a changed question; it is on disk when this returns.

    A file in the workspace's folder is recorded as trusted, so that it can be run. Does nothing if
    the file has the change already.

    Args:
        data: Folder of the workspace.
        task_before: Parts of the file as they were displayed.
        change: The changed parts, which already have the next version.

    Raises:
        ChangedMeanwhileError: The file differs from `task_before`; nothing was changed.
        InputError: The file cannot be written.
    """
    path = change.draft.path
    content = change.render().encode()
    try:
        stored_content = path.read_bytes()
        if stored_content == content:
            return
        if stored_content != task_before.render().encode():
            raise ChangedMeanwhileError(
                f"{path.name} was changed meanwhile; nothing was written",
                hint="load the page again",
                now=None,
            )
        if task_file.is_in_workspace(path, data):
            trust.confirm(hashlib.sha256(content).hexdigest(), data)
        files.seal_bytes(path, content)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be written: {error.strerror}; nothing was changed",
        ) from error
    # This process has run the former text of the file.
    task_file.forget_loaded_files()


def plan_change(
    store: Store,
    task: Task,
    *,
    task_before: WrittenTask,
    question: str,
    fields: Sequence[AnswerField],
) -> WrittenTask:
    """Return a task file's parts with a changed question and fields, under an unused version.

    The version is the next number that the database does not know. It writes nothing.
    """
    version = task_before.version + 1
    with store.read() as tx:
        while workspace.newest_fingerprint(tx, task.name, version) is not None:
            version += 1
    return task_before._replace(question=question, fields=tuple(fields), version=version)
