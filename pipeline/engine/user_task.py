"""Tasks that a user's file declares.

A task is made from its record in the database, so rows are listed, named and exported without
loading the file. Prompts and checks come from the file.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import Connection, select

from pipeline.core.answer_fields import AnswerField
from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.core.declaration import Declaration
from pipeline.core.errors import ConfigurationError
from pipeline.core.progress import Progress
from pipeline.core.quotes import locate_quotes
from pipeline.core.settings import Settings
from pipeline.core.text import plural
from pipeline.engine import source_lines, task_file
from pipeline.engine.declaration_changes import hash_document, to_fingerprint_document
from pipeline.engine.prompt_builder import PromptBuilder
from pipeline.engine.row_images import RowImages
from pipeline.engine.task import Task
from pipeline.engine.task_parts import (
    OwnTables,
    RowFault,
    RowsById,
    TaskAnswers,
    TaskNouns,
    TaskPrompt,
    TaskRow,
    ValidAnswer,
    WriteResult,
)
from pipeline.engine.user_export import UserExport
from pipeline.engine.user_index import make_index
from pipeline.engine.user_rows import UserRows
from pipeline.store.answers import find_corrected, read_model_answers
from pipeline.store.database import Store
from pipeline.store.edits import NewEdit
from pipeline.store.rows import NO_HASH
from pipeline.store.workspace import TaskRecord
from pipeline.tables.answer_views import are_views_made, make_views
from pipeline.tables.cells import to_prompt_text
from pipeline.tables.column_values import find_unstorable_reason
from pipeline.tables.row_sync import find_changed_in_source
from pipeline.tables.source import MEMORY_ROWS
from pipeline.tables.stored_rows import (
    HASH_COLUMN,
    KEY_COLUMN,
    VALUES_COLUMN,
    parse_stored_values,
)
from pipeline.tables.write_target import TargetColumn
from pipeline.tables.write_to import RowTarget, TargetValue, parse_row_target, write_column

if TYPE_CHECKING:
    from pydantic import BaseModel

DEFAULT_SETTINGS = Settings()


class UserFile:
    """The file of a recorded task; it is loaded when its declaration is first used."""

    def __init__(self, record: TaskRecord, settings: Settings, provider: str) -> None:
        """Describe the file of a record without loading it.

        Args:
            provider: The backend that answers now.
        """
        self.record = record
        self.settings = settings
        self.provider = provider
        path = Path(record.path)
        # None if the task was declared in Python code.
        self.path = None if task_file.parse_python_path(path) else path

    def describe_syntax_error(self) -> str:
        """Return why a file that exists is not Python; its code is not run.

        "" if it is Python, if there is no file, or if the task was declared in Python code.
        """
        if self.path is None or not self.path.is_file():
            return ""
        return source_lines.describe_syntax_error(self.path)

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from its file."""
        return task_file.load_declaration(Path(self.record.path), self.settings, is_recorded=True)

    @cached_property
    def declared_fingerprint(self) -> str:
        """Return the fingerprint of the declaration in the file."""
        return hash_document(to_fingerprint_document(self.declaration))

    def check_declaration(
        self,
        fingerprint: str | None,
        subject_text: str,
        *,
        is_change_accepted: bool,
    ) -> None:
        """Check that the subject was asked with this declaration, unless a change is accepted.

        Raises:
            ConfigurationError: The fingerprint differs, and no change is accepted.
        """
        if (
            fingerprint is not None
            and not is_change_accepted
            and fingerprint != self.declared_fingerprint
        ):
            accept_command = CommandHint(
                "tag",
                task=self.record.name,
                wait=True,
                accept_changed=True,
            )
            raise ConfigurationError(
                f"{subject_text} was asked with another declaration than {self.path} has now; "
                "nothing was changed",
                hint=f"restore the file; `{accept_command}` judges by the new declaration",
            )

    def code_error(
        self,
        error: BaseException,
        row_id: str,
        *,
        code: str = "a validator",
        line: int | None = None,
    ) -> ConfigurationError:
        """Return the error to raise if code of the file failed on a row.

        Args:
            error: The exception of that code.
            row_id: The row.
            code: Name of the code in the message.
            line: First line of the code; used if the traceback has no line of the file.
        """
        message = f"{code} failed on {row_id!r}: {type(error).__name__}: {error}"
        error_line = source_lines.find_error_line(error, Path(self.record.path)) or line
        return self.error_at(error_line, message)

    def error_at(self, line: int | None, message: str) -> ConfigurationError:
        """Return the error about a line of the task's file; the reply is kept."""
        location = source_lines.format_location(Path(self.record.path), line)
        return ConfigurationError(
            f"{location}: {message}; no attempt was charged, and the reply is kept",
            hint="correct the file, then run the same command again",
        )


