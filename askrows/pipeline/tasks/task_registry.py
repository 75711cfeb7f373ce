"""Register users' tasks in the database, check changes of their files, and sync their rows.

- The first use of a task registers it with its views.
- A changed declaration of a version that was used is refused, because its answers would mix two
  prompts. The user raises the version or accepts the change; `try` can run the draft meanwhile.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from askrows.pipeline.core.answer_fields import list_answer_fields
from askrows.pipeline.core.column_placeholders import find_column_by_exact_or_folded_name
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.declaration import HASH_KEY, DatabaseTable, Declaration, Folder
from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    InputError,
    TaskNeverUsedError,
)
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.quotes import has_quotes, requires_quote
from askrows.pipeline.core.setting_parsers import TASKS_FOLDER
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.text import suggest_similar
from askrows.pipeline.core.vocabulary import separate_vocabularies
from askrows.pipeline.provider.service import choose_backend_by_model_or_keys
from askrows.pipeline.provider.usage import estimate_answer_tokens
from askrows.pipeline.rows.answer_views import (
    are_views_current,
    check_view_names_are_free,
    create_or_replace_views,
    make_view_names,
)
from askrows.pipeline.rows.source import (
    check_column_names,
    find_source_database_file,
    open_source,
    read_declared_column_kinds,
    resolve_query_or_path,
)
from askrows.pipeline.rows.task_tables import TaskTables, make_task_tables
from askrows.pipeline.rows.write_to import make_answer_target, make_derived_targets
from askrows.pipeline.store import rows, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks import shipped, task_faults, task_file
from askrows.pipeline.tasks.declaration_changes import (
    check_table_prefix,
    hash_document,
    make_fingerprint_document,
    merge_stored_into_declared_record,
    refuse_or_record_declaration_change,
)
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.shipped_task import list_shipped_tasks
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_faults import (
    find_column_faults,
    find_result_kind,
    find_text_columns,
    match_columns,
    raise_if_faults,
)
from askrows.pipeline.tasks.task_file import find_task_file, load_declaration

# ---- looking up tasks


def list_registered_tasks(tx: Connection, settings: Settings) -> tuple[Task, ...]:
    """Return every registered task, in the order of the database; no file is loaded.

    These are user tasks, and shipped task files. In a copied workspace, the path of the file
    `tasks/NAME.py` that came with it replaces the recorded path. The tasks use the backend to which
    the workspace is bound; before its first upload, that of the settings.
    """
    backend = workspace.read_workspace(tx).backend or choose_backend_by_model_or_keys(settings)
    return tuple(
        Task(_copy_with_path_of_copied_file(record, settings), settings, backend)
        for record in workspace.list_task_records(tx)
    )


def copy_with_version_in_file(task: Task) -> Task:
    """Return a task with the version that its file declares now; nothing is stored.

    The file is parsed, not run. The task itself is returned if its version is the same, or if the
    version in the file is unclear. A command that asks registers the version.
    """
    if task.user_file.path is None:
        return task
    version = task_faults.find_declared_version(task.user_file.path)
    if version in {None, task.record.version}:
        return task
    present_record = replace(task.record, version=version)
    return Task(present_record, task.settings, task.provider)


def _copy_with_path_of_copied_file(record: TaskRecord, settings: Settings) -> TaskRecord:
    """Return a task's record; in a copied workspace, with the path of the copied task file.

    A workspace may be copied together with its task files `tasks/NAME.py`; NAME is the task. Such a
    file is in the workspace's folder or in the parent of that folder. If it exists, its path
    replaces the recorded path in two cases:

    - The recorded file does not exist.
    - The recorded file exists, is called `tasks/NAME.py`, too, and is outside the parent of the
      workspace's folder. It is probably the original of the copied file.

    In all other cases the record is returned unchanged. This is also so if TASK is the path of the
    recorded file, because a person named it, or if the task was declared in Python. The stored
    record is not changed.
    """
    path = Path(record.path)
    if task_file.parse_python_path(path) or Path(settings.task).resolve() == path:
        return record

    data = settings.data.resolve()
    relative_path = Path(TASKS_FOLDER, f"{record.name}{task_file.TASK_FILE_SUFFIX}")
    has_usual_name = path.parts[-2:] == relative_path.parts
    is_original = has_usual_name and not path.is_relative_to(data.parent)
    for folder in (data, data.parent):
        if (folder / relative_path).is_file() and (is_original or not path.is_file()):
            return replace(record, path=str(folder / relative_path))
    return record


def find_registered_task_name(tx: Connection, settings: Settings) -> str | None:
    """Return the name under which the task of the TASK setting is registered, else None.

    TASK may be such a name. If it is the path of a file from which tasks were registered, the file
    is run, and the name that it declares now is returned if it is one of these tasks; otherwise
    None. A person may be asked before the file is run. If it cannot be run, the name of the first
    of these tasks is returned. Nothing is written to the database.
    """
    setting = settings.task
    path_by_name = {
        record.name: _copy_with_path_of_copied_file(record, settings).path
        for record in workspace.list_task_records(tx)
    }
    if setting in path_by_name:
        return setting

    setting_path = Path(setting).resolve()
    names_of_path = [
        name for name, path in path_by_name.items() if path == setting or Path(path) == setting_path
    ]
    if not names_of_path:
        return None

    first_path = Path(path_by_name[names_of_path[0]])
    try:
        declared_name = load_declaration(first_path, settings).name
    except AskrowsError:
        return names_of_path[0]
    return declared_name if declared_name in names_of_path else None


def _require_task_file(settings: Settings, registered_names: Iterable[str] = ()) -> Path:
    """Return the path of the file that the TASK setting names.

    Args:
        settings: The settings.
        registered_names: Other names that a person may have meant; none without a workspace.

    Raises:
        InputError: TASK is the path of a file that does not exist.
        ConfigurationError: There is no task of that name.
    """
    path = find_task_file(settings.task, settings.data)
    if path is None:
        shipped_names = [*(task.name for task in list_shipped_tasks()), *shipped.TASK_NAMES]
        file_names = task_file.list_file_names(settings.data)
        names = [*shipped_names, *file_names, *registered_names]
        raise ConfigurationError(
            f"there is no task {settings.task!r}: tasks/{settings.task}.py is neither here nor in "
            f"{settings.data}",
            hint=f"{suggest_similar(settings.task, names)} set {OptionHint('task')} to "
            f"{', '.join(shipped_names)}, to the name of a file in the folder tasks, or to the "
            "path of a file".lstrip(),
        )
    return path


def list_planned_views(settings: Settings) -> list[str]:
    """Return the names of the views that the first use of the task of TASK creates."""
    declaration, _ = load_named_declaration(settings)
    return list(make_view_names(declaration.table or declaration.name))


def load_named_declaration(settings: Settings) -> tuple[Declaration, Path]:
    """Load the file that TASK names; return its declaration and its path.

    Raises:
        InputError: The file does not exist or is invalid.
        ConfigurationError: There is no task of that name, or nobody confirmed the file.
    """
    path = _require_task_file(settings)
    return load_declaration(path, settings), path


def has_own_rows(declaration: Declaration) -> bool:
    """Return whether a workspace can begin with a task.

    Its rows come from a file, from Python or from another database. Otherwise they are in the
    workspace's database.
    """
    return not declaration.is_query or bool(declaration.source)


def check_columns_views_and_write_target(
    declaration: Declaration, path: Path, settings: Settings, store: Store
) -> None:
    """Check that a task can be registered; add nothing to the database.

    The columns of its source, its views and its target table are checked; the target table of a
    task with a `Folder` is not, because it is made first. Nothing is checked for a query of the
    workspace's database if that does not exist.

    Args:
        declaration: The declaration of the task's file.
        path: The task's file.

    Raises:
        InputError, ConfigurationError: The first use would be refused.
    """
    with store.open_foreign_snapshot_if_exists() as tx:
        has_database = tx is not None

    if not (declaration.table_name or has_own_rows(declaration) or has_database):
        return

    if isinstance(declaration.items, DatabaseTable | Folder):
        columns = declaration.items.kinds
    else:
        with contextlib.closing(
            Store(settings.confirm_and_get_database_url().reveal(), is_own_database=False),
        ) as unchanged_store:
            columns = open_source(unchanged_store, declaration, path).columns
    record = check_columns_and_make_record(
        declaration, path, columns, recorded_at=datetime.now(UTC)
    )
    check_column_names(list(columns))
    # The tables of rows are made first.
    target = None if record.table else record.write_to
    if not has_database and target is not None:
        raise InputError(
            f"write_to={target!r}: the database {store.display_name} does not exist",
            hint=f"set {OptionHint('database_url')} to the database of that table",
        )

    with store.open_foreign_snapshot_if_exists() as tx:
        if tx is not None:
            check_view_names_are_free(tx, record)
            if not record.table:
                _check_write_target(tx, record)


def _check_write_target(tx: Connection, record: TaskRecord) -> None:
    """Check the tables and columns that `write_to=` and `derive=` name.

    Raises:
        InputError: The target cannot be written to.
    """
    if record.write_to is not None:
        target = make_answer_target(record, record.write_to)
        target.check_can_write(tx)
    if record.derived_targets:
        for target in make_derived_targets(record).values():
            target.check_can_write(tx)


def require_registered_task_name(tx: Connection, settings: Settings) -> str:
    """Return the name under which the task of TASK is registered.

    Raises:
        InputError, ConfigurationError: There is no such task.
        TaskNeverUsedError: The task is not registered.
    """
    name = find_registered_task_name(tx, settings)
    if name is not None:
        return name

    _require_task_file(settings, [record.name for record in workspace.list_task_records(tx)])
    try_command = CommandHint("try", task=settings.task)
    tag_command = CommandHint("tag", task=settings.task)
    hint = f"`{try_command}` asks about a few rows, `{tag_command}` about all"
    raise TaskNeverUsedError(settings.task, settings.data, hint=hint)


def register_task_if_new(store: Store, settings: Settings, *, display: Progress) -> str:
    """Return the name of the task of TASK; its first use registers it and creates its views.

    Prints lines about new views. A registered task is returned without a check of its file.

    Raises:
        InputError: The file or its source is invalid.
        ConfigurationError: There is no such task, it conflicts with another task, or nobody
            confirmed that its file may be run.
    """
    with store.read() as tx:
        name = find_registered_task_name(tx, settings)
        if name is not None:
            return name

    declaration, path = load_named_declaration(settings)
    columns = open_source(store, declaration, path).columns
    declared_record = check_columns_and_make_record(
        declaration, path, columns, recorded_at=datetime.now(UTC)
    )
    record = register_declaration_and_update_views(
        store, declaration, declared_record, settings, display=display
    )
    return record.name


def find_tables_if_source_takes_rows(
    tx: Connection, settings: Settings, *, has_workspace: bool
) -> TaskTables | None:
    """Return the tables of the user task of TASK; None if its source takes no new rows.

    The file of a task that is not registered is run. Nothing is written.

    Raises:
        InputError, ConfigurationError: The file is invalid, or there is no such task.
    """
    name = find_registered_task_name(tx, settings) if has_workspace else None
    record = None if name is None else workspace.find_task_record(tx, name)
    if record is None:
        declaration, path = load_named_declaration(settings)
        if not isinstance(declaration.items, DatabaseTable | Folder):
            return None
        kinds = read_declared_column_kinds(tx, declaration.items)
        record = check_columns_and_make_record(
            declaration, path, kinds, recorded_at=datetime.now(UTC)
        )
    return make_task_tables(record)


def load_draft_about_registered_rows(task: Task, *, now: datetime) -> Task:
    """Return a task with the current declaration of its file, about the registered rows.

    The file is run. Name, key, columns and table prefix stay as registered. Nothing is stored.

    Raises:
        InputError: The file is invalid, or does not fit the registered columns.
        ConfigurationError: The file may be from somebody else, and nobody confirmed that it may be
            run.
    """
    record = task.record
    recorded_path = Path(record.path)
    path = find_task_file(str(recorded_path), recorded_path.parent) or recorded_path
    declaration = load_declaration(path, task.settings, is_recorded=True)
    key_columns = tuple(name for name, _ in record.key)
    draft = replace(declaration, name=record.name, key=key_columns)
    draft_record = check_columns_and_make_record(draft, path, record.columns, recorded_at=now)
    draft_record = replace(draft_record, prefix=record.prefix)
    # The file may declare another name and key.
    return Task(draft_record, task.settings, declaration=draft)


# ---- the record of a task


def check_columns_and_make_record(
    declaration: Declaration,
    path: Path,
    columns: Mapping[str, str],
    *,
    recorded_at: datetime,
) -> TaskRecord:
    """Return the record of a declaration after a check against the columns of its source.

    The columns that the declaration names, such as key, list and image columns, are recorded by
    their names in the source. A row without text in the quoted column is not asked if each answer
    must have a quotation: the quoted column is then a required column. Nothing is stored.

    Args:
        declaration: The declaration.
        path: The task's file, which is recorded as given.
        columns: Kinds of the source's columns, by name, such as text or integer.
        recorded_at: The time of the record.

    Raises:
        InputError: The declaration does not fit the columns. The message lists all faults.
    """
    raise_if_faults(list(find_column_faults(declaration, path, columns)), path)
    answer_fields = list_answer_fields(declaration.answer)
    gates = declaration.gates or {}
    functions = declaration.derived_functions
    metadata = declaration.metadata or {}
    shown_names = match_columns(list(metadata.values()), columns)
    _, vocabularies = separate_vocabularies(declaration.answer.model_json_schema())
    needed_files = [vocabulary["path"] for vocabulary in vocabularies.values()]
    needed_files.append(find_source_database_file(declaration.source, path.parent))
    quoted_column = _find_column_of_quotations(declaration, columns)
    # A row without text is not asked if each answer must have a quotation.
    is_text_required = declaration.quotes_in is not None or requires_quote(declaration.answer)
    required_columns = match_columns(declaration.requires, columns)
    if quoted_column and is_text_required:
        required_columns.append(quoted_column)
    return TaskRecord(
        name=declaration.name,
        path=str(path),
        prefix=declaration.table or declaration.name,
        items=resolve_query_or_path(declaration, path),
        key=_list_key_columns(declaration, columns),
        columns=columns,
        fields=tuple((field.name, field.column_kind) for field in answer_fields),
        version=declaration.version,
        fingerprint=hash_document(make_fingerprint_document(declaration)),
        at=recorded_at,
        model=declaration.model,
        name_template=declaration.label,
        index_template=declaration.index_template,
        table=declaration.table_name,
        file_key=getattr(declaration.items, "file_key", ""),
        headers=dict(getattr(declaration.items, "headers", {})),
        file_columns=list(getattr(declaration.items, "file_columns", ())),
        has_folder=isinstance(declaration.items, Folder),
        has_index_function=callable(declaration.index),
        metadata=dict(zip(metadata, shown_names, strict=True)),
        question_words=list(declaration.question_words),
        list_columns=match_columns(declaration.list_columns, columns),
        derived={name: find_result_kind(function) for name, function in functions.items()},
        derived_targets={
            place.rpartition(".")[2]: place for place in declaration.derive or () if "." in place
        },
        functions_id=task_file.make_functions_id(declaration, path),
        words=list(declaration.words),
        write_to=declaration.write_to,
        gates=",".join(f"{name}={bound}" for name, bound in gates.items()),
        answer_tokens=declaration.answer_tokens or estimate_answer_tokens(declaration.answer),
        answer_fields=list(answer_fields),
        asked_columns=match_columns(declaration.prompt_columns, columns),
        quoted_column=quoted_column,
        required_columns=required_columns,
        image_columns=match_columns(declaration.images, columns),
        needed_files=[file for file in needed_files if file],
    )


def _list_key_columns(
    declaration: Declaration,
    columns: Mapping[str, str],
) -> tuple[tuple[str, str], ...]:
    """Return the name and kind of each key column; a made key is a text."""
    if declaration.has_made_key:
        return ((HASH_KEY, "text"),)
    key_columns = match_columns(declaration.keys, columns)
    return tuple((name, columns[name]) for name in key_columns)


def _find_column_of_quotations(declaration: Declaration, columns: Mapping[str, str]) -> str | None:
    """Return the column that contains the quotations of answers, or None if there is none.

    It is the column of `quotes_in=`, even if no field is a quotation. Without `quotes_in=`, the
    result is None if no field is a quotation. Otherwise it is `text` if the prompt has this text
    column, else its first text column. `find_column_faults` reports a declaration with
    several text columns, none of which is `text`.
    """
    if declaration.quotes_in is not None:
        return find_column_by_exact_or_folded_name(declaration.quotes_in, columns)
    if not has_quotes(declaration.answer):
        return None
    text_columns = find_text_columns(declaration, columns)
    return "text" if "text" in text_columns else next(iter(text_columns), None)


# ---- changes of a task


def register_declaration_and_update_views(
    store: Store,
    declaration: Declaration,
    declared_record: TaskRecord,
    settings: Settings,
    *,
    accepts_changes: bool = False,
    display: Progress,
) -> TaskRecord:
    """Register a task as its file declares it, update its views, and return the stored record.

    Nothing is written if the record differs only in its time. Otherwise its fingerprint is stored,
    too. If the functions of the task changed, its derived values are computed anew. If they or
    `index=`, `label=`, `metadata=` or `list_columns=` changed, the search index becomes outdated.
    Lines about changes are printed after the transaction.

    Args:
        declared_record: The record of the declaration, from `check_columns_and_make_record`.
        accepts_changes: A changed declaration keeps its version.

    Raises:
        ConfigurationError: The task conflicts with the stored record or with another task.
        QuestionChangedError: The declaration of a used version changed, and no change is accepted.
    """
    with store.read() as tx:
        stored_record = workspace.find_task_record(tx, declared_record.name)
        merged_record = merge_stored_into_declared_record(declared_record, stored_record)
        # Its own program may have changed the table of `write_to=` since the last command.
        _check_write_target(tx, merged_record)
    if stored_record is not None and _is_same_record(stored_record, merged_record):
        return stored_record

    lines: list[str] = []
    with store.write() as tx:
        # Another process may have registered the task since.
        stored_record = workspace.find_task_record(tx, declared_record.name)
        if stored_record is not None:
            lines += refuse_or_record_declaration_change(
                tx,
                _copy_with_path_of_copied_file(stored_record, settings),
                declared_record,
                declaration,
                is_accepted=accepts_changes,
            )
        check_table_prefix(tx, declared_record)
        merged_record = merge_stored_into_declared_record(declared_record, stored_record)
        check_column_names(list(merged_record.columns))
        create_or_replace_views(tx, merged_record)
        if stored_record is not None and _has_index_change(stored_record, merged_record):
            workspace.record_row_change(tx, merged_record.name)
        workspace.store_task_record(tx, merged_record)
        workspace.store_newest_fingerprint(
            tx,
            merged_record.fingerprint,
            task=merged_record.name,
            version=merged_record.version,
            document=make_fingerprint_document(declaration),
            now=merged_record.at,
        )
        saved_record = workspace.find_task_record(tx, merged_record.name) or merged_record
        if stored_record is not None and stored_record.functions_id != merged_record.functions_id:
            _derive_again(tx, Task(saved_record, settings, declaration=declaration))

    for line in lines:
        display.say(line)
    return saved_record


def _derive_again(tx: Connection, task: Task) -> None:
    """Compute the derived values of all rows of a task anew."""
    rows.delete_derived_values(tx, task.name)
    update_derived_values(tx, task)


def _is_same_record(stored_record: TaskRecord, merged_record: TaskRecord) -> bool:
    """Return whether records are equal, including the order of columns, except for their time."""
    has_same_values = replace(merged_record, at=stored_record.at) == stored_record
    return has_same_values and list(merged_record.columns) == list(stored_record.columns)


def _has_index_change(stored_record: TaskRecord, merged_record: TaskRecord) -> bool:
    """Return whether an option changed that determines index entries."""
    return (
        stored_record.index_template != merged_record.index_template
        or stored_record.name_template != merged_record.name_template
        or stored_record.metadata != merged_record.metadata
        or stored_record.list_columns != merged_record.list_columns
        or stored_record.functions_id != merged_record.functions_id
    )


def register_task_and_apply_preference(
    store: Store, settings: Settings, *, display: Progress
) -> str:
    """Register the task of TASK if it is new, apply PREFER_VERSIONS, and return the task's name.

    One snapshot is enough for a registered task whose views are up to date.

    Raises:
        InputError, ConfigurationError: As `register_task_if_new`.
    """
    with store.read() as tx:
        name = find_registered_task_name(tx, settings)
        if name is not None and _shows_preferred_versions(tx, name, settings):
            return name

    name = register_task_if_new(store, settings, display=display)
    _store_preferred_versions_and_views(store, name, settings)
    return name


def _shows_preferred_versions(tx: Connection, name: str, settings: Settings) -> bool:
    """Return whether PREFER_VERSIONS is stored with a task, and its views show it."""
    record = workspace.find_task_record(tx, name)
    if record is None:
        return False
    is_stored = settings.prefer_versions in {None, record.preferred_versions}
    return is_stored and are_views_current(tx, record)


def _store_preferred_versions_and_views(store: Store, name: str, settings: Settings) -> None:
    """Store PREFER_VERSIONS with a task, and update its views to show the preferred answers.

    A changed preference is also recorded as a change of the task's rows, and all derived values are
    computed anew. `PREFER_VERSIONS=none` removes the stored preference. If PREFER_VERSIONS is not
    set, the stored preference stays, and only missing or outdated views are made. It is not checked
    that the versions exist. Writes nothing if the task does not exist or all is up to date.

    Args:
        store: The database.
        name: The name of the task.
        settings: They contain the preferred versions.
    """
    if store.query(_shows_preferred_versions, name, settings):
        return

    versions = settings.prefer_versions
    with store.write() as tx:
        record = workspace.find_task_record(tx, name)
        if record is not None and versions not in {None, record.preferred_versions}:
            workspace.update_task_record(tx, name, preferred_versions=versions)
            workspace.record_row_change(tx, name)
            record = workspace.find_task_record(tx, name) or record
            _derive_again(tx, Task(record, settings))
        if record is not None:
            create_or_replace_views(tx, record)
