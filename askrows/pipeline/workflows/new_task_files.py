"""Write the file of a new task from a table or a query, and check its name.

- No file is overwritten.
- A file in the workspace's folder is run only if its content is recorded as trusted. The files that
  are written here are recorded.
- The draft of a task is its file before it is written: path, rows and guessed columns.
  `workflows/column_guesses.py` guesses the columns.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import files, trust
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.declaration import NAME, RESERVED, is_query
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.setting_parsers import TASKS_FOLDER
from askrows.pipeline.rows.row_findings import SourceRow, make_excerpt
from askrows.pipeline.rows.source import (
    FileSource,
    MemorySource,
    QuerySource,
    RowSource,
    open_query_database,
)
from askrows.pipeline.store import workspace
from askrows.pipeline.store.database import Store
from askrows.pipeline.tasks import shipped
from askrows.pipeline.tasks.task_file import (
    ROW_FILES_FOLDER,
    TASK_FILE_SUFFIX,
    find_task_file,
    is_in_workspace,
    make_python_path,
)
from askrows.pipeline.tasks.task_registry import list_registered_tasks, register_task_if_new
from askrows.pipeline.tasks.task_sync import sync_task
from askrows.pipeline.tasks.task_template import (
    GUESS_ALL_COLUMNS,
    ColumnChoice,
    FieldDraft,
    TaskDraft,
    render_task_file,
)
from askrows.pipeline.workflows.column_guesses import check_no_row_is_refused, guess_key_and_content
from askrows.pipeline.workspace.open_workspace import check_is_not_needed_by_workspace

# Name of a task that is not stored.
UNNAMED = "ask"
_INVALID_NAME_CHARS = re.compile("[^a-z0-9_]+")


class UnwrittenTask(NamedTuple):
    """A task that has no file yet."""

    # Empty if the task is not stored.
    name: str
    # A path, a SELECT, or ROWS for rows of Python.
    items: str
    # The rows, or None for a query.
    table: FileSource | MemorySource | None
    # Address of the database of a query, without a password; empty for the workspace's database.
    source: str = ""
    question: str = ""
    # Fields of an answer.
    fields: Sequence[FieldDraft] = ()
    # Columns that a person named.
    choice: ColumnChoice = GUESS_ALL_COLUMNS
    # Draft of the file, or None for a query, which needs the workspace's database.
    draft: TaskDraft | None = None


def make_draft_path(name: str) -> Path:
    """Return the path at which the file of a task would be; the name of one without is empty."""
    if name:
        return Path(TASKS_FOLDER) / f"{name}{TASK_FILE_SUFFIX}"
    return make_python_path(UNNAMED)


def write_task_file(data: Path, store: Store, unwritten_task: UnwrittenTask) -> TaskDraft:
    """Guess the columns of a new task's rows, and write the task's file; return its draft.

    Nothing is registered or sent.

    Raises:
        InputError: A task of this name was used in the workspace, the rows cannot be read, no
            column is clearly the text, or the file exists or cannot be written.
    """
    check_name_is_unused(store, unwritten_task.name)
    draft = draft_task(store, unwritten_task)
    if draft.guess.text_error is not None:
        raise draft.guess.text_error
    write_and_trust_new_file(draft.path, render_task_file(draft), data)
    return draft


def save_task_with_file(run: Run, draft: TaskDraft) -> TaskDraft:
    """Write a question's task file into the workspace, with a copy of the question's row file.

    The task is also registered in the database, and its rows are stored there. If registering or
    storing fails, the task file and the copy are deleted again, but not the records in the
    database.

    Args:
        run: The run.
        draft: The draft of the question, whose rows are in a file.

    Returns:
        The draft with the paths of the task file and of the copy.

    Raises:
        InputError: The name is invalid or taken, the task file cannot be written, or another task
            needs the file that the copy would replace.
        ConfigurationError: The names of the task's views are taken, or the disk is full.
    """
    name = draft.name
    check_task_name(name)
    check_name_is_free(name, run.workspace.data)
    check_name_is_unused(run.workspace.store, name)

    source_file = cast(FileSource, draft.source).path
    relative_copy = Path(ROW_FILES_FOLDER, f"{name}{source_file.suffix}")
    copy_path = run.workspace.data / relative_copy
    draft = draft._replace(
        path=run.workspace.data / draft.path,
        items=f"../{relative_copy.as_posix()}",
    )
    text = render_task_file(draft)

    check_is_not_needed_by_workspace(copy_path, run.workspace.store)
    # The copy is first: if the process dies here, no task file names rows that do not exist.
    files.seal_copy(source_file, copy_path)
    try:
        write_and_trust_new_file(draft.path, text, run.workspace.data)
    except BaseException:
        # A task file that exists now is another process's, and so may be the copy.
        if not draft.path.exists():
            copy_path.unlink(missing_ok=True)
        raise
    try:
        settings = replace(run.workspace.settings, task=name)
        register_task_if_new(run.workspace.store, settings, display=run.workspace.display)
        with run.workspace.store.read() as tx:
            task = next(task for task in list_registered_tasks(tx, settings) if task.name == name)
        sync_task(replace(run.workspace, settings=settings), task)
    except BaseException:
        draft.path.unlink(missing_ok=True)
        copy_path.unlink(missing_ok=True)
        raise
    return draft


def draft_task(store: Store | None, unwritten_task: UnwrittenTask) -> TaskDraft:
    """Return the draft of a task's file, with the guessed columns of its rows; write nothing.

    A sample of the rows is read, and all rows to check the key. A query is run. A relative path of
    an SQLite file becomes relative to the folder of the task's file.

    Args:
        store: The workspace's database; needed only if the rows are a query without a `source`.
        unwritten_task: The task.

    Raises:
        InputError: The rows cannot be read, the query fails, or no key, text or prompt can be made
            of the columns.
    """
    path = make_draft_path(unwritten_task.name)
    items = unwritten_task.items.strip()
    table: RowSource | None = unwritten_task.table
    description = "rows"
    source_members: Mapping[str, str] = {}
    if isinstance(table, FileSource):
        items = make_relative_path(path.parent, table.path)
        description = table.path.name
        source_members = table.options.given_options
    if table is None:
        source = unwritten_task.source
        _, sqlite_scheme, database_path = source.partition("sqlite:///")
        if sqlite_scheme and not database_path.startswith("/"):
            source = f"{sqlite_scheme}{make_relative_path(path.parent, Path(database_path))}"
        with open_query_database(store, source, path.parent) as database:
            table = QuerySource(database, unwritten_task.items)
        description = "the query"
        source_members = {"source": source}

    guess = guess_key_and_content(table.columns, table, unwritten_task.choice)
    if isinstance(table, FileSource):
        table.key_columns = (guess.key,)
    return TaskDraft(
        unwritten_task.name,
        path,
        items,
        description,
        guess._replace(notes=(*table.notes, *guess.notes)),
        table,
        source_members,
        unwritten_task.question,
        unwritten_task.fields,
    )


def draft_question(store: Store | None, unwritten_task: UnwrittenTask) -> TaskDraft:
    """Return the draft of a question's task file; raise if there is nothing to ask about.

    The draft has the guessed columns of the rows; see `draft_task`. There must be a row, and a
    column with texts or images. A text column that a person chose is accepted even without texts.
    If a field of the answer is a quote, a text column is needed. It writes nothing.

    Args:
        store: The workspace's database; needed only if the rows are a query without a `source`.
        unwritten_task: The question.

    Raises:
        InputError: There is no row, each row is refused, there is no column to ask about, no column
            that is clearly the text, or no text column for a quote; or the rows cannot be read.
    """
    draft = draft_task(store, unwritten_task)
    guess = draft.guess
    if not any(isinstance(row, SourceRow) for row in draft.source):
        check_no_row_is_refused(draft.source)
        raise InputError(
            "; ".join(
                [
                    f"{draft.table_description} has no rows",
                    *draft.source.notes,
                    "nothing was asked",
                ]
            ),
            hint="add rows to it; a header is not a row",
        )
    if guess.text_error is not None:
        raise guess.text_error

    has_quotes = any(answer_field.kind == "quote" for answer_field in unwritten_task.fields)
    can_be_asked = guess.is_text_quotable or guess.image_columns or unwritten_task.choice.text
    if can_be_asked and (guess.text or not has_quotes):
        return draft

    columns_text = make_excerpt(", ".join(draft.source.columns))
    missing = "a text to ask about"
    if guess.image_columns:
        missing = "a text to quote"
    message = (
        f"{draft.table_description} has no column with {missing}; "
        f"columns: {columns_text}; nothing was asked"
    )
    if isinstance(draft.source, MemorySource):
        raise InputError(message, hint="ask(…, text=…) names the column to ask about")
    command = CommandHint(
        "new-task",
        name=unwritten_task.name or suggest_task_name(unwritten_task.items),
        from_=unwritten_task.items,
        source=unwritten_task.source or None,
    )
    hint = f"`{command}` writes a task file; its `prompt=` can name any columns"
    raise InputError(message, hint=hint)


def make_relative_path(folder: Path, path: Path) -> str:
    """Return a path relative to `folder`, with slashes."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def write_and_trust_new_file(path: Path, text: str, data_folder: Path) -> None:
    """Write a new task file and trust it; it is on disk at return. An existing file raises.

    The file appears with its whole content or not at all. Its folder is created, but not the
    parents of the folder. A task file is Python code, and in the workspace's folder it is run only
    if its hash is recorded as trusted in the user's state folder. For such a path the hash is
    recorded first.

    Args:
        path: The file to write.
        text: Its content, written as UTF-8.
        data_folder: Folder of the workspace.

    Raises:
        InputError: The file exists already, or it cannot be written.
    """
    if is_in_workspace(path, data_folder):
        trust.record_confirmation(hashlib.sha256(text.encode()).hexdigest(), data_folder)

    part = files.new_part_path(path)
    try:
        # If a file has the name of the folder, writing the part fails with the right reason.
        with suppress(FileExistsError):
            path.parent.mkdir()
        files.remove_abandoned_parts(path)
        part.write_text(text, encoding="utf-8", newline="\n")
        files.sync_part(part)
        # A rename would replace a file that another process has written meanwhile.
        os.link(part, path)
        files.sync_directory(path.parent)
    except FileExistsError:
        raise _file_exists_error(path) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; nothing was written",
        ) from error
    finally:
        with suppress(NotADirectoryError):
            part.unlink(missing_ok=True)


