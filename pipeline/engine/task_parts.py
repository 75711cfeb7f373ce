"""Parts of a task, and the types that a task exchanges with the rest of the program.

- A prompt version (`task@n`) is a state of prompt and schema.
  Prompt version and model are a version (`task@n/model`). Corrections have the version `person`.
- A row is open if it can be asked. A row is claimed while a batch asks it, and parked if it is not
  asked again until a user unparks it.
- An answer is applied if its row took it, and outdated if the row's input changed after the
  request.
- `tx` is a connection inside a transaction of `pipeline.store`. The caller ends the transaction.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_

from pipeline.core.answer_fields import AnswerField, list_answer_fields
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InputError
from pipeline.core.progress import Progress
from pipeline.core.row_listing import RowFilter
from pipeline.core.text import join_first, plural
from pipeline.store import again, answers, claims, runs
from pipeline.store.answers import PreferredAnswer, VersionCounts, VersionPreference
from pipeline.store.database import Store, split_into_pages
from pipeline.store.edits import NewEdit
from pipeline.store.schema import row_claims
from pipeline.tables.row_table import RowTable

# These are loaded when they are first used.
if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.engine.prompt_builder import PromptBuilder
    from pipeline.gemini.closed_fields import ClosedField
    from pipeline.gemini.requests import Prompt
    from pipeline.tables.grid import Grid

# Rows by id; each row has its cells by column.
RowsById = Mapping[str, Mapping[str, Any]]


class TaskRow(NamedTuple):
    """A row that is ready to be asked."""

    id: str
    prompt: "Prompt"
    # Hash of the input that the prompt was made from.
    input_hash: str
    # The row itself, if the task needs it to validate an answer.
    context: Any = None


class ValidAnswer(NamedTuple):
    """A validated answer that is about to be written."""

    row_id: str
    answer: "BaseModel"
    # Hash of the input in the request.
    input_hash: str
    # It must be checked against its row, but the row was gone or had another input.
    is_unchecked: bool = False


@dataclass
class WriteResult:
    """Result of `TaskAnswers.write`."""

    # Rows whose answer counts for them from now on.
    applied: set[str] = field(default_factory=set)
    # Rows whose input changed after the request was made.
    outdated: set[str] = field(default_factory=set)
    # Rows whose answer the database refused or that can have none; they are parked, with the
    # reason.
    unwritable: dict[str, str] = field(default_factory=dict)
    # Unwritable rows and rows that failed too often, with the reason. `write_outcomes` fills it.
    parked: dict[str, str] = field(default_factory=dict)

    def __or__(self, other: "WriteResult") -> "WriteResult":
        """Return the union of two results, without `parked`."""
        return WriteResult(
            self.applied | other.applied,
            self.outdated | other.outdated,
            self.unwritable | other.unwritable,
        )


class TaskNouns(NamedTuple):
    """Words and hints for the messages and pages of a task."""

    # A row, and several rows.
    singular: str
    plural: str
    # Participle of answered rows: "3 tagged".
    answered: str
    # Message if no row is open: "everyone with a bio is tagged, claimed or parked".
    none_open_message: str
    # The input of one row, and of several rows.
    input_noun: str
    inputs_noun: str
    # Command that asks about the remaining rows.
    ask_command: CommandHint = CommandHint("tag")
    # Value of TASK= in commands; None for the default task.
    task_option: str | None = None

    def command(self, command: str, **options: Any) -> CommandHint:
        """Return the hint for a command with TASK= set to this task."""
        return CommandHint(command, task=self.task_option, **options)


class RowFault(NamedTuple):
    """A fault that `doctor` finds, or a notice: about rows of a task, batches or files."""

    message: str
    # Consequence of the fault.
    consequence: str
    # A text or a command hint.
    hint: object = ""
    # False if no data are wrong: a notice, or a change by another program.
    is_contradiction: bool = True


# A fault names at most this many rows.
MAX_NAMED_ROWS = 3


class RowFaults(Counter[str]):
    """Number of faults by kind, with the first rows of each kind."""

    def __init__(self, kinds: Mapping[str, tuple[str, object, bool]]) -> None:
        """Start with no faults.

        Args:
            kinds: By kind, in the order of the report: consequence, next step, and whether it is
                a contradiction. A kind is a phrase in the plural that says what is wrong.
        """
        super().__init__()
        self.kinds = kinds
        self._row_names = {kind: dict[str, None]() for kind in kinds}

    def add(self, kind: str, names: Iterable[str], count: int = 1) -> None:
        """Add `count` faults of a kind in the named rows."""
        self[kind] += count
        if count and len(self._row_names[kind]) <= MAX_NAMED_ROWS:
            self._row_names[kind] |= dict.fromkeys(names)

    def to_row_faults(self) -> list[RowFault]:
        """Return a fault for each kind that occurred, in the order of `kinds`.

        Its message has the number of faults of that kind, and names up to MAX_NAMED_ROWS rows.
        """
        faults = []
        for kind, details in self.kinds.items():
            if self[kind]:
                names = join_first(list(self._row_names[kind]), MAX_NAMED_ROWS)
                faults.append(RowFault(f"{self[kind]:,} {kind}, of {names}", *details))
        return faults


class ExportOptions(NamedTuple):
    """Rows and columns of an export."""

    # Prompt version, with or without a model, of the answers; None for the preferred version.
    extractor: str | None = None
    # Add columns with the usage and cost of each answer.
    cost: bool = False
    # Include rows that are no longer in their source.
    gone: bool = False
    # Only rows that meet these conditions; None for all. Every task supports it.
    row_filter: RowFilter | None = None


class ExportRows(NamedTuple):
    """Rows to export, with their encoder."""

    rows: Iterable[Any]
    # Takes rows, a format and the escape function of CSV texts; yields bytes that end at row ends.
    # Raises ConfigurationError if the format is Parquet and its library is not installed.
    encode_rows: Callable[[Iterable[Any], str, Callable[[str], str]], Iterator[bytes]]
    # Number of rows; None if it is not known before they are read.
    row_count: int | None = None
    # Version of all answers; None if each row has its own.
    version: str | None = None
    # Answered rows by version; complete after the rows are read.
    version_counts: Mapping[str, int] = MappingProxyType({})
    # Corrections of the task that are not exported, because a single version is.
    left_out_corrections: int = 0


# Export formats by file ending; the first is the default.
EXPORT_FORMATS = MappingProxyType(
    {
        ".csv": "csv",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".json": "json",
        ".xlsx": "xlsx",
        ".parquet": "parquet",
    },
)


@dataclass(eq=False, kw_only=True)
class TaskExport(ABC):
    """Rows of a task as they are exported."""

    # Word for a row of an export.
    row_noun: ClassVar[str] = "item"
    # Members of `ExportOptions` that the task supports.
    options: ClassVar[frozenset[str]] = frozenset()
    # Formats by file ending; the first is the default.
    formats: ClassVar[Mapping[str, str]] = EXPORT_FORMATS

    # The rows that are asked about.
    rows: "TaskRows"

    @abstractmethod
    def read_rows(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return the rows to export, by id; `options` sets only supported members."""

    def check_version(self, version: str, answered_versions: Iterable[str]) -> None:
        """Raise InputError if no answered version is this version or of this prompt version."""
        if any(answers.belongs_to_version(name, version) for name in answered_versions):
            return
        raise InputError(
            f"version {version!r} has no answers; nothing was written",
            hint=f"`{self.rows.nouns.command('versions')}` lists the versions with answers",
        )


