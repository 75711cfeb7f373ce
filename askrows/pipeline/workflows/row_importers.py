"""Import rows from a file or a folder, and report the counts and findings.

Passages and rows of tables are imported from a file, and tasks with a `Folder` from a folder.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.declaration import DatabaseTable, Folder
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.files import (
    check_path_is_no_address,
    list_parquet_files,
    make_path_hint,
    unreadable_reason,
)
from askrows.pipeline.core.report import Report, format_counts, make_table, run_check_and_list_error
from askrows.pipeline.core.settings import BUILT_IN_TASKS, Settings
from askrows.pipeline.core.text import plural
from askrows.pipeline.passages import import_ as passages
from askrows.pipeline.rows import folder_import
from askrows.pipeline.rows.columns import fold_name
from askrows.pipeline.rows.database_table import (
    TableRowsFile,
    find_file_key_column,
    import_table_rows,
    make_import_column_layout,
)
from askrows.pipeline.rows.row_import import FindingGroup, ImportOptions, ImportReport, MappedFile
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks.task_registry import (
    check_columns_and_make_record,
    load_named_declaration,
)
from askrows.pipeline.tasks.user_file import UserFile
from askrows.pipeline.workspace.open_workspace import lacks_workspace_files

__all__ = [
    "ImportOptions",
    "check_file_can_be_imported",
    "check_readable",
    "import_file_or_folder",
    "import_file_rows",
]

# Columns of findings; see `make_table`.
FINDING_COLUMNS = "finding=kind times=count column why=reason examples"


def check_readable(file: Path, participle: str) -> None:
    """Check that a file can be read, before a workspace is created for it.

    Args:
        file: The file.
        participle: End of the message "nothing was …", for example "imported".

    Raises:
        InputError: The file cannot be read; the message has the reason.
    """
    check_path_is_no_address(file, f"nothing was {participle}")
    reason = unreadable_reason(file)
    if reason:
        raise InputError(f"{file} {reason}; nothing was {participle}", hint=make_path_hint(file))


def check_file_can_be_imported(file: Path, settings: Settings, options: ImportOptions) -> None:
    """Check that a file or folder can be imported, before a workspace is created for it.

    If there is no workspace yet and the import is not dry, the file must also have a row.

    Raises:
        InputError: The file cannot be read or has no row, the task's rows come from elsewhere, or a
            folder of images is combined with `dry` or `report`; nothing was imported.
    """
    task_name = settings.task
    record = None if task_name in BUILT_IN_TASKS else _make_table_record(settings)
    if record is not None and record.has_folder:
        if options.dry or options.report is not None:
            raise InputError(
                f"{OptionHint(dry=True)} and {OptionHint('report')} are for files of rows and "
                "passages; no image was imported",
                hint="leave out the option",
            )
        folder_import.check_folder(file, settings.task)
        return

    if not list_parquet_files(file):
        check_readable(file, "imported")
    may_create = not options.dry and lacks_workspace_files(settings.data)
    if may_create and (file.is_file() or file.is_dir()):
        rows: MappedFile
        if record is None:
            rows = passages.PassagesFile(file, options)
        else:
            rows = TableRowsFile(
                file, options, record, UserFile(record, settings).run_read_function
            )
        if next(iter(rows), None) is None:
            ImportReport(str(file)).require_imported_row()


def load_default_record() -> TaskRecord:
    """Return the record of the default task, as its file declares it."""
    return _make_table_record(Settings())


def find_fitting_plural(columns: Sequence[str]) -> str:
    """Return the word for rows of the default task if a file has its key and what it asks about.

    Else return "".

    Args:
        columns: The names of the columns of the file.
    """
    record = load_default_record()
    known_names = make_import_column_layout(record).columns_by_known_name
    found_columns = {known_names.get(fold_name(column)) for column in columns}
    needed_columns = {find_file_key_column(record), *record.required_columns}
    return record.words[1] if needed_columns <= found_columns else ""


def _make_table_record(settings: Settings) -> TaskRecord:
    """Return the record of a user's task, as its file declares it.

    Raises:
        InputError: The task has no table of rows.
    """
    declaration, path = load_named_declaration(settings)
    if not isinstance(declaration.items, DatabaseTable | Folder):
        raise InputError(
            f"task {declaration.name} reads its rows from the source in its file; nothing was "
            "imported",
            hint=f"`{CommandHint('tag', task=settings.task)}` reads its rows and asks about them",
        )
    return check_columns_and_make_record(
        declaration, path, declaration.items.kinds, recorded_at=datetime.now(UTC)
    )


def import_file_rows(run: Run, file: Path, options: ImportOptions) -> ImportReport:
    """Import the rows of a file as rows of the run's task; with the option `dry` only report.

    Rejected rows do not raise: they are in the report. A user task is synced after a real import.
    """
    task = run.task
    if task.subject in BUILT_IN_TASKS:
        return passages.import_passages(run.workspace, file, options)
    report = import_table_rows(
        run.workspace, task.record, file, options, task.user_file.run_read_function
    )
    if not options.dry:
        run.sync_task()
    return report


def import_file_or_folder(run: Run, file: Path, options: ImportOptions) -> Report:
    """Import the rows of a file, or the images below a folder, as rows of the run's task.

    Findings (rejected rows and changed values) with the same reason share a row of the table. The
    notes are left out if a real import changed nothing and has no finding, because an earlier
    import has printed them. If no row could be imported, the report has the error.
    """
    if run.task.folder_table:
        return _import_folder_and_sync(run, file)

    nouns = run.task.nouns
    imported = import_file_rows(run, file, options)
    report = Report(
        imported.document, errors=run_check_and_list_error(imported.require_imported_row)
    )
    if imported.rows_in:
        counts = {
            "added": imported.added,
            "updated": imported.updated,
            "unchanged": imported.unchanged,
            **{kind.value: count for kind, count in imported.counts.items()},
            "unparked, to be asked again": imported.released,
        }
        rows = plural(imported.rows_in, nouns.singular, nouns.plural)
        verb = "would be imported" if imported.dry else "imported"
        report.title = f"{rows} {verb}: {format_counts(counts)}"

    findings = [
        {**vars(group), "examples": _format_examples(group)} for group in imported.groups.values()
    ]
    if findings:
        report.parts.append(make_table(findings, FINDING_COLUMNS))
    if imported.changes or imported.dry or findings or imported.gone:
        report.notes += [f"note: {note}" for note in imported.notes]
    return report


def _format_examples(group: FindingGroup) -> str:
    """Return the lines of a group's first findings, with excerpts."""
    examples = [f"line {finding.line}: {finding.value}".rstrip(": ") for finding in group.examples]
    if group.count > len(examples):
        examples.append(f"…; {OptionHint(report='rejects.csv')} lists all")
    return ", ".join(examples)


def _import_folder_and_sync(run: Run, folder: Path) -> Report:
    """Import the images below a folder, sync the task, and report counts and skipped files.

    If the images cannot be used, the report has the error.
    """
    nouns = run.task.nouns
    imported = folder_import.sync_image_folder(run.workspace, run.task.record, folder)
    run.sync_task()
    counts = {
        "added": imported.added,
        "changed": imported.updated,
        "moved": imported.moved,
        "unchanged": imported.unchanged,
        "broken": imported.broken,
        "no longer in the folder and not asked about": imported.gone,
        "unparked, to be asked again": imported.released,
    }
    report = Report(
        asdict(imported),
        f"{plural(imported.total, nouns.singular, nouns.plural)} imported: "
        f"{format_counts(counts) or 'none'}",
        errors=run_check_and_list_error(partial(imported.require_image, run.task.name)),
    )
    report.notes += [
        f"note: {plural(count, 'file')} left out: {reason}"
        for reason, count in imported.left_out.items()
    ]
    return report