def suggest_task_name(source: str, data: Path | None = None) -> str:
    """Return a suggested name for a task about a file or query.

    It is made from the file's name; for a query, or a file without a usable name, it is "mine".

    Args:
        source: Path of the file, or the query.
        data: Folder of the workspace. If a task file of the name exists there or in the current
            folder, a number is added, also to "mine". If None, this is not checked.
    """
    file_name = ""
    if not is_query(source):
        file_name = Path(source).stem
    name = _similar_name(file_name) or "mine"

    free_name = name
    number = 2
    while data is not None and find_task_file(free_name, data) is not None:
        free_name = f"{name}{number}"
        number += 1
    return free_name


def check_task_name(name: str) -> None:
    """Raise for a name that a task cannot have; the hint suggests a similar valid name.

    Raises:
        InputError: The name is malformed, reserved or of a built-in task.
    """
    if _is_valid_name(name):
        return
    hint = "use a letter, then at most 40 of a-z, 0-9 and _, and no name of askrows"
    similar_name = _similar_name(name)
    if similar_name:
        hint += f", for example {similar_name}"
    raise InputError(f"a task cannot be called {name!r}; nothing was written", hint=hint)


def check_name_is_free(name: str, data: Path, *, path: Path | None = None, text: str = "") -> None:
    """Raise for a name whose task file exists in the current folder or in the workspace.

    Args:
        name: Name of the task.
        data: Folder of the workspace.
        path: Accept the file at this path if it has exactly `text`.
        text: Text of the accepted file.

    Raises:
        InputError: The file exists.
    """
    existing_path = find_task_file(name, data)
    if existing_path is None:
        return
    if path is not None and existing_path == path.resolve() and has_file_text(path, text):
        return
    raise _file_exists_error(existing_path)