class OwnTables:
    """Tables of a task besides those of all tasks, and values that are computed from its rows."""

    # Columns of the rows are computed from others, such as a score.
    has_derived_columns = False

    def make_server_tables(
        self,
        tx: Connection,  # noqa: ARG002 - most tasks have none
    ) -> Sequence[Table]:
        """Return the task's own tables in the form that they get on a server after a move."""
        return ()

    def make_tables(self, tx: Connection, target: Connection) -> None:
        """Create the task's tables and views in the target database of a move.

        Args:
            tx: The database that is moved.
            target: The target database.
        """
        for table in self.make_server_tables(tx):
            table.create(target)

    def refresh_views(self, store: Store) -> None:
        """Give the task's views columns for the confidences of answers, if they have none."""

    def check_rows(
        self,
        tx: Connection,  # noqa: ARG002
    ) -> tuple[Mapping[str, int], Sequence[RowFault]] | None:
        """Check all written rows; return figures by name, and faults.

        Memory use does not depend on the number of rows. None means that there is no check.
        """
        return None

    def find_row_faults(
        self,
        tx: Connection,  # noqa: ARG002
        display: Progress,  # noqa: ARG002
    ) -> Sequence[RowFault]:
        """Return the faults of stored rows, and notices about them; only read.

        A row has a fault if a column that is computed from others is wrong, or if the row does not
        show the answer that was applied to it. There may be a notice about rows that cannot be
        asked.
        """
        return ()

    def refresh_derived(self, tx: Connection) -> int:  # noqa: ARG002 - few tasks compute columns
        """Recompute columns that depend on others; return the number of rows that changed."""
        return 0


NO_FILTER = RowFilter()


