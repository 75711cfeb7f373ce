"""Task: the rows that are asked, their prompt, the form of a valid answer, and its place.

- A task is made from its record in the database, so rows are listed, named and exported without
  loading its file. Prompts and checks come from the declaration in the file.
- A task that stores its answers in its own way, as passages do, is a subclass.
- A row is open if it can be asked. A row is claimed while a batch asks it, and parked if it is not
  asked again until a user unparks it.
- An answer is applied if its row took it, and outdated if the row's input changed after the
  request.
- `tx` is a connection inside a transaction of `askrows.pipeline.store`. The caller ends the
  transaction.
"""

import contextlib
import copy
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from sqlalchemy import ColumnElement, Connection, Subquery, Table, select

from askrows.pipeline.core.answer_fields import AnswerField, make_strict_answer_validator
from askrows.pipeline.core.command_hint import HintTemplate
from askrows.pipeline.core.declaration import Declaration, list_faults
from askrows.pipeline.core.errors import AskrowsError, ConfigurationError, InputError
from askrows.pipeline.core.quotes import locate_quotes
from askrows.pipeline.core.settings import DEFAULT_TASK, Settings
from askrows.pipeline.core.states import NoAnswer
from askrows.pipeline.rows.answer_views import are_views_current, create_or_replace_views
from askrows.pipeline.rows.cells import find_unstorable_reason, to_compact_json, to_prompt_text
from askrows.pipeline.rows.folder_files import find_file_id, make_import_hint
from askrows.pipeline.rows.grid import Grid
from askrows.pipeline.rows.row_sync import find_ids_changed_in_source
from askrows.pipeline.rows.source import MEMORY_ROWS, resolve_query_or_path
from askrows.pipeline.rows.stored_rows import (
    HASH_COLUMN,
    KEY_COLUMN,
    VALUES_COLUMN,
    make_rows_subquery,
    make_task_rows_with_states,
    parse_stored_values,
)
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.rows.task_tables import TaskTables, make_task_tables
from askrows.pipeline.rows.write_to import (
    AnswerTarget,
    TargetValue,
    make_answer_target,
    make_derived_targets,
)
from askrows.pipeline.store import answers, tag_merges
from askrows.pipeline.store import rows as row_store
from askrows.pipeline.store.answers import OTHER, PreferredAnswer, VersionCounts, VersionPreference
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.edits import NewEdit
from askrows.pipeline.store.task_record import VARIANT_MARK, TaskRecord, belongs_to_version
from askrows.pipeline.tasks.listed_terms import hash_vocabulary, limit_answer_to_vocabulary
from askrows.pipeline.tasks.prompt_builder import PromptBuilder
from askrows.pipeline.tasks.row_images import make_row_images
from askrows.pipeline.tasks.task_grid import TaskGridBuilder, name_row, read_export
from askrows.pipeline.tasks.task_index import make_indexed_task
from askrows.pipeline.tasks.task_values import (
    ALL_ASKED_ROWS,
    EXPORT_FORMATS,
    AnswerValidation,
    AskedRows,
    ExportOptions,
    ExportRows,
    IndexedTask,
    RequestOutcome,
    RowFault,
    RowsById,
    TaskRow,
    WriteResult,
    make_nouns,
)
from askrows.pipeline.tasks.user_file import UserFile

# These are loaded when they are first used.
if TYPE_CHECKING:
    from pydantic import BaseModel

    from askrows.pipeline.provider.decisions import ClosedField

# Fewer characters of a hash are not taken for its beginning.
MIN_HASH_CHARS = 4
# A whole number of a key column of 64 bits, as a person types it.
_WHOLE_NUMBER = re.compile(r"-?\d{1,19}")