@dataclass(eq=False, kw_only=True)
class UserAnswers(TaskAnswers):
    """Answers about the rows of a user's task, and their copies in a table of another program."""

    rows: UserRows
    file: UserFile

    @cached_property
    def needs_row(self) -> bool:
        """Return whether an answer has quotations from the row, or `check` gets the row."""
        return (
            self.file.declaration.check is not None
            or self.rows.record.members.quoted_column is not None
        )

    def validate(
        self,
        answer: "BaseModel",
        row: Any,
        *,
        input_hash: str,
    ) -> "tuple[BaseModel | None, str]":
        """Check an answer against its row; refuse values that no database can store."""
        reason = find_unstorable_reason(answer)
        if reason:
            return None, reason
        return super().validate(answer, row, input_hash=input_hash)

    def check_against_row(
        self,
        answer: "BaseModel",
        row: Mapping[str, Any],
    ) -> "tuple[BaseModel | None, str]":
        """Locate the answer's quotations in the row, and run the check of the task's file.

        Returns:
            The answer with located quotations and "", or None and the reason why it is invalid.

        Raises:
            ConfigurationError: The check raised an error, or returned something other than a text
                or None.
        """
        quoted_column = self.rows.record.members.quoted_column
        if quoted_column is not None:
            located_answer, reason = locate_quotes(answer, to_prompt_text(row[quoted_column]))
            if located_answer is None:
                return None, reason
            answer = located_answer

        check = self.file.declaration.check
        if check is None:
            return answer, ""
        line = getattr(getattr(check, "__code__", None), "co_firstlineno", None)
        try:
            check_reason = check(answer, {name: row[name] for name in self.rows.record.columns})
        except (Exception, SystemExit) as error:
            raise self.file.code_error(error, row[KEY_COLUMN], code="check()", line=line) from error
        if check_reason is not None and not isinstance(check_reason, str):
            raise self.file.error_at(
                line,
                "check() must return a text that names the fault, or None, "
                f"but it returned {check_reason!r}",
            )
        if check_reason:
            return None, f"check: {check_reason}"
        return answer, ""

    def write(
        self,
        tx: Connection,
        answers: Sequence[ValidAnswer],
        *,
        version: str,
        now: datetime,
    ) -> WriteResult:
        """Decide which new answers are applied, and copy these to the target of `write_to=`.

        An answer that is applied counts for its row from now on. The answers themselves are not
        stored here: the caller stores all of them, and marks them as applied and outdated by the
        result. Without `write_to=`, nothing at all is written. The rows are locked in the caller's
        transaction.

        An answer is outdated if the row's input changed after the request. It is also outdated if
        it could not be checked against the row (`is_unchecked`), because the row was gone or had
        another input when the reply was read. With `write_to=` it is also outdated if the query of
        the task returns the row with other values now, or no longer.

        An answer is applied if all of these are true:

        - Its row still exists.
        - No other program wrote a row for it into the table of `write_to=` meanwhile.
        - It is not outdated, or no earlier answer is to the row's present input.
        - It is not outdated, or the task can judge answers without their rows: it has neither
          quotations nor a `check`. If only the query of the task makes it outdated, it is applied
          nevertheless.

        Applied answers that are not outdated are copied to the target. They replace earlier answers
        there, but not those of rows that a person corrected.

        Args:
            version: The version (`task@n/model`) of all answers.
            now: Time of the answers in another program's table.

        Returns:
            The ids of the rows whose answer is applied, and of those whose answer is outdated. An
            id can be in both.

        Raises:
            RefusedRowError: A rule of the table of `write_to=` refuses an answer.
        """
        answers_by_id = {answer.row_id: answer for answer in answers}
        table = self.rows.table(tx)
        stored_rows = table.read_rows(
            tx,
            list(answers_by_id),
            [HASH_COLUMN, VALUES_COLUMN],
            should_lock=True,
        )
        outdated = {
            row_id
            for row_id, row in stored_rows.items()
            if row[HASH_COLUMN] != answers_by_id[row_id].input_hash
            or answers_by_id[row_id].is_unchecked
        }

        # A row that changed and changed back has an answer to its present input.
        prompt_version = self.rows.own_prompt_version
        present_hash = self.rows.subquery.c[HASH_COLUMN]
        is_answered = self.rows.is_answered(prompt_version, input_hash=present_hash)
        excluded = table.filter_ids(tx, sorted(outdated), is_answered)
        if self.needs_row:
            excluded |= outdated
        is_written = self.rows.has_written_row()
        if is_written is not None:
            has_own_answer = self.rows.is_answered(prompt_version)
            excluded |= table.filter_ids(tx, list(stored_rows), is_written, ~has_own_answer)
        applied = stored_rows.keys() - excluded

        if self.rows.record.members.write_to:
            current_values = {
                row_id: stored_rows[row_id][VALUES_COLUMN] for row_id in applied - outdated
            }
            outdated |= self._find_rows_changed_in_source(current_values)
        current = [
            TargetValue(row_id, version, answer.answer.model_dump_json(), now)
            for row_id, answer in answers_by_id.items()
            if row_id in applied and row_id not in outdated
        ]
        self._write_to_target(tx, current)
        return WriteResult(applied=applied, outdated=outdated)

    def _write_to_target(
        self,
        tx: Connection,
        values: Sequence[TargetValue],
    ) -> None:
        """Write answers to the table or column that `write_to=` names, if it names any.

        In a column, an answer is written into an empty cell, or in place of an earlier answer. The
        cell of a row that a person corrected is not changed. A table is synced with the preferred
        answers, so corrections stay there, too.
        """
        row_ids = [value.row_id for value in values]
        if self.rows.row_target is not None:
            self.rows.row_target.sync_rows(tx, row_ids, later_answers=values)
        elif self.rows.record.members.write_to:
            corrected_ids = find_corrected(tx, self.rows.record.name, row_ids)
            former_answers = read_model_answers(tx, self.rows.record.name, row_ids)
            writable = [value for value in values if value.row_id not in corrected_ids]
            write_column(tx, self.rows.record, writable, former_answers=former_answers)

    def _find_rows_changed_in_source(self, stored_values: Mapping[str, str]) -> set[str]:
        """Return the ids of rows that the task's query gives with other values, or not at all.

        Only a query of the workspace's own database is run; for any other source the result is
        empty. The query has a connection of its own, because it must not be able to write in the
        caller's transaction.

        Args:
            stored_values: Stored values as JSON, by row id.
        """
        if not (stored_values and self.rows.record.is_query) or self.file.declaration.source:
            return set()
        values_by_id = {
            row_id: parse_stored_values(values) for row_id, values in stored_values.items()
        }
        with contextlib.closing(Store(self.rows.settings.confirmed_database_url.reveal())) as store:
            record = replace(self.rows.record, items=self.file.declaration.items)
            return find_changed_in_source(store, record, values_by_id)

    def sync_corrected_rows(self, tx: Connection, new_edits: Mapping[str, NewEdit]) -> None:
        """Write the answers of corrected rows to the table or column that `write_to=` names.

        These are the preferred answers of the rows now. Values that another program wrote there are
        replaced. Nothing is written without `write_to=`. Runs in the caller's transaction.

        Args:
            new_edits: The stored edits by row id.
        """
        if self.rows.row_target is not None:
            self.rows.row_target.sync_rows(tx, new_edits.keys(), overwrite=True)
        elif self.rows.record.members.write_to:
            current_answers = self.read_current(tx, list(new_edits))
            target_values = [
                TargetValue(row_id, "", json.dumps(current_answers[row_id]), new_edit.edit.at)
                for row_id, new_edit in new_edits.items()
            ]
            write_column(tx, self.rows.record, target_values, should_overwrite=True)

    def remove(self, tx: Connection, ids: Sequence[str], *, version: str | None = None) -> int:
        """Remove the answers to these rows from another program's table; return the row count.

        Cells of a column that `write_to=` names become NULL if they show such an answer.
        """
        if self.rows.row_target is not None:
            self.rows.row_target.sync_rows(tx, ids, removed_version=version or "")
        self.rows.clear_written_cells(tx, ids, version=version)
        return len(ids)


