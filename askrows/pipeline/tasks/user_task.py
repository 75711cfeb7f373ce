"""Tasks that a user's file declares.

A task is made from its record in the database, so rows are listed, named and exported without
loading the file. Prompts and checks come from the file.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Connection, Subquery, Table, select

from askrows.pipeline.core.answer_fields import AnswerField
from askrows.pipeline.core.answer_types import make_answer_validator
from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.declaration import Declaration, validate_answer
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.files import hash_file
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.quotes import locate_quotes
from askrows.pipeline.core.settings import DEFAULT_TASK, Settings
from askrows.pipeline.core.states import NoAnswer
from askrows.pipeline.core.text import plural
from askrows.pipeline.rows.answer_views import are_views_made, make_views
from askrows.pipeline.rows.cells import (
    find_unstorable_reason,
    parse_json_cell,
    parse_text_list,
    to_column_value,
    to_compact_json,
    to_plain_value,
    to_prompt_text,
)
from askrows.pipeline.rows.folder_files import find_file_id, make_import_command
from askrows.pipeline.rows.grid import Grid
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.row_sync import find_changed_in_source
from askrows.pipeline.rows.source import MEMORY_ROWS, resolve_items
from askrows.pipeline.rows.stored_rows import (
    HASH_COLUMN,
    KEY_COLUMN,
    VALUES_COLUMN,
    make_rows_subquery,
    parse_stored_values,
    read_input_changes,
    select_task_rows,
)
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.rows.task_tables import TaskTables, make_task_tables
from askrows.pipeline.rows.write_to import (
    AnswerTarget,
    OtherValue,
    TargetValue,
    make_answer_target,
    make_derived_targets,
)
from askrows.pipeline.store import answers as stored_answers
from askrows.pipeline.store import extra_cells, tag_merges
from askrows.pipeline.store import rows as row_store
from askrows.pipeline.store.answers import OTHER, VersionCounts
from askrows.pipeline.store.database import Store, select_matching, split_into_pages, update_rows
from askrows.pipeline.store.edits import NewEdit
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.store.version_names import VARIANT_MARK
from askrows.pipeline.store.workspace import TaskRecord, record_row_change
from askrows.pipeline.tasks import claiming, user_views
from askrows.pipeline.tasks.listed_terms import hash_vocabulary, limit_to_vocabulary
from askrows.pipeline.tasks.prompt_builder import PromptBuilder
from askrows.pipeline.tasks.row_images import RowImages
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_faults import find_function_line
from askrows.pipeline.tasks.task_file import UserFile, find_source_file
from askrows.pipeline.tasks.task_values import (
    ExportOptions,
    ExportRows,
    KeptValues,
    RequestOutcome,
    RowFault,
    RowFaults,
    RowsById,
    TaskNouns,
    TaskRow,
    WriteResult,
)

if TYPE_CHECKING:
    from pydantic import BaseModel


# Fewer characters of a hash are not taken for its beginning.
MIN_HASH_CHARS = 4
# A fault that `doctor` finds.
WRONG_DERIVED_FAULT = "derived values that do not match their rows"
# The JSON of a value of another program that is no answer.
NO_ANSWER = "{}"
# A whole number of a key column of 64 bits, as a person types it.
_WHOLE_NUMBER = re.compile(r"-?\d{1,19}")


class _OtherChanges(NamedTuple):
    """Rows with another value of another program than is stored."""

    row_ids: list[str]
    # Ids of stored values that are replaced or deleted.
    removed_ids: list[int]
    # The columns of new values.
    new_values: list[dict[str, Any]]


class UserTask(Task):
    """A task with a record; its rows are copied from a file, a query or Python."""

    user_file: UserFile
    row_columns = (KEY_COLUMN, HASH_COLUMN, VALUES_COLUMN)
    exported_noun = "row"
    # The rows by id if they are in memory only, as those of a draft are; None if they are stored.
    memory_rows: dict[str, Mapping[str, Any]] | None = None
    export_options = frozenset({"answer_version", "cost", "gone"})
    index_hint = 'set index="{column}" in the task\'s file to the text that is searched'

    def __init__(
        self,
        record: TaskRecord,
        settings: Settings,
        provider: str = "",
        *,
        declaration: Declaration | None = None,
    ) -> None:
        """Make the task of a record; its file is not loaded.

        Args:
            provider: The backend that answers now.
            declaration: The declaration of a draft; that of the file if None.
        """
        self.record = record
        self.settings = settings
        self.provider = provider
        self.user_file = UserFile(record, settings)
        if declaration is not None:
            self.user_file.declaration = declaration
        self.name = record.name
        self.subject = record.name
        self.nouns = _make_nouns(record)
        self.key_columns = [record.file_key or name for name, _ in record.key]
        # A key of several columns has no name column.
        self.name_columns = self.key_columns if len(record.key) == 1 else ()
        self.answer_tokens = record.answer_tokens
        self.model = record.model
        self.fingerprint = record.fingerprint
        self.folder_table = record.table if record.has_folder else ""
        self.sends_images = bool(record.image_columns)
        self.gates = record.gates
        self.prompt_version = record.prompt_version
        self._vocabulary_file = settings.tags_from if record.name == DEFAULT_TASK else None
        if self._vocabulary_file is not None:
            self.prompt_version += VARIANT_MARK + hash_vocabulary(self._vocabulary_file)
        self.parked_version = record.prompt_version
        self.preferred_versions = record.preferred_versions
        if settings.prefer_versions is not None:
            self.preferred_versions = settings.prefer_versions
        decision_model = settings.for_backend(provider).decision_model.removeprefix("models/")
        self.decision_version = f"{record.prompt_version}/{decision_model}"
        self.answer_target: AnswerTarget | None = None
        if record.write_to is not None:
            self.answer_target = make_answer_target(record, record.write_to, provider)
        if record.index_template or record.has_index_function:
            text_columns = record.index_columns
            # A file or a query has no other columns than those that `index=` can name.
            has_table = bool(record.table) and not record.has_folder
            if settings.index_columns is not None and has_table:
                text_columns = settings.index_columns
            self.index = user_views.make_index(self, record, text_columns=text_columns)

    @property
    def fill_hint(self) -> HintTemplate:
        """Return the hint that is shown if the source has no rows."""
        if self.record.table:
            command = make_import_command(self.name, has_folder=self.record.has_folder)
            return HintTemplate("`{}` imports {}", command, self.nouns.plural)
        empty_source_text = f"{self.record.items} has no row that can be asked about"
        if self.record.is_query:
            empty_source_text = "the task's query returns no rows"
        return HintTemplate(
            "{}; add rows, then `{}` asks about a few",
            empty_source_text,
            self.nouns.command("try"),
        )

    @property
    def image_folder_hint(self) -> HintTemplate | str:
        """Return the hint that names how to use images of another folder."""
        if self.folder_table:
            return HintTemplate(
                "`{}` adds a folder", make_import_command(self.name, has_folder=True)
            )
        return "image_folder= in the task's file names another folder"

    @property
    def source_hint(self) -> HintTemplate | str:
        """Return the hint that names the source of the rows and how to change it."""
        if self.folder_table:
            return self.fill_hint
        if self.record.items == MEMORY_ROWS:
            return "the rows come from Python code; pass other rows there"
        if self.record.table:
            return f"the rows come from the table {self.record.table}; change them there"
        if self.record.is_query:
            return (
                f"the rows come from the query in `{self.record.path}`; "
                "change the query or its tables"
            )
        return f"the rows come from `{self.record.items}`; change that file, and it is read again"

    # ---- rows

    @cached_property
    def stored_rows(self) -> Subquery:
        """Return the stored rows as a subquery, with their values as JSON."""
        return make_rows_subquery(self.name)

    def select_task_rows(self, tx: Connection) -> TaskRows:  # noqa: ARG002 - the record is enough
        """Return the stored rows with their states; see `stored_rows.select_task_rows`.

        With `write_to=`, a row with a value of another program is answered or unusable, too.
        """
        return self._task_rows

    @cached_property
    def _task_rows(self) -> TaskRows:
        table = select_task_rows(
            self.record,
            self.stored_rows,
            self.parked_version,
            has_other_values=self.answer_target is not None,
        )
        has_names = self.record.name_template or self.record.file_key
        return dataclasses.replace(
            table,
            name_columns=self.row_columns if has_names else (),
            format_name=lambda row: user_views.name_row(self.record, self.unpack_row(row)),
        )

    def make_grid(self, tx: Connection) -> Grid:
        """Return the grid that lists rows and searches all their columns."""
        builder = user_views.TaskGridBuilder(
            tx, self, self.record, doubtful_confidence=self.settings.doubtful
        )
        return builder.build()

    def read_first_askable_ids(self, tx: Connection, count: int) -> tuple[list[str], int]:
        """Return the ids of the first rows that have an input, and the number of all such rows.

        They are in the order of the source. Answered and claimed rows are included. Rows that are
        no longer in the source, or have an image that cannot be sent, are left out.
        """
        columns = self.stored_rows.c
        conditions = (
            columns.askrows_gone_at.is_(None),
            ~columns.askrows_empty,
            columns.askrows_unusable.is_(None),
        )
        query = (
            select(columns.askrows_key)
            .where(*conditions)
            .order_by(columns.askrows_row)
            .limit(count)
        )
        row_ids = list(tx.execute(query).scalars())
        return row_ids, self.select_task_rows(tx).count_rows(tx, *conditions)

    def read_rows(self, tx: Connection, row_ids: Sequence[str]) -> RowsById:
        """Return the rows as they are now, or those in memory, without unknown rows."""
        if self.memory_rows is None:
            return super().read_rows(tx, row_ids)
        return {
            row_id: self.memory_rows[row_id] for row_id in row_ids if row_id in self.memory_rows
        }

    def read_input_changes(
        self, tx: Connection, row_ids: Sequence[str]
    ) -> Mapping[str, Mapping[str, tuple[Any, Any]]]:
        """Return what changed since the newest answers of rows; see `stored_rows`."""
        return read_input_changes(tx, self.record, self.prompt_version, row_ids)

    def unpack_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored row with its values by column; missing values are None."""
        return {
            **dict.fromkeys(self.record.shown_columns),
            **row,
            **parse_stored_values(row[VALUES_COLUMN]),
        }

    def hash_input(
        self,
        row: Mapping[str, Any],
        text: str | None = None,  # noqa: ARG002 - it is stored
    ) -> str:
        """Return the hash that is stored with the row."""
        return str(row[HASH_COLUMN])

    def join_key_parts(self, parts: Sequence[str]) -> str:
        """Return the id of a row from the parts of its key; that of several parts is JSON."""
        if len(parts) == 1:
            return parts[0]
        key_values = [
            int(part) if kind == "integer" and _WHOLE_NUMBER.fullmatch(part) else part
            for part, (_, kind) in zip(parts, self.record.key, strict=True)
        ]
        return to_compact_json(key_values)

    def find_row_id(self, tx: Connection, name: str) -> str:
        """Return the id of the row with a key; values of several key columns are joined by commas.

        A row of a `Folder` may also be named by its path, and a row of a table with `file_key=` by
        this column, which comes before the id.

        Raises:
            InputError: There is no such row.
        """
        if self.folder_table:
            name = find_file_id(tx, self.folder_table, name) or name
        if self.record.file_key:
            from askrows.pipeline.rows.database_table import find_table_row_id

            name = find_table_row_id(tx, self.record, name) or name
        parts = [part.strip() for part in name.split(",")]
        if len(parts) == len(self.record.key) > 1 and not name.startswith("["):
            name = self.join_key_parts(parts)
        return super().find_row_id(tx, name)

    def resolve_row_key(self, tx: Connection, name: str) -> str:
        """Return the id of the row that a person named, by its key or the beginning of its hash.

        If the ids are hashes (`key="row"`), `name` may be the beginning of an id with at least
        MIN_HASH_CHARS characters that only one row has. Otherwise it is the whole key, as
        `find_row_id` takes it.

        Raises:
            InputError: There is no such row, or the ids of several rows begin with `name`.
        """
        if not self.record.has_made_key or len(name) < MIN_HASH_CHARS:
            return self.find_row_id(tx, name)
        keys = self.stored_rows.c.askrows_key
        begins_with_name = keys.startswith(name, autoescape=True)
        matching_keys = select(keys).where(begins_with_name).order_by(keys).limit(2)
        row_ids = list(tx.execute(matching_keys).scalars())
        if len(row_ids) > 1 and name not in row_ids:
            hint = f"`{self.nouns.command('items')}` lists all {self.nouns.plural}"
            raise InputError(f"several {self.nouns.plural} begin with {name!r}", hint=hint)
        return self.find_row_id(tx, row_ids[0] if len(row_ids) == 1 else name)

    def find_askable_ids_by_hash(
        self,
        tx: Connection,
        hashes: Sequence[str],
    ) -> Mapping[str, Sequence[str]]:
        """Return the ids of rows that the command asks, by input hash.

        The ids of a hash are in the order of the source. Claimed and parked rows are among them.
        Hashes without such a row are left out.
        """
        columns = self.stored_rows.c
        ids_by_hash = dict[str, list[str]]()
        query = (
            select(columns.askrows_hash, columns.askrows_key)
            .where(claiming.make_asked_rows_condition(tx, self))
            .order_by(columns.askrows_row)
        )
        for input_hash, row_id in select_matching(tx, query, columns.askrows_hash, hashes):
            ids_by_hash.setdefault(input_hash, []).append(row_id)
        return ids_by_hash

    def delete_row(
        self,
        tx: Connection,
        row_id: str,
        *,
        unchanged_text: str = "",  # noqa: ARG002 - never fails
    ) -> None:
        """Delete a row, also from the table of its task, and its answers from other programs'."""
        self.remove_answers(tx, [row_id], None)
        for target in make_derived_targets(self.record).values():
            target.write_values(tx, {row_id: None})
        if self.record.table:
            from askrows.pipeline.rows.database_table import delete_table_row

            if self.record.has_folder and self.answer_target is not None:
                self.answer_target.delete_records(tx, row_id)
            delete_table_row(tx, self.record, row_id)
            extra_cells.delete_extra_cells(tx, self.name, row_id)
        row_store.delete_row(tx, self.name, row_id)

    def count_kept_values(self, tx: Connection, row_ids: Sequence[str]) -> KeptValues:
        """Return how many of these rows have a value in the target of `write_to=`."""
        if self.answer_target is None:
            return super().count_kept_values(tx, row_ids)
        written_count = self.answer_target.count_written_rows(tx, row_ids)
        return KeptValues(self.answer_target.label if written_count else "", written_count)

    def describe_unusable_values(self, tx: Connection) -> str:
        """Return how many rows have a value of another program that is no answer; "" for none.

        The first of them is named, with the reason.
        """
        if self.answer_target is None:
            return ""
        table = self.select_task_rows(tx)
        reason = stored_answers.select_unusable_reason(self.name, table.row_id)
        is_unusable = table.has_state(RowState.UNUSABLE) & reason.is_not(None)
        example = tx.execute(table.select_rows(is_unusable).add_columns(reason).limit(1)).first()
        if example is None:
            return ""
        row_id, text = example
        (name,) = table.read_names(tx, [row_id]).values()
        row_count = plural(table.count_rows(tx, is_unusable), "row")
        return f"{row_count} with a value that is no answer ({name}: {text})"

    # ---- prompts

    @cached_property
    def prompt_builder(self) -> PromptBuilder:
        """Return the prompt builder of the file, limited to TAGS_FROM= if it is set."""
        declaration = self.user_file.declaration
        if self._vocabulary_file is not None:
            declaration = limit_to_vocabulary(declaration, self._vocabulary_file)
        columns = zip(declaration.prompt_columns, self.record.asked_columns, strict=True)
        return PromptBuilder(declaration, dict(columns))

    @property
    def answer_fields(self) -> Sequence[AnswerField]:
        """Return the fields of an answer, as they were registered."""
        return self.record.answer_fields

    @property
    def quoted_text_name(self) -> str:
        """Return the tag of the quoted column, such as `<letter>`, if the prompt has more columns.

        Else, or if none of them is quoted, return the words of `Task`.
        """
        quoted_column = self.record.quoted_column
        columns_by_name = self.prompt_builder.columns_by_name
        quoted_names = [name for name, column in columns_by_name.items() if column == quoted_column]
        if len(columns_by_name) > 1 and quoted_names:
            return f"<{quoted_names[0]}>"
        return super().quoted_text_name

    def list_image_folders(self) -> list[Path]:
        """Return the folders that must contain all images.

        For a `Folder` these are the imported folders; without an import, images may be anywhere.
        Otherwise it is the folder that the declaration names, else that of the file with the rows.
        For rows of a query or of Python, it is the folder of the task's file.
        """
        if self.folder_table:
            return [Path(folder) for folder in self.record.image_folders or ["/"]]

        declaration = self.user_file.declaration
        folder = Path(self.record.path).parent
        if declaration.image_folder is not None:
            return [folder / declaration.image_folder]
        # Take the row file from the declaration: the path in the database may have been changed.
        if declaration.is_query or declaration.items == MEMORY_ROWS:
            return [folder]
        return [(folder / declaration.items).resolve().parent]

    def make_row_images(self) -> RowImages:
        """Return the object that reads the images of the task's rows; no image is read here."""
        return RowImages(
            self.record.image_columns,
            self.record.asked_columns,
            self.list_image_folders(),
            self.image_folder_hint,
            self.user_file.declaration.image_side,
        )

    def make_task_rows(self, rows: RowsById) -> Iterator[TaskRow]:
        """Yield rows with their prompts, in order, without rows whose images cannot be read.

        A prompt contains the images of its row. A row of a `Folder` whose file changed since it was
        inspected is left out, too; the next command asks about it.

        Raises:
            ConfigurationError: The task's file was changed since the task was recorded.
        """
        if self.user_file.declared_fingerprint != self.record.fingerprint:
            raise ConfigurationError(
                f"{self.record.path} changed during the command; no further rows are asked",
                hint="run the same command again",
            )
        images = self.make_row_images() if self.sends_images else None
        for task_row in super().make_task_rows(rows):
            prepared_row: TaskRow | None = task_row
            if images is not None:
                prepared_row = images.add_images_to_prompt(task_row, rows[task_row.id])
            if prepared_row is None:
                continue

            # Whoever may change the database must not choose the image that is sent.
            # Nobody knows the hash of an image without its bytes.
            seen_hash = rows[task_row.id][HASH_COLUMN]
            is_other_file = self.folder_table and prepared_row.input_hash != seen_hash
            if not is_other_file:
                yield prepared_row

    def read_input_texts(self, tx: Connection, row_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the sent values by row id, each on a line; several with the names of columns."""
        columns = [*self.record.asked_columns, *self.record.image_columns]
        form = "{}: {}" if len(columns) > 1 else "{1}"
        return {
            row_id: "\n".join(form.format(name, to_prompt_text(row[name])) for name in columns)
            for row_id, row in self.read_rows(tx, row_ids).items()
        }

    # ---- answers

    @cached_property
    def needs_row(self) -> bool:
        """Return whether an answer is checked against the row, or `clean` gets the row."""
        return self._checks_row or self.user_file.declaration.clean is not None

    @cached_property
    def _checks_row(self) -> bool:
        """Return whether an answer has quotations from the row, or `check` gets the row."""
        return self.user_file.declaration.check is not None or self.record.quoted_column is not None

    def check_answer(
        self,
        answer: "BaseModel",
        row: Mapping[str, Any] | None,
    ) -> "tuple[BaseModel | None, str]":
        """Locate the answer's quotations in the row, and run the check of the task's file.

        Values that no database can store are refused.

        Returns:
            The answer with located quotations and "", or None and the reason why it is invalid.

        Raises:
            ConfigurationError: The check raised an error, or returned something other than a text
                or None.
            NoAnswer: The check found that the text supports no answer.
        """
        reason = find_unstorable_reason(answer)
        if reason:
            return None, reason
        if row is None:
            return answer, ""

        quoted_column = self.record.quoted_column
        if quoted_column is not None:
            located_answer, reason = locate_quotes(answer, to_prompt_text(row[quoted_column]))
            if located_answer is None:
                return None, reason
            answer = located_answer

        check = self.user_file.declaration.check
        if check is None:
            return answer, ""
        check_reason = self._run_member("check", answer, row)
        if check_reason is not None and not isinstance(check_reason, str):
            raise self.user_file.make_line_error(
                find_function_line(check),
                "check() must return a text that names the fault, or None, "
                f"but it returned {check_reason!r}",
            )
        if check_reason:
            return None, f"check: {check_reason}"
        return answer, ""

    def clean_answer(
        self, answer: "BaseModel", row: Mapping[str, Any] | None
    ) -> "tuple[BaseModel, int]":
        """Return an answer as `clean` of the task's file returns it, and how many values it cut.

        The answer to a deleted row is not cleaned: it does not count for any row.

        Raises:
            ConfigurationError: `clean` raised an error, or returned something other than a valid
                answer and a number.
            NoAnswer: `clean` found that the text supports no answer.
        """
        clean = self.user_file.declaration.clean
        if clean is None or row is None:
            return answer, 0

        result = self._run_member("clean", answer, row)
        fault = _find_cleaned_fault(result, self.answer_model)
        if fault:
            raise self.user_file.make_line_error(
                find_function_line(clean),
                "clean() must return the answer to store and the number of cut values, "
                f"but {fault}",
            )
        return cast("tuple[BaseModel, int]", result)

    def _run_member(self, member: str, answer: "BaseModel", row: Mapping[str, Any]) -> Any:
        """Return what the function of a member of the declaration returns for an answer.

        Raises:
            ConfigurationError: The function raised another error than NoAnswer.
        """
        function = getattr(self.user_file.declaration, member)
        try:
            return function(answer, {name: row[name] for name in self.record.columns})
        except NoAnswer:
            raise
        except (Exception, SystemExit) as error:
            raise self.user_file.make_code_error(
                error, row[KEY_COLUMN], code=f"{member}()", line=find_function_line(function)
            ) from error

    def write_answers(
        self,
        tx: Connection,
        outcomes: Sequence[RequestOutcome],
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

        - Its row still exists, and its text supports an answer.
        - No other program wrote a value where `write_to=` writes, or the row had an answer before.
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
            id can be in both. Rows whose present text supports no answer are unwritable.

        Raises:
            RefusedRowError: A rule of the table of `write_to=` refuses an answer.
        """
        outcomes_by_id = {outcome.claim.row_id: outcome for outcome in outcomes}
        table = self.select_task_rows(tx)
        stored_rows = table.read_rows(
            tx,
            list(outcomes_by_id),
            [HASH_COLUMN, VALUES_COLUMN],
            should_lock=True,
        )
        outdated = {
            row_id
            for row_id, row in stored_rows.items()
            if row[HASH_COLUMN] != outcomes_by_id[row_id].claim.input_hash
            or outcomes_by_id[row_id].is_unchecked
        }

        # A row that changed and changed back has an answer to its present input.
        prompt_version = self.parked_version
        present_hash = self.stored_rows.c[HASH_COLUMN]
        is_answered = self._make_answered_condition(prompt_version, input_hash=present_hash)
        excluded = table.filter_ids(tx, sorted(outdated), is_answered)
        if self._checks_row:
            excluded |= outdated
        unsupported = {
            row_id: outcome.unsupported_reason
            for row_id, outcome in outcomes_by_id.items()
            if outcome.unsupported_reason and row_id in stored_rows
        }
        excluded |= unsupported.keys()
        if self.answer_target is not None:
            self.sync_other_values(tx, now=now, row_ids=list(stored_rows))
            has_other_value = self._make_answered_condition(OTHER)
            has_own_answer = self._make_answered_condition(prompt_version)
            excluded |= table.filter_ids(tx, list(stored_rows), has_other_value, ~has_own_answer)
        applied = stored_rows.keys() - excluded

        if self.answer_target is not None:
            current_values = {
                row_id: stored_rows[row_id][VALUES_COLUMN] for row_id in applied - outdated
            }
            outdated |= self._find_rows_changed_in_source(current_values)
            merge_rules = tag_merges.read_rules(tx, self.name)
            current = list[TargetValue]()
            for row_id, outcome in outcomes_by_id.items():
                if row_id in applied and row_id not in outdated:
                    answer = cast("BaseModel", outcome.answer)
                    merged_json, _ = tag_merges.merge_json(answer.model_dump_json(), merge_rules)
                    current.append(TargetValue(row_id, version, merged_json, now))
            current_ids = [value.row_id for value in current]
            preference = self.make_version_preference(tx)
            self.answer_target.sync(tx, current_ids, preference, later_answers=current)
        unwritable = {
            row_id: reason for row_id, reason in unsupported.items() if row_id not in outdated
        }
        return WriteResult(applied=applied, outdated=outdated, unwritable=unwritable)

    def _make_answered_condition(
        self, version: str, *, input_hash: ColumnElement[str] | None = None
    ) -> ColumnElement[bool]:
        """Return the SQL condition that a row has an applied answer; see `answers.is_answered`."""
        key = self.stored_rows.c.askrows_key
        return stored_answers.is_answered(self.name, key, version, input_hash=input_hash)

    def _find_rows_changed_in_source(self, stored_values: Mapping[str, str]) -> set[str]:
        """Return the ids of rows that the task's query gives with other values, or not at all.

        Only a query of the workspace's own database is run; for any other source the result is
        empty. The query has a connection of its own, because it must not be able to write in the
        caller's transaction.

        Args:
            stored_values: Stored values as JSON, by row id.
        """
        if not (stored_values and self.record.is_query) or self.user_file.declaration.source:
            return set()
        values_by_id = {
            row_id: parse_stored_values(values) for row_id, values in stored_values.items()
        }
        with contextlib.closing(Store(self.settings.confirm_database_url().reveal())) as store:
            items = resolve_items(self.user_file.declaration, Path(self.record.path))
            record = dataclasses.replace(self.record, items=items)
            return find_changed_in_source(store, record, values_by_id)

    def sync_corrected_rows(self, tx: Connection, new_edits: Mapping[str, NewEdit]) -> None:
        """Write the answers of corrected rows to the table or column that `write_to=` names.

        These are the preferred answers of the rows now. Values that another program wrote there
        stay. Nothing is written without `write_to=`. Runs in the caller's transaction.

        Args:
            new_edits: The stored edits by row id.
        """
        if self.answer_target is not None:
            preference = self.make_version_preference(tx)
            self.answer_target.sync(tx, new_edits.keys(), preference)
        self.update_derived(tx, list(new_edits))

    def replace_answers(
        self, tx: Connection, records: Mapping[str, Sequence[tuple[str, str | None, int]]]
    ) -> None:
        """Replace stored answers, and what `write_to=` and `derive=` make of them.

        Args:
            records: By row id, each answer with its JSON, the JSON before merges of tags, and its
                id.

        Raises:
            ConfigurationError: Code of the task's file failed.
            RefusedRowError: Another program's table refuses a value.
        """
        row_ids = list(records)
        former_answers = list[TargetValue]()
        if self.answer_target is not None:
            former_answers = self.answer_target.read_answers(tx, row_ids)
        columns = ("answer", "unmerged")
        update_rows(tx, answers_table, columns, list(chain.from_iterable(records.values())))
        if self.answer_target is not None:
            preference = self.make_version_preference(tx)
            self.answer_target.sync(tx, row_ids, preference, former_answers=former_answers)
        self.update_derived(tx, row_ids)

    # ---- values of other programs

    def complete_stored_rows(self, tx: Connection, *, now: datetime) -> None:
        """Store what follows from rows that were just stored: other values, and derived values.

        Args:
            now: The time of new values of other programs.

        Raises:
            ConfigurationError: Code of the task's file failed.
            RefusedRowError: Another program's table refuses a derived value.
        """
        self.sync_other_values(tx, now=now)
        self.update_derived(tx)

    def sync_other_values(
        self, tx: Connection, *, now: datetime, row_ids: Sequence[str] | None = None
    ) -> None:
        """Store what another program wrote where `write_to=` writes, as answers of version OTHER.

        A value that is no answer is stored with the reason. In the table of the task's rows, a
        value of another program, or a blank cell, ends the answer of a model that was there. Stored
        values follow the table: a changed value is replaced, and a removed one is deleted. Answers
        that askrows wrote are not stored again. The derived values of changed rows are computed
        anew, and also written to the columns that `derive=` names. Runs in the caller's
        transaction.

        Args:
            now: The time of the new values.
            row_ids: Only these rows; None means all rows.

        Raises:
            ConfigurationError: Code of the task's file failed.
            RefusedRowError: Another program's table refuses a derived value.
        """
        for changes in self._find_other_changes(tx, row_ids):
            new_values = changes.new_values
            if self.answer_target is not None and self.answer_target.is_in_own_table:
                stored_answers.disapply_model_answers(tx, self.name, changes.row_ids)
            stored_answers.replace_other_values(
                tx, self.name, changes.removed_ids, new_values, now=now
            )
            record_row_change(tx, self.name)
            self.update_derived(tx, changes.row_ids)

    def has_other_changes(self, tx: Connection) -> bool:
        """Return whether another program's table shows other values than those that are stored.

        Raises:
            ConfigurationError: Code of the task's file failed.
        """
        return next(self._find_other_changes(tx, None), None) is not None

    def _find_other_changes(
        self, tx: Connection, row_ids: Sequence[str] | None
    ) -> Iterator[_OtherChanges]:
        """Yield by pages of rows what differs between another program's table and what is stored.

        Args:
            row_ids: Only these rows; None means all rows.
        """
        target = self.answer_target
        if target is None:
            return
        model = self.model or self.settings.for_backend(self.provider).model
        # A vocabulary limits only what models and people answer.
        answer_model = target.select_shown_fields(self.user_file.declaration.answer)
        values = target.read_other_values(tx, self.stored_rows, model, row_ids)
        for page in split_into_pages(values):
            judged_values = [
                (value, *self._judge_other_value(value, target, answer_model)) for value in page
            ]
            unstored_values = {
                value.row_id: json.loads(answer_json)
                for value, answer_json, _ in judged_values
                if value.answer_id is None
            }
            own_ids = target.find_own_rows(tx, unstored_values, model)
            changes = _OtherChanges([], [], [])
            for value, answer_json, reason in judged_values:
                is_stored = (answer_json, reason) == (value.answer_json, value.unusable)
                if is_stored or value.row_id in own_ids:
                    continue
                changes.row_ids.append(value.row_id)
                if value.answer_id is not None:
                    changes.removed_ids.append(value.answer_id)
                if not value.is_empty:
                    new_value = {"row_id": value.row_id, "input_hash": value.input_hash}
                    changes.new_values.append(
                        {**new_value, "answer": answer_json, "unusable": reason}
                    )
            if changes.row_ids:
                yield changes

    def _judge_other_value(
        self, value: OtherValue, target: AnswerTarget, answer_model: "type[BaseModel]"
    ) -> tuple[str, str | None]:
        """Return a value of another program as an answer in JSON, and why it is invalid, if so.

        The JSON is NO_ANSWER for an empty value, which has no reason, and for an invalid value. The
        reason names the place of the value.

        Args:
            answer_model: The answer model, or one with only the fields that the table shows.

        Raises:
            ConfigurationError: Code of the task's file failed.
        """
        if value.is_empty:
            return NO_ANSWER, None
        fields = {name: self._read_foreign_cell(name, cell) for name, cell in value.cells.items()}
        row = self.unpack_row({KEY_COLUMN: value.row_id, VALUES_COLUMN: value.row_json})
        answer, reasons, _ = self.validate_values(fields, row, answer_model, row_id=value.row_id)
        if answer is None:
            return NO_ANSWER, f"{target.label}: {reasons[0]}"
        return answer.model_dump_json(), None

    def _read_foreign_cell(self, field_name: str, cell: Any) -> Any:
        """Return the cell that another program wrote as a value of a field; check nothing.

        JSON is parsed; the members of a list of texts become texts. Any other cell is a plain
        value.
        """
        if dict(self.record.fields)[field_name] != "json":
            return to_plain_value(cell)
        is_text_list = any(
            field.name == field_name and field.kind == "list" and field.parts[0].kind == "text"
            for field in self.answer_fields
        )
        texts = parse_text_list(cell) if is_text_list else None
        return parse_json_cell(cell) if texts is None else texts

    # ---- derived values

    def update_derived(self, tx: Connection, row_ids: Sequence[str] | None = None) -> None:
        """Compute the derived values and the indexed texts of rows anew, and store them.

        They are also written to the columns of other programs that `derive=` names.

        Args:
            row_ids: The rows; None: those whose values are not computed yet.

        Raises:
            ConfigurationError: A function failed, or its value cannot be stored.
            RefusedRowError: Another program's table refuses a value.
        """
        if not self.record.functions_id:
            return
        if row_ids is None:
            row_ids = row_store.list_underived_ids(tx, self.name)
        targets = make_derived_targets(self.record)
        for page_ids in split_into_pages(row_ids):
            derived_rows = self._derive_rows(tx, page_ids)
            records = [
                {"id": row_id, "derived": to_compact_json(values), "index_text": index_text}
                for row_id, (values, index_text) in derived_rows.items()
            ]
            row_store.save_derived(tx, self.name, records)
            for name, target in targets.items():
                target_values = {
                    row_id: values[name] for row_id, (values, _) in derived_rows.items()
                }
                target.write_values(tx, target_values)

    def correct_derived(self, tx: Connection) -> int:
        """Store derived values that are wrong anew; return how many rows had some.

        Raises:
            ConfigurationError: A function failed, or its value cannot be stored.
            RefusedRowError: Another program's table refuses a value.
        """
        wrong_ids = list(self._find_wrong_derived(tx))
        self.update_derived(tx, wrong_ids)
        if wrong_ids:
            record_row_change(tx, self.name)
        return len(wrong_ids)

    def check_rows(
        self, tx: Connection, display: Progress
    ) -> tuple[Mapping[str, int], Sequence[RowFault]]:
        """Return no figures, and the faults of derived values; see `Task.check_rows`.

        They are not checked after a change of the task's file: the next `tag` computes them anew.
        """
        file = find_source_file(Path(self.record.path))
        if not file.is_file() or hash_file(file) != self.record.functions_id:
            return {}, ()
        row_faults = RowFaults(
            {
                WRONG_DERIVED_FAULT: (
                    "lists, exports and the index show other values",
                    CommandHint("score", task=self.name),
                    True,
                )
            }
        )
        table = self.select_task_rows(tx)
        with display.bar(f"checking {self.nouns.plural}", table.count_rows(tx)):
            for page_ids in split_into_pages(self._find_wrong_derived(tx)):
                names = table.read_names(tx, page_ids)
                row_faults.add(WRONG_DERIVED_FAULT, names.values(), len(page_ids))
        return {}, row_faults.summarize_faults()

    def _find_wrong_derived(self, tx: Connection) -> Iterator[str]:
        """Yield the ids of rows whose stored derived values or indexed text are not right.

        A cell that `derive=` names is wrong, too, if another program changed it. Rows that have no
        derived values yet are left out.
        """
        targets = make_derived_targets(self.record)
        for page in row_store.derived_pages(tx, self.name):
            derived_rows = self._derive_rows(tx, list(page))
            wrong_ids = {
                row_id
                for row_id, (values, index_text) in derived_rows.items()
                if page[row_id] != (to_compact_json(values), index_text)
            }
            for name, target in targets.items():
                kind = self.record.derived[name]
                for row_id, cell in target.read_values(tx, list(derived_rows)):
                    values, _ = derived_rows[row_id]
                    stored_value = to_column_value(kind, to_plain_value(cell))
                    if stored_value != to_column_value(kind, values[name]):
                        wrong_ids.add(row_id)
            yield from sorted(wrong_ids)

    def _derive_rows(
        self, tx: Connection, row_ids: Sequence[str]
    ) -> dict[str, tuple[dict[str, Any], Any]]:
        """Return the derived values and the indexed text of rows, by row id; store nothing."""
        rows = self.read_rows(tx, row_ids)
        answers = self.read_current_answers(tx, row_ids)
        return {
            row_id: self._derive_values(row, answers[row_id] or None)
            for row_id, row in rows.items()
        }

    def _derive_values(
        self, row: Mapping[str, Any], answer: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], Any]:
        """Return the derived values of a row by name, and its text if a function makes it."""
        declaration = self.user_file.declaration
        source_values = {name: row[name] for name in self.record.columns}
        derive = partial(
            self.user_file.derive_value, row_id=row[KEY_COLUMN], row=source_values, answer=answer
        )
        functions = declaration.derived_functions
        values = {
            name: derive(functions[name], kind=kind) for name, kind in self.record.derived.items()
        }
        index_text = None
        if callable(declaration.index):
            index_text = derive(declaration.index, kind="text")
        return values, index_text

    def remove_answers(
        self,
        tx: Connection,
        row_ids: Sequence[str],
        version: VersionCounts | None,
    ) -> int:
        """Remove the answers to these rows from another program's table; return the row count.

        Then the table or column that `write_to=` names shows the next preferred answers.

        Args:
            row_ids: The rows.
            version: The version of the answers, or None for all versions.
        """
        if self.answer_target is not None:
            preference = self.make_version_preference(tx)
            name = version.version if version else ""
            self.answer_target.sync(tx, row_ids, preference, removed_version=name)
        return len(row_ids)

    # ---- exports and views

    def read_export(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return the rows to export with their answers; see `user_views`."""
        return user_views.read_export(tx, self, options, self.record)

    @cached_property
    def tables(self) -> TaskTables | None:
        """Return the tables with the rows of the task; None if its source takes no new rows."""
        return make_task_tables(self.record)

    def list_tables(self, tx: Connection) -> Sequence[Table]:
        """Return the tables with the rows of the task, and that of its answers if it is made."""
        return () if self.tables is None else self.tables.list_definitions(tx)

    def make_tables(self, target: Connection) -> None:
        """Create the task's tables and views in the target database of a move."""
        if self.tables is not None:
            self.tables.adopt(target)
        make_views(target, self.record)

    def refresh_views(self, store: Store) -> None:
        """Make the task's views again if they are not current, or lack a confidence's column.

        Raises:
            ConfigurationError: Another program's object has the name of a view, or depends on a
                view whose columns change.
        """
        with store.read() as tx:
            if are_views_made(tx, self.record):
                return
        with store.write() as tx:
            make_views(tx, self.record)


def _find_cleaned_fault(result: Any, answer_model: "type[BaseModel]") -> str:
    """Return what is wrong with the result of `clean`, in words that follow "but"; "" if nothing.

    It must be a valid answer that can be stored, and the number of cut values.
    """
    is_pair = isinstance(result, tuple) and len(result) == len(("answer", "count"))
    if not is_pair or not isinstance(result[0], answer_model) or not isinstance(result[1], int):
        return f"it returned {result!r:.200}"

    answer = result[0]
    reason = find_unstorable_reason(answer)
    if reason:
        return f"its answer has {reason}"
    read = partial(make_answer_validator(answer_model).validate_json, by_alias=True, by_name=True)
    _, reason = validate_answer(read, answer.model_dump_json(warnings=False))
    return f"its answer is invalid: {reason}" if reason else ""


def _make_nouns(record: TaskRecord) -> TaskNouns:
    """Return the words of a user's task."""
    words = record.words or ("row", "rows", "answered", "empty")
    singular, plural_noun, answered_word, _ = words
    answered = answered_word.replace("_", " ")
    inputs_noun = f"the {plural_noun} of {record.name}"
    if record.has_folder:
        inputs_noun = f"the {plural_noun}"
    elif record.image_columns:
        inputs_noun += " and their images"
    task_option = None if record.name == DEFAULT_TASK else record.name
    return TaskNouns(
        singular=singular,
        plural=plural_noun,
        answered=answered,
        none_open_message=f"every {singular} with content is {answered}, claimed or parked",
        input_noun=singular,
        inputs_noun=inputs_noun,
        ask_command=CommandHint("tag", task=task_option),
        task_option=task_option,
    )