@dataclass(frozen=True)
class AskedRows:
    """Which rows a command asks; a command asks open and marked rows by default."""

    # Only rows that meet these conditions.
    row_filter: RowFilter = NO_FILTER
    # Also answered rows whose input changed.
    has_changed: bool = False
    # Also answered rows that are about to be marked; only for an estimate.
    will_mark: bool = False


ALL_ASKED_ROWS = AskedRows()


@dataclass
class KeptValues:
    """Values in another program's table that stay after answers to their rows were deleted."""

    # The table, or table and column; empty if no value stays.
    place: str = ""
    rows: int = 0

    def add(self, place: str, row_count: int) -> None:
        """Add rows whose value stays; does nothing without a row."""
        if row_count:
            self.place = place
            self.rows += row_count

    @property
    def message(self) -> str:
        """Return the message that names the place and the number of rows."""
        return (
            f"Not cleared: {self.place} still has a value for {plural(self.rows, 'row')}, "
            "which another program or a person wrote"
        )


@dataclass(eq=False, kw_only=True)
class TaskRows(ABC):
    """Rows that a task asks about."""

    # Columns that are read to ask about a row, to hash it and to validate its answer.
    columns: Sequence[str]
    nouns: TaskNouns
    task_name: str
    # Prompt version in use.
    prompt_version: str
    # Preferred versions, best first.
    preferred_versions: Sequence[str] = ()
    # Prompt version whose parked rows are not asked; empty if those of any version are not.
    own_prompt_version: str = ""
    # Prompt versions whose answers keep a row from being asked; None for any version.
    skipped_versions: Sequence[str] | None = None
    # Version under which rows are decided; empty if no decision is possible.
    decision_version: str = ""
    # Possible headings of the name column in a file that lists rows.
    name_columns: Sequence[str] = ("id",)
    # Columns that are the key together; empty if each of `name_columns` is enough.
    key_columns: Sequence[str] = ()
    asked_rows: AskedRows = ALL_ASKED_ROWS

    @abstractmethod
    def table(self, tx: Connection) -> RowTable:
        """Return the row table, which knows the rows, their states and the open rows."""

    @abstractmethod
    def input_hash(self, row: Mapping[str, Any], text: str | None = None) -> str:
        """Return the hash of a row's input.

        Args:
            text: The text of the prompt, if it was computed already.
        """

    def make_askable_condition(self, tx: Connection) -> ColumnElement[bool]:
        """Return the SQL condition that the command asks a row; see `AskedRows`.

        Claimed and parked rows are included: callers that claim rows leave them out.
        """
        table = self.table(tx)
        condition = table.is_open | table.is_marked
        if self.asked_rows.has_changed:
            condition |= table.is_changed
        if self.asked_rows.will_mark:
            condition |= self.make_markable_condition(tx, self.asked_rows.row_filter)
        if self.asked_rows.row_filter == NO_FILTER:
            return condition
        return and_(condition, *self.grid(tx).make_conditions(tx, self.asked_rows.row_filter))

    def make_markable_condition(self, tx: Connection, row_filter: RowFilter) -> ColumnElement[bool]:
        """Return the SQL condition that a row of a filter may be marked, to be asked again.

        The row has a model's answer that counts, and no correction. It is not claimed, not parked,
        and not marked already. A killed command with a condition may be repeated: rows that it has
        asked are not marked again; see `make_asked_already_condition`.

        Raises:
            InputError: The filter is invalid.
        """
        table = self.table(tx)
        unavailable = claims.claimed_or_parked(self.task_name, self.own_prompt_version)
        conditions = [
            *self.grid(tx).make_conditions(tx, row_filter),
            table.is_askable_again,
            ~unavailable.where(row_claims.c.item_id == table.row_id).exists(),
            ~again.is_marked(self.task_name, table.row_id),
        ]
        if row_filter.where:
            conditions.append(~self.make_asked_already_condition(tx))
        return and_(*conditions)

    def make_asked_already_condition(self, tx: Connection) -> ColumnElement[bool]:
        """Return the SQL condition that a command that is not over has marked a row.

        A command is not over if its run has no end, or if another row that it marked waits to be
        asked.
        """
        table = self.table(tx)
        is_waiting = table.is_askable_again & ~table.is_parked
        times = again.list_unfinished_times(
            tx, self.task_name, table.table, table.row_id, is_waiting
        )
        run = runs.find_unfinished_run(tx, self.task_name)
        since = None if run is None else run.started_at
        return again.was_marked_at(self.task_name, table.row_id, times, since=since)

    def read_marks(self, tx: Connection, row_ids: Sequence[str]) -> dict[str, int]:
        """Return the answer of each row that was asked for again, by row id; see `store.again`.

        A copy of an answer must be newer. In an estimate these are also rows that will be marked.
        """
        marks = again.read_marks(tx, self.task_name, row_ids)
        if self.asked_rows.will_mark:
            is_markable = self.make_markable_condition(tx, self.asked_rows.row_filter)
            markable_ids = self.table(tx).filter_ids(tx, row_ids, is_markable)
            marks |= dict.fromkeys(markable_ids, answers.newest_model_answer_id(tx))
        return marks

    def preference(self, tx: Connection) -> VersionPreference:
        """Return the order of preference of the answers to a row."""
        return VersionPreference.of_task(
            tx,
            self.task_name,
            prompt_version=self.prompt_version,
            versions=self.preferred_versions,
        )

    def read_answers(self, tx: Connection, ids: Sequence[str]) -> dict[str, PreferredAnswer]:
        """Return the preferred answers of rows, by row id; rows without an answer are left out."""
        preference = self.preference(tx)
        return answers.preferred_answers(tx, self.task_name, ids, preference=preference)

    def read(self, tx: Connection, ids: Sequence[str]) -> RowsById:
        """Return the rows as they are now, in the order of `ids`, without deleted rows."""
        stored_rows = self.table(tx).read_rows(tx, ids, self.columns)
        return {
            row_id: self.map_row(stored_rows[row_id]) for row_id in ids if row_id in stored_rows
        }

    def map_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored row with its cells by the names that the prompt uses."""
        return row

    def join_key(self, parts: Sequence[str]) -> str:
        """Return the name of a row from the parts of its key; here the only part."""
        return parts[0]

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of a named row; here the name is the id.

        Raises:
            InputError: There is no such row.
        """
        if not self.table(tx).filter_ids(tx, [name]):
            hint = f"`{self.nouns.command('items')}` lists all {self.nouns.plural}"
            raise InputError(f"there is no {self.nouns.singular} {name!r}", hint=hint)
        return name

    def find_id(self, tx: Connection, name: str) -> str:
        """Return the id of a named row to read; only a hash may be cut, if it stays unambiguous.

        Raises:
            InputError: There is no such row, or several rows begin so.
        """
        return self.id_of(tx, name)

    @abstractmethod
    def grid(self, tx: Connection) -> "Grid":
        """Return the grid that lists the rows."""

    def find_open_by_hash(
        self,
        tx: Connection,  # noqa: ARG002 - optional
        hashes: Sequence[str],  # noqa: ARG002 - optional
    ) -> Mapping[str, Sequence[str]]:
        """Return the ids of rows that the command asks, by input hash.

        Claimed and parked rows are among them, because the table does not show claims;
        `claiming.filter_claimable` leaves them out. The result is empty if the task stores no
        hashes; equal rows are then found when they are about to be asked.
        """
        return {}

    @abstractmethod
    def delete(
        self,
        tx: Connection,
        row_id: str,
        *,
        unchanged_text: str = "nothing more was changed",
    ) -> None:
        """Delete a row if it exists.

        Args:
            unchanged_text: Text in a ConfigurationError about the changes made before.
        """

    def add_kept_values(  # noqa: B027
        self,
        tx: Connection,
        row_ids: Sequence[str],
        kept_values: KeptValues,
    ) -> None:
        """Add the values that stay in another program's table for rows whose answers were deleted.

        Rows that still have the answer of a model are left out.
        """