@dataclass(eq=False, kw_only=True)
class UserPrompt(TaskPrompt):
    """Prompts that are made from the declaration of a user's file."""

    # How to use images of another folder.
    image_folder_hint: ClassVar[object] = "image_folder= in the task's file names another folder"

    rows: UserRows
    file: UserFile

    @cached_property
    def builder(self) -> PromptBuilder:
        """Return the prompt builder of the file's declaration."""
        columns = zip(
            self.file.declaration.prompt_columns,
            self.rows.record.members.asked_columns,
            strict=True,
        )
        return PromptBuilder(self.file.declaration, dict(columns))

    @property
    def fields(self) -> Sequence[AnswerField]:
        """Return the fields of an answer, as they were registered."""
        return self.rows.record.members.answer_fields

    @property
    def is_closed(self) -> bool:
        """Return whether all values of an answer are choices, so that many answers are the same."""
        return all(answer_field.has_only_choices() for answer_field in self.fields)

    @property
    def quoted_source(self) -> str:
        """Return the tag of the quoted column if the prompt has several columns."""
        quoted_column = self.rows.record.members.quoted_column
        columns_by_name = self.builder.columns_by_name
        quoted_names = [name for name, column in columns_by_name.items() if column == quoted_column]
        if len(columns_by_name) > 1 and quoted_names:
            return f"<{quoted_names[0]}>"
        return super().quoted_source

    def list_image_folders(self) -> list[Path]:
        """Return the folder that must contain all images, as a list of one path.

        It is the folder that the declaration names, else that of the file with the rows. For rows
        of a query or of Python, it is the folder of the task's file.
        """
        declaration = self.file.declaration
        folder = Path(self.rows.record.path).parent
        if declaration.image_folder is not None:
            return [folder / declaration.image_folder]
        # Take the row file from the declaration: the path in the database may have been changed.
        if declaration.is_query or declaration.items == MEMORY_ROWS:
            return [folder]
        return [(folder / declaration.items).resolve().parent]

    def row_images(self) -> RowImages:
        """Return the object that reads the images of the task's rows; no image is read here."""
        return RowImages(
            self.rows.image_columns,
            self.rows.record.members.asked_columns,
            self.list_image_folders(),
            self.image_folder_hint,
            self.file.declaration.image_side,
        )

    def make_rows(self, rows: RowsById) -> Iterator[TaskRow]:
        """Yield rows with their prompts, in order, without rows whose images cannot be read.

        A prompt contains the images of its row.

        Raises:
            ConfigurationError: The task's file was changed since the task was recorded.
        """
        if self.file.declared_fingerprint != self.rows.record.fingerprint:
            raise ConfigurationError(
                f"{self.rows.record.path} changed during the command; no further rows are asked",
                hint="run the same command again",
            )
        images = self.row_images() if self.rows.image_columns else None
        for task_row in super().make_rows(rows):
            prepared_row: TaskRow | None = task_row
            if images is not None:
                prepared_row = images.add_to_row(task_row, rows[task_row.id])
            if prepared_row is not None:
                yield prepared_row

    def read_input_texts(self, tx: Connection, ids: Sequence[str]) -> Mapping[str, str]:
        """Return the values that are sent, by row id, each value on a line."""
        columns = [*self.rows.record.members.asked_columns, *self.rows.image_columns]
        return {
            row_id: "\n".join(to_prompt_text(row[name]) for name in columns)
            for row_id, row in self.rows.read(tx, ids).items()
        }