class Task:
    """Rows that are asked about, their prompts, and their answers."""

    # Columns that are read to ask about a row, to hash it and to validate its answer.
    row_columns: Sequence[str] = (KEY_COLUMN, HASH_COLUMN, VALUES_COLUMN)
    # Rows that the command asks.
    asked_rows: AskedRows = ALL_ASKED_ROWS
    # The rows by id if they are in memory only, as those of a draft are; None if they are stored.
    memory_rows: dict[str, Mapping[str, Any]] | None = None
    # Unattended runs over all rows need a pilot that passed its gates.
    needs_pilot: bool = False
    # Prompt versions whose answers keep a row from being asked; None for any version.
    skipped_versions: Sequence[str] | None = None

    # Views with its answers are made for the task.
    has_views: bool = True
    # Word for a row of an export.
    exported_noun: str = "row"
    # Members of `ExportOptions` that the task supports.
    export_options: frozenset[str] = frozenset({"answer_version", "cost", "gone"})
    # Formats by file ending; the first is the default.
    export_formats: Mapping[str, str] = EXPORT_FORMATS
    # Hint that is shown if the task has no index.
    index_hint: HintTemplate | str = (
        'set index="{column}" in the task\'s file to the text that is searched'
    )

    def __init__(
        self,
        record: TaskRecord,
        settings: Settings,
        provider: str = "",
        *,
        declaration: Declaration | None = None,
    ) -> None:
        """Make the task of a record; its file is not loaded.

        The default task with TAGS_FROM= reads that vocabulary, whose hash is added to
        `prompt_version`.

        Args:
            provider: The backend that answers now.
            declaration: The declaration of a draft; that of the file if None.

        Raises:
            InputError: The file of TAGS_FROM= cannot be read or has faults.
        """
        self.record = record
        self.settings = settings
        self.provider = provider
        self.user_file = UserFile(record, settings)
        if declaration is not None:
            self.user_file.declaration = declaration
        # First part of every request key.
        self.name = record.name
        # Value of TASK= in commands.
        self.subject = record.name
        self.nouns = make_nouns(record)
        # Columns that are the key together, by their headings in a file.
        self.key_columns = [record.file_key or name for name, _ in record.key]
        # Fingerprint of the declaration, which batches, calls and answers store; None if they are
        # valid with any declaration.
        self.fingerprint: str | None = record.fingerprint
        # Table of the files, if the rows are the images of imported folders.
        self.folder_table = record.table if record.has_folder else ""
        # State of prompt and schema (`task@n`). With the model it is the version of an answer.
        self.prompt_version = record.prompt_version
        self._vocabulary_file = settings.tags_from if record.name == DEFAULT_TASK else None
        if self._vocabulary_file is not None:
            self.prompt_version += VARIANT_MARK + hash_vocabulary(self._vocabulary_file)
        # Prompt version whose parked rows are not asked; empty if those of any version are not.
        self.parked_version = record.prompt_version
        # Preferred versions, best first.
        self.preferred_versions = record.preferred_versions
        if settings.prefer_versions is not None:
            self.preferred_versions = settings.prefer_versions
        # Version under which rows are decided.
        decision_model = settings.copy_with_backend_defaults(provider).decision_model.removeprefix(
            "models/"
        )
        self.decision_version = f"{record.prompt_version}/{decision_model}"

    @cached_property
    def answer_target(self) -> AnswerTarget | None:
        """Return the table or column that `write_to=` names; None without it."""
        if self.record.write_to is None:
            return None
        return make_answer_target(self.record, self.record.write_to, self.provider)

    @cached_property
    def index(self) -> IndexedTask | None:
        """Return how the task is searched; None without `index=` in its file."""
        record = self.record
        if not (record.index_template or record.has_index_function):
            return None
        text_columns = record.index_columns
        # A file or a query has no other columns than those that `index=` can name.
        has_table = bool(record.table) and not record.has_folder
        if self.settings.index_columns is not None and has_table:
            text_columns = self.settings.index_columns
        return make_indexed_task(record, self.rows, self.make_grid, text_columns=text_columns)

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from the task's file."""
        return self.user_file.declaration

    @property
    def no_rows_hint(self) -> HintTemplate:
        """Return the hint that is shown if there are no rows yet.

        It names the import command of a table or folder, else the empty source and `try`.
        """
        if self.record.table:
            command = make_import_hint(self.name, has_folder=self.record.has_folder)
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
    def source_hint(self) -> HintTemplate | str:
        """Return the hint that names the source of the rows, and how to change rows there.

        For imported folders it is `no_rows_hint`. A forgotten row would return with the next sync,
        because its source is read again.
        """
        if self.folder_table:
            return self.no_rows_hint
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

    def copy_with_asked_rows(self, asked_rows: AskedRows) -> Self:
        """Return a copy of the task in which a command asks these rows."""
        task = copy.copy(self)
        task.asked_rows = asked_rows
        return task

    def choose_model_name(self, settings: Settings, backend: str) -> str:
        """Return the name of the model that generates answers; the model need not exist.

        It is the first of these: the setting MODEL if it is set, the model of the task, the default
        of MODEL. With the local engine the model of the task is skipped.
        """
        task_model = None
        if backend != "local" and "model" not in settings.sources:
            task_model = self.record.model
        return task_model or settings.model

    # ---- rows

    @cached_property
    def stored_rows(self) -> Subquery:
        """Return the stored rows as a subquery, with their values as JSON."""
        return make_rows_subquery(self.name)

    @cached_property
    def rows(self) -> TaskRows:
        """Return the rows of the task, with the conditions of their states.

        With `write_to=`, a row with a value of another program is answered or unusable, too.
        """
        table = make_task_rows_with_states(
            self.record,
            self.stored_rows,
            self.parked_version,
            has_other_values=self.answer_target is not None,
        )
        has_names = self.record.name_template or self.record.file_key
        return dataclasses.replace(
            table,
            name_columns=self.row_columns if has_names else (),
            format_name=lambda row: name_row(self.record, self.unpack_row(row)),
        )

    def make_grid(self, tx: Connection) -> Grid:
        """Return the grid that lists rows and searches all their columns."""
        builder = TaskGridBuilder(
            tx,
            self.record,
            self.rows,
            preference=self.make_version_preference(tx),
            doubtful_threshold=self.settings.doubtful,
        )
        return builder.build()

    def make_version_preference(self, tx: Connection) -> VersionPreference:
        """Return the order of preference of the answers to a row."""
        return VersionPreference.read_for_task(
            tx,
            self.name,
            prompt_version=self.prompt_version,
            versions=self.preferred_versions,
        )

    def read_preferred_answers(
        self, tx: Connection, row_ids: Sequence[str]
    ) -> dict[str, PreferredAnswer]:
        """Return the preferred answers of rows, by row id; rows without an answer are left out."""
        preference = self.make_version_preference(tx)
        return answers.read_preferred_answers(tx, self.name, row_ids, preference=preference)

    @property
    def memory_row_ids(self) -> Sequence[str]:
        """Return the ids of the rows that are in memory only, in their order."""
        return list(self.memory_rows or ())

    def read_rows(self, tx: Connection, row_ids: Sequence[str]) -> RowsById:
        """Return the rows as they are now, in the order of `row_ids`, without unknown rows.

        They are read from memory if the task has rows there.
        """
        if self.memory_rows is not None:
            return {
                row_id: self.memory_rows[row_id] for row_id in row_ids if row_id in self.memory_rows
            }
        stored_rows = self.rows.read_rows(tx, row_ids, self.row_columns)
        return {
            row_id: self.unpack_row(stored_rows[row_id])
            for row_id in row_ids
            if row_id in stored_rows
        }

    def unpack_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored row with its values by column; missing values are None."""
        return {
            **dict.fromkeys(self.record.shown_columns),
            **row,
            **parse_stored_values(row[VALUES_COLUMN]),
        }

    def hash_input(self, row: Mapping[str, Any]) -> str:
        """Return the hash of a row's input, which is stored with the row."""
        return str(row[HASH_COLUMN])

    def join_key_parts(self, parts: Sequence[str]) -> str:
        """Return the id of a row from the parts of its key.

        A single part is the id. The id of several parts is a JSON list, with the whole numbers of
        integer columns as numbers.
        """
        if len(parts) == 1:
            return parts[0]
        key_values = [
            int(part) if kind == "integer" and _WHOLE_NUMBER.fullmatch(part) else part
            for part, (_, kind) in zip(parts, self.record.key, strict=True)
        ]
        return to_compact_json(key_values)

    def require_row_id(self, tx: Connection, name: str) -> str:
        """Return the id of the row with a key, or of "row 17" without a key.

        Values of several key columns are joined by commas. A row of a `Folder` may also be named by
        its path, and a row of a table with `file_key=` by this column, which comes before the id.

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

        table = self.rows
        if table.filter_ids(tx, [name]):
            return name
        row_id = table.find_id_by_place_title(tx, name)
        if row_id is None:
            hint = f"`{self.nouns.command('items')}` lists all {self.nouns.plural}"
            raise InputError(f"there is no {self.nouns.singular} {name!r}", hint=hint)
        return row_id

    def require_row_id_by_key_or_hash(self, tx: Connection, name: str) -> str:
        """Return the id of the row that a person named, by its key or the beginning of its hash.

        If the ids are hashes (`key="row"`), `name` may be the beginning of an id with at least
        MIN_HASH_CHARS characters that only one row has. Otherwise it is the whole key, as
        `require_row_id` takes it.

        Raises:
            InputError: There is no such row, or the ids of several rows begin with `name`.
        """
        if not self.record.has_made_key or len(name) < MIN_HASH_CHARS:
            return self.require_row_id(tx, name)
        keys = self.stored_rows.c.askrows_key
        begins_with_name = keys.startswith(name, autoescape=True)
        matching_keys = select(keys).where(begins_with_name).order_by(keys).limit(2)
        row_ids = list(tx.execute(matching_keys).scalars())
        if len(row_ids) > 1 and name not in row_ids:
            hint = f"`{self.nouns.command('items')}` lists all {self.nouns.plural}"
            raise InputError(f"several {self.nouns.plural} begin with {name!r}", hint=hint)
        return self.require_row_id(tx, row_ids[0] if len(row_ids) == 1 else name)

    def delete_row(self, tx: Connection, row_id: str) -> None:
        """Delete a row, also from the table of its task if it has such a table.

        Its answers and derived values are also removed from other programs' tables.
        """
        if self.answer_target is not None:
            preference = self.make_version_preference(tx)
            self.answer_target.sync_answers(tx, [row_id], preference, removed_version="")
        for target in make_derived_targets(self.record).values():
            target.overwrite_values(tx, {row_id: None})
        if self.record.table:
            from askrows.pipeline.rows.database_table import delete_table_row

            if self.record.has_folder and self.answer_target is not None:
                self.answer_target.delete_own_records(tx, row_id)
            delete_table_row(tx, self.record, row_id)
            row_store.delete_extra_cells(tx, self.name, row_id)
        row_store.delete_row(tx, self.name, row_id)

    # ---- prompts

    @cached_property
    def prompt_builder(self) -> PromptBuilder:
        """Return the prompt builder of the declaration, limited to TAGS_FROM= if it is set."""
        declaration = self.declaration
        if self._vocabulary_file is not None:
            declaration = limit_answer_to_vocabulary(declaration, self._vocabulary_file)
        columns = zip(declaration.prompt_columns, self.record.asked_columns, strict=True)
        return PromptBuilder(declaration, dict(columns))

    @property
    def answer_model(self) -> "type[BaseModel]":
        """Return the answer model, whose JSON schema is sent and which validates each reply."""
        return self.prompt_builder.declaration.answer

    @property
    def stored_answer_model(self) -> "type[BaseModel]":
        """Return the model of a stored answer."""
        return self.answer_model

    @property
    def answer_fields(self) -> Sequence[AnswerField]:
        """Return the fields of an answer, as they were registered."""
        return self.record.answer_fields

    @cached_property
    def closed_fields(self) -> "Mapping[str, ClosedField]":
        """Return the fields that a decision model can answer, by name in their order."""
        from askrows.pipeline.provider.decisions import find_closed_fields

        return find_closed_fields(self.answer_fields)

    @property
    def is_closed(self) -> bool:
        """Return whether all values of an answer are choices, so that many answers are the same."""
        return all(answer_field.has_only_choices() for answer_field in self.answer_fields)

    @property
    def quoted_text_name(self) -> str:
        """Return what quotations are copied from, in words for a model.

        It is the tag of the quoted column, such as `<letter>`, if the prompt has more columns.
        """
        quoted_column = self.record.quoted_column
        columns_by_name = self.prompt_builder.columns_by_name
        quoted_names = [name for name, column in columns_by_name.items() if column == quoted_column]
        if len(columns_by_name) > 1 and quoted_names:
            return f"<{quoted_names[0]}>"
        return "the text"

    def make_task_rows_with_prompts(self, rows: RowsById) -> Iterator[TaskRow]:
        """Yield rows with their prompts, in order, without rows whose images cannot be read.

        A prompt contains the images of its row. A row of a `Folder` whose file changed since it was
        inspected is left out, too; the next command asks about it.

        Raises:
            ConfigurationError: The task's file was changed since the task was recorded.
        """
        is_checked = self.fingerprint is not None
        if is_checked and self.user_file.declared_fingerprint != self.fingerprint:
            raise ConfigurationError(
                f"{self.record.path} changed during the command; no further rows are asked",
                hint="run the same command again",
            )
        images = None
        if self.record.image_columns:
            images = make_row_images(self.record, self.declaration)
        for row_id, row in rows.items():
            prompt = self.prompt_builder.make_prompt(self.make_prompt_text(row))
            context = row if self.needs_row else None
            task_row = TaskRow(row_id, prompt, self.hash_input(row), context)
            if images is not None:
                complete_row = images.read_images_into_prompt(task_row, row)
                if complete_row is None:
                    continue
                task_row = complete_row

            # Whoever may change the database must not choose the image that is sent.
            # Nobody knows the hash of an image without its bytes.
            is_other_file = self.folder_table and task_row.input_hash != self.hash_input(row)
            if not is_other_file:
                yield task_row

    def make_prompt_text(self, row: Mapping[str, Any]) -> str:
        """Return the prompt text about a row."""
        return self.prompt_builder.fill_prompt(row)

    def read_input_texts(self, tx: Connection, row_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the sent values by row id, each on a line; several with the names of columns."""
        columns = [*self.record.asked_columns, *self.record.image_columns]
        form = "{}: {}" if len(columns) > 1 else "{1}"
        return {
            row_id: "\n".join(form.format(name, to_prompt_text(row[name])) for name in columns)
            for row_id, row in self.read_rows(tx, row_ids).items()
        }

    # ---- checks of answers

    @cached_property
    def needs_row(self) -> bool:
        """Return whether an answer is checked against the row, or `clean` gets the row."""
        return self._checks_row or self.declaration.clean is not None

    @cached_property
    def _checks_row(self) -> bool:
        """Return whether an answer has quotations from the row, or `check` gets the row."""
        return self.declaration.check is not None or self.record.quoted_column is not None

    def locate_quotations_and_check(
        self,
        answer: "BaseModel",
        row: Mapping[str, Any] | None,
    ) -> "tuple[BaseModel | None, str]":
        """Locate the answer's quotations in the row, and run the check of the task's file.

        Values that no database can store are refused.

        Args:
            answer: An answer that fits the answer model.
            row: The row that the answer is about. None if it was deleted, is not needed, or has
                another input than the request. Then the answer is not compared with it, because it
                will not be applied.

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

        reason = self.user_file.run_check_function(answer, row)
        return (None if reason else answer), reason

    def check_and_clean_answer(
        self,
        answer: "BaseModel",
        row: Mapping[str, Any] | None,
        *,
        has_same_input: bool = True,
    ) -> AnswerValidation:
        """Check and clean an answer that fits the answer model.

        The answer to a deleted row is not cleaned: it does not count for any row.

        Args:
            row: The row as it is now; None if it was deleted or is not needed.
            has_same_input: The row has the input of the request; if not, nothing is checked
                against it.

        Raises:
            ConfigurationError: Code of the task's file failed.
            NoAnswer: The text of the row supports no answer.
        """
        valid_answer, reason = self.locate_quotations_and_check(
            answer, row if has_same_input else None
        )
        if valid_answer is None:
            return AnswerValidation(None, [reason])
        if self.declaration.clean is None or row is None:
            return AnswerValidation(valid_answer)
        clean_answer, cut_value_count = self.user_file.run_clean_function(
            valid_answer, row, self.answer_model
        )
        return AnswerValidation(clean_answer, cut_value_count=cut_value_count)

    def validate_values_as_answer(
        self,
        values: Mapping[str, Any],
        row: Mapping[str, Any] | None,
        answer_model: "type[BaseModel]",
        *,
        row_id: str,
    ) -> AnswerValidation:
        """Validate the values of an answer that a person or another program gave.

        Args:
            values: JSON values by field.
            row: The row that the answer is about, for `check_and_clean_answer`; None if the values
                are not checked with a row.
            answer_model: The model of the values. Values of another model than the task's are not
                checked with their row.
            row_id: The id of the row, for messages.

        Raises:
            ConfigurationError: Code of the task's file failed.
        """
        from pydantic import ValidationError

        try:
            answer_validator = make_strict_answer_validator(answer_model)
            answer = answer_validator.validate_json(json.dumps(values), by_alias=True, by_name=True)
            if answer_model is not self.answer_model:
                return AnswerValidation(answer)
            return self.check_and_clean_answer(answer, row)
        except NoAnswer as error:
            return AnswerValidation(None, [str(error)])
        except ValidationError as error:
            return AnswerValidation(None, list_faults(error))
        except AskrowsError:
            raise
        # Validators and `check` are the user's code, which may raise anything or end the program.
        except (Exception, SystemExit) as error:
            raise self.user_file.make_code_error(error, row_id) from error

    # ---- answers

    def apply_answers_to_rows(
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
        result. Without `write_to=`, nothing at all is written. With it, the caller has stored the
        values of other programs in these rows. The rows are locked in the caller's transaction.

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
            id can be in both. Rows whose text supports no answer are unwritable, each with the
            reason, unless their answer is outdated.

        Raises:
            RefusedRowError: A rule of the table of `write_to=` refuses an answer.
        """
        outcomes_by_id = {outcome.claim.row_id: outcome for outcome in outcomes}
        table = self.rows
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
            has_other_value = self._make_answered_condition(OTHER)
            has_own_answer = self._make_answered_condition(prompt_version)
            excluded |= table.filter_ids(tx, list(stored_rows), has_other_value, ~has_own_answer)
        applied = stored_rows.keys() - excluded

        if self.answer_target is not None:
            current_values = {
                row_id: stored_rows[row_id][VALUES_COLUMN] for row_id in applied - outdated
            }
            outdated |= self._find_rows_changed_in_source(current_values)
            merge_rules = tag_merges.read_rules_by_field(tx, self.name)
            current = list[TargetValue]()
            for row_id, outcome in outcomes_by_id.items():
                if row_id in applied and row_id not in outdated:
                    answer = cast("BaseModel", outcome.answer)
                    merged_json, _ = tag_merges.merge_tags_in_json(
                        answer.model_dump_json(), merge_rules
                    )
                    current.append(TargetValue(row_id, version, merged_json, now))
            current_ids = [value.row_id for value in current]
            preference = self.make_version_preference(tx)
            self.answer_target.sync_answers(tx, current_ids, preference, later_answers=current)
        unwritable = {
            row_id: reason for row_id, reason in unsupported.items() if row_id not in outdated
        }
        return WriteResult(applied=applied, outdated=outdated, unwritable=unwritable)

    def _make_answered_condition(
        self, version: str, *, input_hash: ColumnElement[str] | None = None
    ) -> ColumnElement[bool]:
        """Return the SQL condition that a row has an applied answer; see `answers.is_answered`."""
        key = self.stored_rows.c.askrows_key
        return answers.is_answered(self.name, key, version, input_hash=input_hash)

    def _find_rows_changed_in_source(self, stored_values: Mapping[str, str]) -> set[str]:
        """Return the ids of rows that the task's query gives with other values, or not at all.

        Only a query of the workspace's own database is run; for any other source the result is
        empty. The query has a connection of its own, because it must not be able to write in the
        caller's transaction.

        Args:
            stored_values: Stored values as JSON, by row id.
        """
        if not (stored_values and self.record.is_query) or self.declaration.source:
            return set()
        values_by_id = {
            row_id: parse_stored_values(values) for row_id, values in stored_values.items()
        }
        with contextlib.closing(
            Store(self.settings.confirm_and_get_database_url().reveal())
        ) as store:
            items = resolve_query_or_path(self.declaration, Path(self.record.path))
            record = dataclasses.replace(self.record, items=items)
            return find_ids_changed_in_source(store, record, values_by_id)

    def list_versions(self, tx: Connection) -> Sequence[VersionCounts]:
        """Return the versions that have answers, by prompt version and model."""
        return answers.count_applied_answers_by_version(tx, self.name)

    def remove_answers_from_tables(
        self, tx: Connection, row_ids: Sequence[str], version: VersionCounts
    ) -> int:
        """Remove a version's answers from another program's table; return the length of `row_ids`.

        Then the table or column that `write_to=` names shows the next preferred answers. Without
        `write_to=`, nothing is changed. Stored answers are not deleted here.

        Args:
            row_ids: Rows with stored answers of the version. Values that somebody changed since
                stay.
            version: The version.
        """
        if self.answer_target is not None:
            preference = self.make_version_preference(tx)
            self.answer_target.sync_answers(
                tx, row_ids, preference, removed_version=version.version
            )
        return len(row_ids)

    def read_preferred_values(
        self, tx: Connection, row_ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Return by row id the values of the preferred answer by field, as they are stored.

        A row without an answer has no values.
        """
        empty_answers: dict[str, dict[str, Any]] = {row_id: {} for row_id in row_ids}
        return empty_answers | {
            row_id: json.loads(stored_answer.answer)
            for row_id, stored_answer in self.read_preferred_answers(tx, row_ids).items()
        }

    def to_reply_form(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Convert a stored answer, or some of its fields, to the form in which a model gives it."""
        return answer

    def update_tables_by_edits(self, tx: Connection, new_edits: Mapping[str, NewEdit]) -> None:
        """Update other programs' tables after corrections.

        The table or column that `write_to=` names gets the preferred answers of the rows. Values
        that another program wrote there stay. Runs in the caller's transaction, which must be
        rolled back after an error.

        Args:
            new_edits: The stored edits by row id.
        """
        if self.answer_target is not None:
            preference = self.make_version_preference(tx)
            self.answer_target.sync_answers(tx, new_edits.keys(), preference)

    # ---- exports, and tables besides those of all tasks

    def read_export(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return the rows to export with their answers; see `task_grid.read_export`."""
        return read_export(tx, self.record, self.make_grid(tx), options)

    def check_version_has_answers(self, version: str, answered_versions: Iterable[str]) -> None:
        """Raise InputError if no answered version is this version or of this prompt version."""
        if any(belongs_to_version(name, version) for name in answered_versions):
            return
        raise InputError(
            f"version {version!r} has no answers; nothing was written",
            hint=f"`{self.nouns.command('versions')}` lists the versions with answers",
        )

    @cached_property
    def tables(self) -> TaskTables | None:
        """Return the tables with the rows of the task; None if its source takes no new rows."""
        return make_task_tables(self.record)

    def list_tables(self, tx: Connection) -> Sequence[Table]:
        """Return the tables with the rows of the task, and that of its answers if it is made.

        They have all columns that askrows writes.
        """
        return () if self.tables is None else self.tables.list_definitions(tx, self.settings)

    def make_tables(self, target: Connection) -> None:
        """Create the task's tables and views in the target database of a move."""
        if self.tables is not None:
            self.tables.create_or_adopt(target, self.settings)
        if self.has_views:
            create_or_replace_views(target, self.record)

    def refresh_outdated_views(self, store: Store) -> None:
        """Make the task's views again if they are not current, or lack a confidence's column.

        Raises:
            ConfigurationError: Another program's object has the name of a view, or depends on a
                view whose columns change.
        """
        if not self.has_views:
            return
        with store.read() as tx:
            if are_views_current(tx, self.record):
                return
        with store.write() as tx:
            create_or_replace_views(tx, self.record)

    def check_own_table(
        self,
        tx: Connection,  # noqa: ARG002 - only a subclass has such a table
    ) -> tuple[Mapping[str, int], Sequence[RowFault]]:
        """Check the table where a task stores answers in its own way; return figures and faults.

        Other tasks have no such table, and no figures and faults. Only reads.
        """
        return {}, ()