def check_name_is_unused(store: Store, name: str, *, path: Path | None = None) -> None:
    """Raise for a name of a registered task of the workspace, unless its file is at `path`.

    Raises:
        InputError: A task of this name was used here.
    """
    task_row = store.query(workspace.find_task_record, name)
    if task_row is not None and task_row.path != str(path):
        raise _file_exists_error(task_row.path)


def _similar_name(name: str) -> str:
    """Return a valid task name that is similar to a text; empty if no such name is possible."""
    similar_name = _INVALID_NAME_CHARS.sub("_", name.casefold()).strip("_0123456789")
    if _is_valid_name(similar_name):
        return similar_name
    return ""


def _is_valid_name(name: str) -> bool:
    """Return whether a user task can have this name."""
    is_taken = name in RESERVED.union(shipped.TASK_NAMES) or name.startswith("askrows_")
    return bool(NAME.fullmatch(name)) and not is_taken


def _file_exists_error(path: object) -> InputError:
    """Return the error for the file of a task that exists already; its name is the task's."""
    file = Path(str(path))
    hint = f"another {OptionHint('name')} makes a new task"
    # A task that Python declared has no file, and commands cannot ask its rows.
    if file.suffix == TASK_FILE_SUFFIX:
        hint = f"`{CommandHint('tag', task=file.stem)}` goes on with that task; {hint}"
    return InputError(f"{path} exists already; nothing was overwritten", hint=hint)


def has_file_text(path: Path, text: str) -> bool:
    """Return whether a file exists at the path and has exactly this text."""
    return path.is_file() and path.read_bytes() == text.encode()