@dataclass(eq=False, kw_only=True)
class UserTables(OwnTables):
    """The views of a user's task."""

    rows: UserRows

    def make_tables(self, tx: Connection, target: Connection) -> None:
        """Create the task's views in the target database of a move."""
        super().make_tables(tx, target)
        make_views(target, self.rows.record)

    def refresh_views(self, store: Store) -> None:
        """Make the task's views again if they are not current, or lack a confidence's column.

        Raises:
            ConfigurationError: Another program's object has the name of a view, or depends on a
                view whose columns change.
        """
        with store.read() as tx:
            if are_views_made(tx, self.rows.record):
                return
        with store.write() as tx:
            make_views(tx, self.rows.record)

    def find_row_faults(
        self,
        tx: Connection,
        display: Progress,  # noqa: ARG002
    ) -> list[RowFault]:
        """Return one notice with the number of rows whose images cannot be sent; [] if none.

        The notice names the first of these rows in the order of the source, with the reason, such
        as a missing file. Only reads, and shows no progress on `display`.
        """
        if not self.rows.image_columns:
            return []

        columns = self.rows.subquery.c
        conditions = (
            columns.findable_unusable.is_not(None),
            columns.findable_gone_at.is_(None),
            columns.findable_hash != NO_HASH,
        )
        query = (
            select(columns.findable_key, columns.findable_unusable)
            .where(*conditions)
            .order_by(columns.findable_row)
            .limit(1)
        )
        first_row = tx.execute(query).first()
        if first_row is None:
            return []

        count = self.rows.table(tx).count_rows(tx, *conditions)
        row_id, reason = first_row
        return [
            RowFault(
                f"{plural(count, 'row')} of {self.rows.record.name} cannot be asked about "
                "because of an image "
                f"({row_id}: {reason})",
                "these rows are not asked until their images are replaced",
                is_contradiction=False,
                hint=CommandHint("items", task=self.rows.record.name, state="unusable"),
            ),
        ]


