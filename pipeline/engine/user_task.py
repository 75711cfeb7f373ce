"""Tasks that a user's file declares.

- `UserTask` is made from the task's record in the database, so rows are listed, named and exported
  without loading the file. Prompts and checks come from the file.
- An index entry is a row that is in its source and has an answer of any version. Its text is a
  template with names of columns, and of fields of the preferred answer. It does not contain the
  times at which the row was read or changed.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Subquery, and_, func, literal, or_, select

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.core.declaration import Declaration, fill_template, find_column, list_template_columns
from pipeline.core.errors import ConfigurationError
from pipeline.core.progress import Progress
from pipeline.core.quotes import is_quotation, iterate_leaves, locate_quotes
from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.core.settings import Settings
from pipeline.core.where_parser import parse_where
from pipeline.engine import task_file
from pipeline.engine.prompt_builder import PromptBuilder
from pipeline.engine.row_images import RowImages
from pipeline.engine.task import (
    ExportOptions,
    ExportRows,
    IndexedTask,
    RowFault,
    RowsById,
    Task,
    TaskLabels,
    TaskRow,
    ValidAnswer,
    WriteResult,
)
from pipeline.engine.task_file import MEMORY_ROWS, parse_python_path
from pipeline.store import answers
from pipeline.store.answers import answers_to_other_inputs, find_corrected
from pipeline.store.database import PAGE_ROWS, Store, split_into_pages
from pipeline.store.edits import AnswerEdit
from pipeline.store.rows import NO_HASH, delete_row
from pipeline.store.schema import answers as answers_table
from pipeline.store.workspace import TaskRecord
from pipeline.tables.answer_views import (
    EXTRACTOR,
    JSON,
    make_views,
    name_added_columns,
    source_column_expression,
)
from pipeline.tables.cells import to_compact_json, to_prompt_text
from pipeline.tables.column_values import unstorable_reason
from pipeline.tables.export import encode_rows, read_answer_rows
from pipeline.tables.facets import tag_facet, version_facet
from pipeline.tables.grid import Grid
from pipeline.tables.row_sync import (
    HASH_COLUMN,
    IMAGE_STATE_COLUMN,
    KEY_COLUMN,
    VALUES_COLUMN,
    find_changed_in_source,
    make_rows_subquery,
    parse_stored_values,
)
from pipeline.tables.row_sync import UNUSABLE_COLUMN as REASON
from pipeline.tables.row_table import CHANGED_AT_COLUMN, REFUSED_STATE, RowStates, RowTable
from pipeline.tables.text_match import contains_word
from pipeline.tables.where_sql import JsonCell, compile_where
from pipeline.tables.write_to import RowTarget, TargetValue, parse_row_target, write_column

if TYPE_CHECKING:
    from pydantic import BaseModel

# Assumed tokens of an answer if the record is older than estimates from the schema.
DEFAULT_ANSWER_TOKENS = 150
MAX_LABEL_CHARS = 1_000
# State of a row with an image that cannot be sent.
UNUSABLE_STATE = "unusable"
# Characters of the text that a hit contains.
MAX_HIT_TEXT_CHARS = 1_000
# Longer texts of an answer are sentences and no tags.
MAX_TAG_CHARS = 60
ENTRY_RANKING = Ranking((FieldGroup(("text", "label")), FieldGroup(("answer",), 0.5)))
# Sorts before all numbers when negated; replaces missing numbers.
MISSING_NUMBER = 9e307
# Column heading of the reason why a row is unusable.
UNUSABLE_REASON_COLUMN = "why unusable"
DEFAULT_SETTINGS = Settings()


class UserTask(Task):
    """A task that a file declares, or a shipped task of the same kind."""

    index_hint = 'index="{column}" in the task\'s file says by what text its rows are found'
    has_row_source = True
    export_noun = "row"
    export_options = frozenset({"extractor", "rows", "cost", "gone"})
    columns = (KEY_COLUMN, HASH_COLUMN, VALUES_COLUMN)

    def __init__(
        self,
        record: TaskRecord,
        settings: Settings = DEFAULT_SETTINGS,
        provider: str = "",
    ) -> None:
        """Make the task of a record without loading its file.

        Args:
            provider: The backend that answers now.
        """
        options = record.words
        self.record = record
        self.settings = settings
        self.provider = provider
        # Rows whose input changed after their answer are open again.
        self.asks_stale_rows = settings.refresh and bool(options.get("refresh"))
        self.preferred_versions = (
            record.preferred if settings.prefer_versions is None else settings.prefer_versions
        )
        self.name = record.name
        self.subject = record.name
        self.version_label = f"{self.name}@{record.version}"
        self.fingerprint = record.fingerprint
        self.model = options.get("model")
        file_path = Path(record.path)
        self.file_path = None if parse_python_path(file_path) else file_path
        self.image_columns: Sequence[str] = options.get("images", ())
        self.sends_images = bool(self.image_columns)
        self.gates = str(options.get("gates") or "")
        self.labels = _labels_of(record, has_images=bool(self.image_columns))
        self.fill_hint = HintTemplate(
            "{}; `{}` shows what is asked",
            _empty_source_text(record),
            self.labels.command("try"),
        )
        self.source_hint = _source_hint(record)
        self.answer_tokens = options.get("answer_tokens", DEFAULT_ANSWER_TOKENS)
        index_template = options.get("index")
        self.index = _make_index(self, index_template) if index_template else None

    # ---- its file

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from its file."""
        return task_file.load_declaration(Path(self.record.path), self.settings, is_recorded=True)

    @cached_property
    def declared_fingerprint(self) -> str:
        """Return the fingerprint of the declaration in the file."""
        return task_file.hash_document(task_file.to_fingerprint_document(self.declaration))

    @cached_property
    def prompt_builder(self) -> PromptBuilder:
        """Return the prompt builder of the file's declaration."""
        columns = zip(self.declaration.prompt_columns, self.record.words["asked"], strict=True)
        return PromptBuilder(self.declaration, dict(columns))

    @cached_property
    def needs_row(self) -> bool:
        """Return whether an answer has quotations from the row, or `check` gets the row."""
        return self.declaration.check is not None or self.record.words.get("quotes_in") is not None

    def user_code_error(
        self,
        error: BaseException,
        item_id: str,
        *,
        code: str = "a validator",
        line: int | None = None,
    ) -> ConfigurationError:
        """Return the error to raise if code of the file failed on a row.

        Args:
            error: The exception of that code.
            item_id: The row.
            code: Name of the code in the message.
            line: First line of the code; used if the traceback has no line of the file.
        """
        message = f"{code} failed on {item_id!r}: {type(error).__name__}: {error}"
        error_line = task_file.find_error_line(error, Path(self.record.path)) or line
        return self._file_error(error_line, message)

    def _file_error(self, line: int | None, message: str) -> ConfigurationError:
        """Return the error about a line of the task's file; the reply is kept."""
        location = task_file.format_location(Path(self.record.path), line)
        return ConfigurationError(
            f"{location}: {message}; nothing was charged, and the reply is kept",
            hint="mend it, then run the same command again",
        )

    # ---- its rows

    @cached_property
    def rows_subquery(self) -> Subquery:
        """Return the stored rows as a subquery, with their values as JSON."""
        return make_rows_subquery(self.record.name)

    def row_images(self) -> RowImages:
        """Return the images of rows.

        Relative paths begin in the folder of the settings, else in the folder of the row file, else
        in the folder of the task's file. Rows of shipped tasks have absolute paths.
        """
        record = self.record
        max_side = self.declaration.image_side
        # Take the row file from the declaration: the path in the database may have been changed.
        source = self.declaration.items
        source_path = Path(record.path)
        if not (self.declaration.is_query or source == MEMORY_ROWS):
            source_path = (source_path.parent / source).resolve()

        is_shipped = task_file.find_built_in_task(record.name) is not None
        folder = self.settings.folder or (Path("/") if is_shipped else source_path.parent)
        return RowImages(
            self.image_columns,
            record.words["asked"],
            folder,
            max_side,
            self.settings.refresh,
        )

    def row_table(self, tx: Connection) -> RowTable:  # noqa: ARG002 - the record is enough
        """Return the row table, in the order of the source."""
        columns = self.rows_subquery.c
        is_answered = self._is_answered(current_input=self.asks_stale_rows)
        is_missing = columns.findable_gone_at.is_not(None)
        is_refused = columns.findable_hash == NO_HASH
        is_open = and_(~is_missing, ~columns.findable_empty, ~is_answered)

        other_states = list[tuple[str, ColumnElement[bool]]]()
        if self.image_columns:
            other_states.append((UNUSABLE_STATE, columns.findable_unusable.is_not(None)))
            is_open &= columns.findable_unusable.is_(None)
        states = RowStates(
            ("answered", is_answered),
            ("open", ~columns.findable_empty),
            "empty",
            tuple(other_states),
            is_refused,
            is_missing,
        )
        return RowTable(
            self.name,
            self.rows_subquery,
            states,
            is_open,
            id_column=KEY_COLUMN,
            order_column="findable_row",
            name_columns=self.columns if self.record.words.get("label") else (),
            own_prompt_version=self.version_label,
            format_name=lambda row: self.display_name_of(self.map_row(row)),
        )

    def read_first_ids(self, tx: Connection, count: int) -> tuple[list[str], int]:
        """Return the ids of the first rows that have an input, and the number of all such rows.

        Answered and claimed rows are included.
        """
        columns = self.rows_subquery.c
        conditions = (
            columns.findable_gone_at.is_(None),
            ~columns.findable_empty,
            columns.findable_unusable.is_(None),
        )
        query = (
            select(columns.findable_key)
            .where(*conditions)
            .order_by(columns.findable_row)
            .limit(count)
        )
        row_ids = list(tx.execute(query).scalars())
        return row_ids, self.row_table(tx).count_rows(tx, *conditions)

    def map_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored row with its values by column; missing values are None."""
        return {
            **dict.fromkeys(self.record.columns),
            **row,
            **parse_stored_values(row[VALUES_COLUMN]),
        }

    def input_hash(
        self,
        row: Mapping[str, Any],
        text: str | None = None,  # noqa: ARG002 - it is stored
    ) -> str:
        """Return the hash that is stored with the row."""
        return str(row[HASH_COLUMN])

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of the row with a key; values of several key columns are joined by commas.

        Raises:
            InputError: There is no such row.
        """
        kinds = [kind for _, kind in self.record.key]
        parts = [part.strip() for part in name.split(",")]
        if len(parts) == len(kinds) > 1 and not name.startswith("["):
            key_values = [
                int(part) if kind == "integer" and part.isdecimal() else part
                for part, kind in zip(parts, kinds, strict=True)
            ]
            name = to_compact_json(key_values)
        return super().id_of(tx, name)

    def display_name_of(self, row: Mapping[str, Any]) -> str:
        """Return the display name of a row: its filled label template, else its key."""
        template = self.record.words.get("label") or ""
        label = fill_template(
            template,
            lambda name: to_prompt_text(row.get(find_column(name, row) or name)),
        )
        return " ".join(label.split())[:MAX_LABEL_CHARS] or str(row[KEY_COLUMN])

    @property
    def name_columns(self) -> Sequence[str]:
        """Return the key column; empty if the key has several columns."""
        if len(self.record.key) != 1:
            return ()
        return [name for name, _ in self.record.key]

    def grid(self, tx: Connection) -> "Grid":
        """Return the grid that lists rows and searches all their columns."""
        return _GridBuilder(tx, self).build()

    def read_input_texts(self, tx: Connection, ids: Sequence[str]) -> Mapping[str, str]:
        """Return the values that are sent, by row id, each value on a line."""
        columns = [*self.record.words.get("asked", ()), *self.image_columns]
        return {
            row_id: "\n".join(to_prompt_text(row[name]) for name in columns)
            for row_id, row in self.read_rows(tx, ids).items()
        }

    def count_stale_rows(
        self,
        tx: Connection,
        *,
        timeout_s: float | None = None,  # noqa: ARG002 - a single query
    ) -> tuple[int, datetime | None]:
        """Return the number of rows that changed after their answer, and the time of the first."""
        columns = self.rows_subquery.c
        is_stale = self._is_answered(current_input=False) & ~self._is_answered(current_input=True)
        if not self.image_columns:
            # Rows have the input that was asked, except for images, which are read when asked.
            is_stale = columns.findable_changed_at.is_not(None) & is_stale
        query = select(
            func.count(columns.findable_key),
            func.min(columns.findable_changed_at),
        ).where(columns.findable_gone_at.is_(None), ~columns.findable_empty, is_stale)
        row_count, first_changed_at = tx.execute(query).one()
        return row_count, first_changed_at

    @property
    def refresh_hint(self) -> HintTemplate:
        """Return the hint how to ask about changed rows again; the task must permit it."""
        if self.record.words.get("refresh"):
            return super().refresh_hint
        command = self.labels.command("tag", refresh=True)
        return HintTemplate(
            "with refresh=True in the task's file, `{}` asks about them again",
            command,
        )

    def delete_row(
        self,
        tx: Connection,
        item_id: str,
        *,
        unchanged_text: str = "",  # noqa: ARG002 - never fails
    ) -> None:
        """Delete a row, and its answers from the tables of other programs."""
        self.remove_answers(tx, [item_id])
        delete_row(tx, self.name, item_id)

    # ---- the prompt

    def make_task_rows(self, rows: RowsById) -> Iterator[TaskRow]:
        """Yield rows with their prompts; rows whose images can no longer be read are left out.

        Raises:
            ConfigurationError: The task's file was changed since the task was recorded.
        """
        if self.declared_fingerprint != self.record.fingerprint:
            raise ConfigurationError(
                f"{self.record.path} was changed while it was used; nothing more is asked",
                hint="run the command again",
            )
        images = self.row_images() if self.image_columns else None
        for task_row in super().make_task_rows(rows):
            if images is None:
                yield task_row
                continue
            prepared = images.add_to_prompt(task_row.prompt, rows[task_row.id])
            if prepared is not None:
                prompt, input_hash = prepared
                yield task_row._replace(prompt=prompt, input_hash=input_hash)

    def find_open_by_hash(
        self, tx: Connection, hashes: Sequence[str]
    ) -> Mapping[str, Sequence[str]]:
        """Return the ids of open rows by input hash, in row order."""
        columns = self.rows_subquery.c
        ids_by_hash = dict[str, list[str]]()
        query = (
            select(columns.findable_hash, columns.findable_key)
            .where(self.row_table(tx).is_open)
            .order_by(columns.findable_row)
        )
        for page in split_into_pages(hashes):
            for input_hash, row_id in tx.execute(query.where(columns.findable_hash.in_(page))):
                ids_by_hash.setdefault(input_hash, []).append(row_id)
        return ids_by_hash

    # ---- the answers

    @cached_property
    def row_target(self) -> RowTarget | None:
        """Return the table of another program that gets a row for each answer, else None."""
        target = parse_row_target(self.record.words.get("write_to"))
        if target is None:
            return None
        return RowTarget(
            self.record,
            target.table,
            target.column,
            self.provider,
            self.preferred_versions,
            schema=target.schema,
        )

    def judge_answer(
        self,
        answer: "BaseModel",
        row: Any,
        *,
        input_hash: str,
    ) -> "tuple[BaseModel | None, str]":
        """Check an answer as `Task.judge_answer` does, and refuse values that no database can store."""
        reason = unstorable_reason(answer)
        if reason:
            return None, reason
        return super().judge_answer(answer, row, input_hash=input_hash)

    def check_against_row(
        self, answer: "BaseModel", row: Mapping[str, Any]
    ) -> "tuple[BaseModel | None, str]":
        """Locate the answer's quotations in the row and run the file's check.

        Returns:
            The answer with located quotations and "", or None and the reason.

        Raises:
            ConfigurationError: The check failed, or returned something other than a text or None.
        """
        quoted_column = self.record.words.get("quotes_in")
        if quoted_column is not None:
            located_answer, reason = locate_quotes(answer, to_prompt_text(row[quoted_column]))
            if located_answer is None:
                return None, reason
            answer = located_answer

        check = self.declaration.check
        if check is None:
            return answer, ""
        line = getattr(getattr(check, "__code__", None), "co_firstlineno", None)
        try:
            check_reason = check(answer, {name: row[name] for name in self.record.columns})
        except (Exception, SystemExit) as error:
            raise self.user_code_error(error, row[KEY_COLUMN], code="check()", line=line) from error
        if check_reason is not None and not isinstance(check_reason, str):
            raise self._file_error(
                line,
                "check() must say in a text what is wrong, or return None, "
                f"and returned {check_reason!r}",
            )
        if check_reason:
            return None, f"check: {check_reason}"
        return answer, ""

    def write_answers(
        self,
        tx: Connection,
        answers: Sequence[ValidAnswer],
        *,
        extractor: str,
        now: datetime,
    ) -> WriteResult:
        """Choose the answers that may be applied, and write them to the table of `write_to=`.

        Locks the rows. A row takes an answer if this version has not answered it yet; if the task
        permits refreshing, an answer to the row's former input does not count. An answer to a
        former input is not applied if it can be judged only with the row. It is never written to
        another program's table. There, a new answer replaces an answer to an older input.

        The caller stores the answers themselves.
        """
        answers_by_id = {answer.item_id: answer for answer in answers}
        table = self.row_table(tx)
        stored_rows = table.read_rows(
            tx, list(answers_by_id), [HASH_COLUMN, VALUES_COLUMN], should_lock=True
        )
        outdated = {
            row_id
            for row_id, row in stored_rows.items()
            if row[HASH_COLUMN] != answers_by_id[row_id].input_hash
        }

        is_answered = self._is_answered(
            current_input=bool(self.record.words.get("refresh")),
            few_rows=True,
            models_only=True,
        )
        excluded = table.filter_ids(tx, list(stored_rows), is_answered)
        if self.needs_row:
            excluded |= outdated
        applied = stored_rows.keys() - excluded

        if self.record.words.get("write_to"):
            current_values = {
                row_id: stored_rows[row_id][VALUES_COLUMN] for row_id in applied - outdated
            }
            outdated |= self._changed_in_source(current_values)
        current = [
            TargetValue(row_id, extractor, answer.answer.model_dump_json(), now)
            for row_id, answer in answers_by_id.items()
            if row_id in applied and row_id not in outdated
        ]
        self._write_to_target(tx, current, answers_by_id)
        return WriteResult(applied=applied, outdated=outdated)

    def _write_to_target(
        self,
        tx: Connection,
        values: Sequence[TargetValue],
        answers_by_id: Mapping[str, ValidAnswer],
    ) -> None:
        """Write answers to the table or column that `write_to=` names, if it names any.

        A column keeps the answers that a person corrected.
        """
        row_ids = [value.item_id for value in values]
        if self.row_target is not None:
            self.row_target.sync_rows(tx, row_ids, later_answers=values)
        elif self.record.words.get("write_to"):
            corrected_ids = find_corrected(tx, self.name, row_ids)
            hashes = {row_id: answers_by_id[row_id].input_hash for row_id in row_ids}
            former_answers = answers_to_other_inputs(tx, self.name, hashes)
            writable = [value for value in values if value.item_id not in corrected_ids]
            write_column(tx, self.record, writable, former_answers=former_answers)

    def _changed_in_source(self, stored_values: Mapping[str, str]) -> set[str]:
        """Return the rows for which the task's query gives other values by now.

        Only queries of the workspace's own database are run. They are run outside of the caller's
        transaction, because a user's query must not be able to write.

        Args:
            stored_values: Stored values as JSON, by row id.
        """
        if not (stored_values and self.record.is_query) or self.declaration.source:
            return set()
        values_by_id = {
            row_id: parse_stored_values(values) for row_id, values in stored_values.items()
        }
        with contextlib.closing(Store(self.settings.confirmed_database_url.reveal())) as store:
            record = replace(self.record, items=self.declaration.items)
            return find_changed_in_source(store, record, values_by_id)

    def sync_corrected_row(
        self,
        tx: Connection,
        item_id: str,
        edit: AnswerEdit,
        *,
        is_in_force: bool,  # noqa: ARG002
    ) -> None:
        """Write the preferred answer to another program's table, replacing any value there."""
        if self.row_target is not None:
            self.row_target.sync_rows(tx, [item_id], overwrite=True)
        elif self.record.words.get("write_to"):
            answer_json = json.dumps(self.current_answer(tx, item_id))
            target_value = TargetValue(item_id, "", answer_json, edit.at)
            write_column(tx, self.record, [target_value], should_overwrite=True)

    def remove_answers(
        self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None
    ) -> int:
        """Remove the answers to these rows from another program's table; return the row count.

        A column that `write_to=` names keeps its values.
        """
        if self.row_target is not None:
            self.row_target.sync_rows(tx, ids, removed_version=extractor or "")
        return len(ids)

    def _is_answered(
        self,
        *,
        current_input: bool,
        few_rows: bool = False,
        models_only: bool = False,
    ) -> ColumnElement[bool]:
        """Return the condition that a row has an answer by this version or by a person.

        If answers are rows of another program's table, a row there by this provider and model
        counts too. If `current_input` is set, such a row counts if another program wrote it; a row
        that a stored answer wrote counts only if that answer is to the row's present input.

        Args:
            current_input: Count only answers to the row's present input.
            few_rows: Look each row up, for a query about few rows.
            models_only: Ignore the answers of persons.
        """
        row_columns = self.rows_subquery.c
        columns = answers_table.c
        is_by_task = answers.has_version(columns.extractor, self.version_label)
        if not models_only:
            is_by_task = or_(is_by_task, columns.extractor == answers.PERSON)
        any_answer = (
            select(columns.id)
            .where(
                columns.task == self.name,
                columns.applied,
                columns.answer != answers.FORGOTTEN_ANSWER,
                is_by_task,
            )
            .where(columns.item_id == row_columns.findable_key)
            .correlate(self.rows_subquery)
        )
        counted_answer = any_answer
        if current_input:
            counted_answer = any_answer.where(columns.input_hash == row_columns.findable_hash)

        # PostgreSQL takes the answers for a single row and would scan them all for a few rows.
        is_answered: ColumnElement[bool]
        is_answered = counted_answer.exists()
        if few_rows:
            is_answered = counted_answer.limit(1).scalar_subquery().is_not(None)
        if self.row_target is None:
            return is_answered

        model = self.model or self.settings.for_backend(self.provider).model
        has_target_row = self.row_target.has_written_row(row_columns.findable_key, model)
        if current_input:
            has_target_row &= ~any_answer.exists()
        return is_answered | has_target_row

    # ---- maintenance of a workspace

    def make_tables(self, tx: Connection, target: Connection) -> None:
        """Create the task's views in the target database of a move."""
        super().make_tables(tx, target)
        make_views(target, self.record)

    def check_derived(self, tx: Connection, display: Progress) -> list[RowFault]:  # noqa: ARG002
        """Return a finding if rows have images that cannot be sent."""
        if not self.image_columns:
            return []

        columns = self.rows_subquery.c
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

        count = self.row_table(tx).count_rows(tx, *conditions)
        row_id, reason = first_row
        return [
            RowFault(
                f"{count:,} rows of {self.name} have an image that cannot be asked about "
                f"({row_id}: {reason})",
                "they are not asked until their images are others",
                contradiction=False,
                next=CommandHint("items", task=self.name, state="unusable"),
            ),
        ]

    def export_rows(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return each row with its state and answer, or the members of a list field.

        The answers are of a single version, or of several if the task prefers versions by row.
        A person's answer replaces a model's unless `wanted.extractor` is set.
        """
        counts = _count_answers(tx, self.name)
        version = self.choose_exported_version(tx, list(counts), options)

        in_source = list[ColumnElement[bool]]()
        if not options.gone:
            columns = self.rows_subquery.c
            source_ids = select(columns.findable_key).where(columns.findable_gone_at.is_(None))
            in_source.append(answers_table.c.item_id.in_(source_ids))
            counts = _count_answers(tx, self.name, *in_source)

        is_any_version = options.extractor is None
        is_answer = answers.is_preferred(
            answers.VersionPreference(self.name),
            version=version or self.version_label,
            corrected=is_any_version,
        )
        if self.preferred_versions and is_any_version:
            is_answer = answers.is_preferred(self.version_preference(tx))
            preferred_counts = _count_answers(tx, self.name, is_answer, *in_source)
            if preferred_counts.keys() - {version, answers.PERSON}:
                version = None
                counts = preferred_counts

        rows, kinds = read_answer_rows(
            tx,
            self.record,
            self.row_table(tx),
            is_answer=is_answer,
            field=options.rows,
            cost=options.cost,
            include_missing=options.gone,
            version_label=self.own_prompt_version,
        )
        model_counts = {name: count for name, count in counts.items() if name != answers.PERSON}
        return ExportRows(
            rows,
            partial(encode_rows, kinds=kinds),
            extractor=version,
            version_counts=model_counts,
        )


def _count_answers(
    tx: Connection,
    task_name: str,
    *conditions: ColumnElement[bool],
) -> dict[str, int]:
    """Return the number of answered rows by version."""
    version_counts = answers.count_by_version(tx, task_name, *conditions)
    return {version.extractor: version.items for version in version_counts}


# ---- labels and hints


def _labels_of(record: TaskRecord, *, has_images: bool) -> TaskLabels:
    """Return the labels of a user's task."""
    return TaskLabels(
        singular="row",
        plural="rows",
        answered="answered",
        none_open_message="every row that holds something is answered, claimed or parked",
        input_noun="row",
        inputs_noun=f"the rows of {record.name}" + (" and their images" if has_images else ""),
        next_command=CommandHint("export", task=record.name, to=f"{record.name}-answers.csv"),
        ask_command=CommandHint("tag", task=record.name),
        task_option=record.name,
    )


def _empty_source_text(record: TaskRecord) -> str:
    """Return the message that the source has no row to ask about."""
    if record.is_query:
        return "its query gives none"
    return f"{record.items} holds none that can be asked about"


def _source_hint(record: TaskRecord) -> str:
    """Return the hint that names the source of the rows and how to change it."""
    if record.items == MEMORY_ROWS:
        return "they are given in Python, which may give others"
    if record.is_query:
        return f"they are what the query in `{record.path}` gives; change that, or what it reads"
    return f"they stand in `{record.items}`; change that file, and it is read again"


# ---- the index of its rows


def _make_index(task: UserTask, template: str) -> IndexedTask:
    """Return how a task's rows are indexed, with texts made from a template."""
    return IndexedTask(
        task=task.name,
        folder=f"tasks/{task.name}",
        entry_noun="row",
        columns={name: name for name in ("rank", "key", "label", "text")},
        ranking=ENTRY_RANKING,
        count_entries=lambda tx: task.row_table(tx).count_rows(tx, _is_indexed(task)),
        read_entries=partial(_read_entries, task, template),
        tags_of=lambda metadata: [
            text for text in _iter_texts(metadata["answer"]) if len(text) <= MAX_TAG_CHARS
        ],
        hit_fields=lambda metadata: {
            "key": metadata["id"],
            "label": metadata["label"],
            "text": metadata["text"][:MAX_HIT_TEXT_CHARS],
            "answer": metadata["answer"],
        },
    )


def _is_indexed(task: UserTask) -> ColumnElement[bool]:
    """Return the condition that a row is in its source and has an answer of any version."""
    columns = task.rows_subquery.c
    return and_(
        columns.findable_gone_at.is_(None),
        answers.is_answered(task.name, columns.findable_key),
    )


def _read_entries(
    task: UserTask,
    template: str,
    tx: Connection,
    among: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield the index entries of a task's rows by ascending id.

    Args:
        template: Template of the text; its names are columns, or fields of the answer.
        among: Only rows of these ids. All rows if omitted.
    """
    record = task.record
    columns_by_name = {
        name: find_column(name, record.columns) for name in list_template_columns(template)
    }
    preference = task.version_preference(tx)
    cells = task.row_table(tx).read_cells(
        tx, (KEY_COLUMN, VALUES_COLUMN), _is_indexed(task), row_ids=among
    )
    for page in split_into_pages(cells, PAGE_ROWS):
        row_ids = [cell[0] for cell in page]
        stored_answers = answers.preferred_answers(tx, task.name, row_ids, preference=preference)
        for row_id, values in page:
            answer = json.loads(stored_answers[row_id][1])
            row = task.map_row({KEY_COLUMN: row_id, VALUES_COLUMN: values})
            text = _fill_entry_text(template, columns_by_name, row, answer)
            yield _make_entry(task, row_id, row, answer, text=text)


def _fill_entry_text(
    template: str,
    columns_by_name: Mapping[str, str | None],
    row: Mapping[str, Any],
    answer: Mapping[str, Any],
) -> str:
    """Return the text of an entry: the template filled with a row and its answer, stripped.

    Args:
        columns_by_name: The column of each name in the template, or None for a field of the answer.
    """

    def text_of(name: str) -> str:
        """Return the text of a placeholder."""
        column = columns_by_name[name]
        if column is not None:
            return to_prompt_text(row[column])
        return ", ".join(_iter_texts(answer.get(name)))

    return fill_template(template, text_of).strip()


def _make_entry(
    task: UserTask,
    row_id: str,
    row: Mapping[str, Any],
    answer: Mapping[str, Any],
    *,
    text: str,
) -> Entry:
    """Return the index entry of a row; its label replaces an empty text."""
    label = task.display_name_of(row)
    text = text or label
    fields = {name: answer.get(name) for name, _ in task.record.fields}
    # WHERE= of a search can name any column.
    columns = {name: row[name] for name in task.record.columns}
    metadata = {"id": row_id, "label": label, "text": text, "answer": fields, "row": columns}
    searched_texts = {"text": text, "label": label, "answer": "\n".join(_iter_texts(fields))}
    return Entry(row_id, text, metadata, [label, fields, columns], searched_texts)


def _iter_texts(answer: Any) -> Iterator[str]:
    """Yield the texts, numbers and booleans of an answer as texts; of a quotation its text."""
    for _, leaf in iterate_leaves(answer):
        if is_quotation(leaf):
            yield str(leaf["quote"])
        elif leaf not in (None, "", [], {}):
            yield to_prompt_text(leaf)


# ---- the list of its rows


def _refused_line(row: Mapping[str, Any]) -> int | None:
    """Return the line of a refused row in its source, or None for other rows."""
    return int(row[IMAGE_STATE_COLUMN]) if row[HASH_COLUMN] == NO_HASH else None


def _refused_reason(row: Mapping[str, Any]) -> str | None:
    """Return the reason of a refused row, or None for other rows."""
    return row[REASON] if row[HASH_COLUMN] == NO_HASH else None


class _GridBuilder:
    """Build the grid of a task's rows: columns of the source and fields of the answers.

    A field that has the name of a column is listed as `answer_NAME`.
    """

    def __init__(self, tx: Connection, task: UserTask) -> None:
        """Look up names and preferences; `tx` must stay open while the grid is used."""
        self._tx = tx
        self._task = task
        self._record = task.record
        self._table = task.row_table(tx)
        self._values = self._table.table.c[VALUES_COLUMN]
        self._preference = task.version_preference(tx)
        self._field_kinds = dict(task.record.fields)
        self._key_columns = [name for name, _ in task.record.key]
        self._columns = self._make_columns()
        self._fields = {self._listed_name(name): name for name in self._field_kinds}
        self._version_name = self._listed_name(EXTRACTOR)

    def build(self) -> Grid:
        """Return the grid."""
        refused_names = name_added_columns(
            [*self._columns, *self._fields, self._version_name],
            ("line", "reason"),
            "row_",
        )
        columns = self._columns | {
            refused_names["line"]: _refused_line,
            refused_names["reason"]: _refused_reason,
        }
        has_images = bool(self._task.image_columns)
        names_by_state = {REFUSED_STATE: list(refused_names.values())}
        if has_images:
            names_by_state[UNUSABLE_STATE] = [UNUSABLE_REASON_COLUMN]

        sent_columns = self._record.words.get("asked", ())
        default_names = dict.fromkeys(
            [*self._key_columns, *self._task.image_columns, *sent_columns]
        )
        searched_cells = [
            source_column_expression(self._tx, self._values, name, kind)
            for name, kind in self._record.columns.items()
        ]
        item_id = self._table.item_id
        return Grid(
            table=self._table,
            cell_names=(
                KEY_COLUMN,
                VALUES_COLUMN,
                REASON,
                IMAGE_STATE_COLUMN,
                HASH_COLUMN,
                CHANGED_AT_COLUMN,
            ),
            value_makers=columns,
            default_names=list(default_names),
            names_by_state=names_by_state,
            searched_cells=(item_id, *searched_cells),
            mention_conditions=self._answer_conditions,
            compile_where=self._compile_where,
            slow_sort_expressions=self._sort_expressions(),
            answer_fields=self._fields,
            tag_facet=tag_facet(self._tx, self._preference, item_id),
            version_facet=version_facet(self._preference, item_id),
            extra_names=(*self._fields, self._version_name),
            read_extra_values=self._read_answers,
        )

    def _listed_name(self, name: str) -> str:
        """Return the name of a column about the answer; it has a prefix if a column has the name."""
        return f"answer_{name}" if name in self._columns else name

    def _make_columns(self) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """Return a function for each listed column that takes a stored row and returns its value.

        A made key and the reason of unusable images are columns too.
        """

        def read_value(name: str, row: Mapping[str, Any]) -> Any:
            return parse_stored_values(row[VALUES_COLUMN]).get(name)

        columns: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            name: partial(read_value, name) for name in self._record.columns
        }
        for name in self._key_columns:
            if name not in columns:
                columns[name] = lambda row: row[KEY_COLUMN]
        if self._task.image_columns:
            columns[UNUSABLE_REASON_COLUMN] = lambda row: row[REASON]
        return columns

    def _read_answers(self, tx: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the version and the fields of the preferred answer by row id."""
        stored_answers = answers.preferred_answers(
            tx,
            self._task.name,
            ids,
            preference=self._preference,
        )
        values_by_id = {}
        for row_id, (version, answer_json) in stored_answers.items():
            answer = json.loads(answer_json)
            fields = {name: answer.get(field) for name, field in self._fields.items()}
            values_by_id[row_id] = {self._version_name: version, **fields}
        return values_by_id

    def _sort_expressions(self) -> dict[str, ColumnElement[Any]]:
        """Return sort expressions by name, of all columns and of all fields without JSON."""
        expressions = {
            name: self._sort_expression(self._values, name, kind, is_field=False)
            for name, kind in self._record.columns.items()
        }
        for name, field in self._fields.items():
            kind = self._field_kinds[field]
            if kind != JSON:
                expressions[name] = self._sort_expression(
                    answers_table.c.answer,
                    field,
                    kind,
                    is_field=True,
                )
        return expressions

    def _sort_expression(
        self,
        column: ColumnElement[Any],
        name: str,
        kind: str,
        *,
        is_field: bool,
    ) -> ColumnElement[Any]:
        """Return the expression that sorts by a member of a JSON column; missing values are first.

        Args:
            column: JSON column of the row, or of the answer if `is_field`.
            name: Member of the JSON.
            kind: Kind of the member's values.
        """
        is_number = kind in {"integer", "real"}
        cell = source_column_expression(self._tx, column, name, "real" if is_number else "text")
        if is_field:
            cell = answers.preferred_of_row(self._preference, self._table.item_id, cell)
        return func.coalesce(cell, literal(-MISSING_NUMBER) if is_number else "")

    def _compile_where(self, text: str) -> ColumnElement[bool]:
        """Return the condition of a WHERE= text; names are columns, `answer.NAME`, or fields."""
        answer = answers.preferred_of_row(self._preference, self._table.item_id, "answer")
        column_cells = {name: JsonCell(self._values, (name,)) for name in self._record.columns}
        field_cells = {name: JsonCell(answer, (name,)) for name in self._field_kinds}
        dotted_cells = {f"answer.{name}": cell for name, cell in field_cells.items()}
        return compile_where(
            parse_where(text),
            (column_cells, dotted_cells, field_cells),
            tx=self._tx,
        )

    def _answer_conditions(self, word: str) -> list[ColumnElement[bool]]:
        """Return a condition for each field: the preferred answer contains the word in it."""
        conditions = []
        for field in self._field_kinds:
            cell = source_column_expression(self._tx, answers_table.c.answer, field, "text")
            preferred_cell = answers.preferred_of_row(self._preference, self._table.item_id, cell)
            conditions.append(contains_word(self._tx, [preferred_cell], word))
        return conditions