@dataclass(eq=False, kw_only=True)
class TaskAnswers(ABC):
    """How answers are validated, written, removed and corrected."""

    # The rows that are answered.
    rows: TaskRows

    @property
    def needs_row(self) -> bool:
        """Return whether an answer can be validated only together with its row."""
        return False

    def limit(self, answer: "BaseModel") -> "tuple[BaseModel, int]":
        """Return an answer cut to the values that may be stored, and the number of cut values."""
        return answer, 0

    def validate(
        self,
        answer: "BaseModel",
        row: Any,
        *,
        input_hash: str,
    ) -> "tuple[BaseModel | None, str]":
        """Check a valid answer against its row; return it, perhaps changed, or None and the reason.

        An answer to another input than that of `row` passes unchecked, because it will not be
        applied.

        Args:
            row: The row; None if it was deleted or is not needed.
            input_hash: Hash of the input in the request; empty if unknown.
        """
        if not self.can_check(row, input_hash=input_hash):
            return answer, ""
        return self.check_against_row(answer, row)

    def can_check(self, row: Any, *, input_hash: str) -> bool:
        """Return whether a row exists and has the input of the request; see `validate`."""
        return row is not None and (not input_hash or input_hash == self.rows.input_hash(row))

    def check_against_row(
        self,
        answer: "BaseModel",
        row: Mapping[str, Any],  # noqa: ARG002
    ) -> "tuple[BaseModel | None, str]":
        """Check an answer against the row that it is about; return it, or None and the reason."""
        return answer, ""

    @abstractmethod
    def write(
        self,
        tx: Connection,
        answers: Sequence[ValidAnswer],
        *,
        version: str,
        now: datetime,
    ) -> WriteResult:
        """Write new answers to the task's tables, if it has any, and decide which are applied.

        Answers to rows that were deleted or answered meanwhile are not applied.

        Args:
            version: The version (`task@n/model`) of all answers.
            now: Time of the answers.
        """

    @abstractmethod
    def remove(self, tx: Connection, ids: Sequence[str], *, version: str | None = None) -> int:
        """Remove answers from these rows if nobody changed them since they were written.

        Args:
            version: Only answers of this version; None for all versions.

        Returns:
            The number of rows that lost their answer.
        """

    def list_versions(self, tx: Connection) -> Sequence[VersionCounts]:
        """Return the versions that have answers, by prompt version and model."""
        return answers.count_by_version(tx, self.rows.task_name)

    def roll_back(self, tx: Connection, version: VersionCounts, row_ids: Sequence[str]) -> int:
        """Remove a version's answers from the task's own tables; return how many were removed.

        Args:
            row_ids: The rows with stored answers of the version.
        """
        pages = split_into_pages(row_ids)
        return sum(self.remove(tx, page, version=version.version) for page in pages)

    def read_current(self, tx: Connection, row_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the preferred answer of each row as it is stored; empty if there is none."""
        empty_answers: dict[str, dict[str, Any]] = {row_id: {} for row_id in row_ids}
        return empty_answers | {
            row_id: json.loads(stored_answer.answer)
            for row_id, stored_answer in self.rows.read_answers(tx, row_ids).items()
        }

    def to_model_answer(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Convert a stored answer, or some of its fields, to the form in which a model gives it."""
        return answer

    def sync_corrected_rows(  # noqa: B027
        self,
        tx: Connection,
        new_edits: Mapping[str, NewEdit],
    ) -> None:
        """Update the tables that other programs read after an edit of each row was stored.

        The caller's transaction must be rolled back after an error.
        """


@dataclass(eq=False, kw_only=True)
class TaskPrompt(ABC):
    """The prompts about rows, and the model of their answers."""

    rows: TaskRows
    answers: TaskAnswers
    # Assumed tokens of an answer, until measured answers give a better estimate.
    answer_tokens: int
    # Model of the task; None for the model in the settings.
    model: str | None = None
    # Requests contain images.
    sends_images: bool = False

    @property
    @abstractmethod
    def builder(self) -> "PromptBuilder":
        """Return the builder of prompts about rows."""

    @property
    def answer_model(self) -> "type[BaseModel]":
        """Return the answer model, whose JSON schema is sent and which validates each reply."""
        return self.builder.declaration.answer

    @property
    def fields(self) -> Sequence[AnswerField]:
        """Return the fields of an answer."""
        return list_answer_fields(self.answer_model)

    @cached_property
    def closed_fields(self) -> "Mapping[str, ClosedField]":
        """Return the fields that a decision model can answer, by name in their order."""
        from pipeline.gemini.closed_fields import find_closed

        return find_closed(self.fields)

    @property
    def is_closed(self) -> bool:
        """Return whether all values of an answer are choices, so that many answers are the same."""
        return False

    @property
    def quoted_source(self) -> str:
        """Return what quotations are copied from, in words for a model."""
        return "the text"

    @property
    def stored_answer_model(self) -> "type[BaseModel]":
        """Return the model of a stored answer."""
        return self.answer_model

    def make_rows(self, rows: RowsById) -> Iterator[TaskRow]:
        """Yield rows with their prompts, in order, without rows that can no longer be asked."""
        for row_id, row in rows.items():
            prompt_text = self.make_text(row)
            context = row if self.answers.needs_row else None
            prompt = self.builder.make_prompt(prompt_text)
            yield TaskRow(row_id, prompt, self.rows.input_hash(row, prompt_text), context)

    def make_text(self, row: Mapping[str, Any]) -> str:
        """Return the prompt text about a row."""
        return self.builder.fill_prompt(row)

    def read_input_texts(
        self,
        tx: Connection,  # noqa: ARG002 - optional
        ids: Sequence[str],  # noqa: ARG002 - optional
    ) -> Mapping[str, str]:
        """Return the inputs of rows by id, as people read them; empty if the task has none."""
        return {}