def make_user_task(
    record: TaskRecord,
    settings: Settings = DEFAULT_SETTINGS,
    provider: str = "",
    *,
    nouns: TaskNouns | None = None,
    target: TargetColumn | None = None,
    rows_class: type[UserRows] = UserRows,
    prompt_class: type[UserPrompt] = UserPrompt,
    answers_class: type[UserAnswers] = UserAnswers,
    tables_class: type[UserTables] = UserTables,
) -> Task:
    """Return the task of a record; its file is not loaded.

    The last arguments are for shipped tasks.

    Args:
        provider: The backend that answers now.
        nouns: Words of the task; those of any user's task if None.
        target: Table of another program with a row for each answer; that of `write_to=` if None.
    """
    nouns = nouns or _make_nouns(record)
    prompt_version = record.prompt_version
    preferred_versions = (
        record.preferred if settings.prefer_versions is None else settings.prefer_versions
    )
    decision_model = settings.for_backend(provider).decision_model.removeprefix("models/")
    file = UserFile(record, settings, provider)
    rows = rows_class(
        columns=(KEY_COLUMN, HASH_COLUMN, VALUES_COLUMN),
        nouns=nouns,
        task_name=record.name,
        prompt_version=prompt_version,
        preferred_versions=preferred_versions,
        own_prompt_version=prompt_version,
        decision_version=f"{prompt_version}/{decision_model}",
        # A key of several columns has no name column.
        name_columns=[name for name, _ in record.key] if len(record.key) == 1 else (),
        key_columns=[name for name, _ in record.key],
        record=record,
        settings=settings,
        provider=provider,
        row_target=make_row_target(record, provider, preferred_versions, target),
    )
    answers = answers_class(rows=rows, file=file)
    prompt = prompt_class(
        rows=rows,
        answers=answers,
        answer_tokens=record.members.answer_tokens,
        model=record.members.model,
        sends_images=bool(rows.image_columns),
        file=file,
    )
    index_template = record.members.index_template
    return Task(
        name=record.name,
        subject=record.name,
        prompt_version=prompt_version,
        nouns=nouns,
        fill_hint=_make_fill_hint(record, nouns),
        gates=record.members.gates,
        fingerprint=record.fingerprint,
        source_hint=_make_source_hint(record),
        rows=rows,
        prompt=prompt,
        answers=answers,
        export=UserExport(rows=rows),
        own_tables=tables_class(rows=rows),
        user_file=file,
        index=make_index(rows, index_template) if index_template else None,
        index_hint='set index="{column}" in the task\'s file to the text that is searched',
    )


def make_row_target(
    record: TaskRecord,
    provider: str = "",
    preferred_versions: Sequence[str] = (),
    target: TargetColumn | None = None,
) -> RowTarget | None:
    """Return the table of another program that gets a row for each answer; else None.

    Args:
        target: The table and its column for the row id; those of `write_to=` if None.
    """
    target = target or parse_row_target(record.members.write_to)
    if target is None:
        return None
    return RowTarget(
        record,
        target.table,
        target.column,
        provider,
        preferred_versions,
        schema=target.schema,
    )


def _make_nouns(record: TaskRecord) -> TaskNouns:
    """Return the words of a user's task."""
    inputs_noun = f"the rows of {record.name}"
    if record.members.image_columns:
        inputs_noun += " and their images"
    return TaskNouns(
        singular="row",
        plural="rows",
        answered="answered",
        none_open_message="every row with content is answered, claimed or parked",
        input_noun="row",
        inputs_noun=inputs_noun,
        ask_command=CommandHint("tag", task=record.name),
        task_option=record.name,
    )


def _make_fill_hint(record: TaskRecord, nouns: TaskNouns) -> HintTemplate:
    """Return the hint that is shown if the source has no rows."""
    empty_source_text = f"{record.items} has no row that can be asked about"
    if record.is_query:
        empty_source_text = "the task's query returns no rows"
    return HintTemplate(
        "{}; add rows, then `{}` asks about a few",
        empty_source_text,
        nouns.command("try"),
    )


def _make_source_hint(record: TaskRecord) -> str:
    """Return the hint that names the source of the rows and how to change it."""
    if record.items == MEMORY_ROWS:
        return "the rows come from Python code; pass other rows there"
    if record.is_query:
        return f"the rows come from the query in `{record.path}`; change the query or its tables"
    return f"the rows come from `{record.items}`; change that file, and it is read again"
