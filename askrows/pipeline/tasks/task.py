"""Task: which rows are asked, with which prompt, what a valid answer is, and where answers go.

- A user's task is made from its record in the database (`askrows.pipeline.tasks.user_task`).
  Tasks that ship with askrows and store rows or answers in their own way are other classes.
- A row is open if it can be asked. A row is claimed while a batch asks it, and parked if it is not
  asked again until a user unparks it.
- An answer is applied if its row took it, and outdated if the row's input changed after the
  request.
- `tx` is a connection inside a transaction of `askrows.pipeline.store`. The caller ends the
  transaction.
"""

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, Table

from askrows.pipeline.core.answer_fields import AnswerField, list_answer_fields
from askrows.pipeline.core.answer_types import make_answer_validator
from askrows.pipeline.core.command_hint import HintTemplate
from askrows.pipeline.core.declaration import list_faults
from askrows.pipeline.core.errors import AskrowsError, InputError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.ranking import Entry, Ranking
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import NoAnswer
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.store import answers
from askrows.pipeline.store.answers import PreferredAnswer, VersionCounts, VersionPreference
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.edits import NewEdit
from askrows.pipeline.store.version_names import belongs_to_version
from askrows.pipeline.tasks.task_values import (
    ALL_ASKED_ROWS,
    EXPORT_FORMATS,
    AskedRows,
    ExportOptions,
    ExportRows,
    KeptValues,
    RequestOutcome,
    RowFault,
    RowsById,
    TaskNouns,
    TaskRow,
    WriteResult,
)

# These are loaded when they are first used.
if TYPE_CHECKING:
    from pydantic import BaseModel

    from askrows.pipeline.provider.decisions import ClosedField
    from askrows.pipeline.rows.grid import Grid
    from askrows.pipeline.tasks.prompt_builder import PromptBuilder
    from askrows.pipeline.tasks.task_file import UserFile


@dataclass(frozen=True, kw_only=True)
class IndexedTask:
    """How a task is indexed and searched; each answered row is an entry."""

    task: str
    # Folder of the builds below DATA/index; empty for the task with stable paths in DATA.
    folder: str = ""
    # Beginning of a question, for a hint.
    example_question: str = "words of a question"
    # Members of `shown` by column heading of the printed table.
    columns: Mapping[str, str]
    # Weights of an entry's fields, and of words relative to vectors.
    ranking: Ranking
    # Returns the number of entries.
    count_entries: Callable[[Connection], int]
    # Yields the entries of a snapshot by ascending id; `among` limits them to some ids.
    read_entries: Callable[..., Iterable[Entry]]
    # Member of the metadata that names an entry in judged queries.
    key: str = "id"
    # Returns the texts of an entry, from its content, that phrases and snippets are taken from. The
    # last is the whole text.
    list_texts: Callable[[Mapping[str, Any]], Sequence[str]] = lambda content: [content["text"]]
    # Raises InputError if the source has no column of one of these names.
    check_columns: Callable[[Connection, Sequence[str]], None] = lambda _tx, _names: None
    # Returns the tags of an entry from its content.
    tags_of: Callable[[Mapping[str, Any]], Sequence[str]]
    # Returns the members of a hit from the content of its entry, the key first.
    hit_fields: Callable[[Mapping[str, Any]], dict[str, Any]]
    # Yields the rows without an answer that only their words find, by ascending id.
    read_untagged: Callable[[Connection], Iterable[Entry]] = lambda _tx: ()
    # Commands keep the index up to date only after `index` built it once.
    is_on_request: bool = False

    def get_entry_name(self, metadata: Mapping[str, Any]) -> str:
        """Return the name of an entry in judged queries: its key, or the id if that is blank."""
        return str(metadata[self.key] or metadata["id"])

    def make_hit_document(
        self,
        rank: int,
        similarity: float | None,
        content: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return a hit as a JSON document: rank, key, similarity, then its other members.

        Args:
            similarity: Cosine; 1.0 for the same direction.
            content: The entry's metadata and what else is stored of it.
        """
        fields = self.hit_fields(content)
        key_name = next(iter(fields))
        cosine = None if similarity is None else round(float(similarity), 4)
        return {"rank": rank, key_name: fields[key_name], "similarity": cosine, **fields}


class Task(ABC):
    """Rows that are asked about, their prompts, and their answers."""

    # First part of every request key.
    name: str
    # Value of TASK= in commands.
    subject: str
    # State of prompt and schema (`task@n`). With the model it is the version of an answer.
    prompt_version: str
    nouns: TaskNouns
    # The record and the file of a user's task, or of a shipped task of the same kind.
    user_file: "UserFile | None" = None

    # Columns that are read to ask about a row, to hash it and to validate its answer.
    row_columns: Sequence[str]
    # Possible headings of the name column in a file that lists rows.
    name_columns: Sequence[str] = ("id",)
    # Columns that are the key together; empty if each of `name_columns` is enough.
    key_columns: Sequence[str] = ()
    # Rows that the command asks.
    asked_rows: AskedRows = ALL_ASKED_ROWS

    # Assumed tokens of an answer, until measured answers give a better estimate.
    answer_tokens: int
    # Model of the task; None for the model in the settings.
    model: str | None = None
    # Fingerprint of a user's declaration, which batches, calls and answers store.
    fingerprint: str | None = None
    # Table of the files, if the rows are the images of imported folders.
    folder_table: str = ""
    # Requests contain images.
    sends_images: bool = False
    # Unattended runs over all rows need a pilot that passed its gates.
    needs_pilot: bool = False
    # Gates of the task in the form of the setting GATES, which overrides them.
    gates: str = ""

    # Preferred versions, best first.
    preferred_versions: Sequence[str] = ()
    # Prompt version whose parked rows are not asked; empty if those of any version are not.
    parked_version: str = ""
    # Prompt versions whose answers keep a row from being asked; None for any version.
    skipped_versions: Sequence[str] | None = None
    # Version under which rows are decided; empty if no decision is possible.
    decision_version: str = ""

    # Word for a row of an export.
    exported_noun: str = "row"
    # Members of `ExportOptions` that the task supports.
    export_options: frozenset[str] = frozenset()
    # Formats by file ending; the first is the default.
    export_formats: Mapping[str, str] = EXPORT_FORMATS
    # How the task is searched; None if it is not.
    index: IndexedTask | None = None
    # Hint that is shown if the task has no index.
    index_hint: HintTemplate | str = ""

    @property
    @abstractmethod
    def fill_hint(self) -> HintTemplate:
        """Return the hint that is shown if there are no rows yet."""

    @property
    def source_hint(self) -> HintTemplate | str:
        """Return where the rows come from and how to change them; empty if rows are imported.

        Rows of a source are read again and again, so that a forgotten row would return.
        """
        return ""

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
            task_model = self.model
        return task_model or settings.model

    # ---- rows

    @abstractmethod
    def select_task_rows(self, tx: Connection) -> TaskRows:
        """Return the rows of the task, with the conditions of their states; read nothing."""

    @abstractmethod
    def make_grid(self, tx: Connection) -> "Grid":
        """Return the grid that lists the rows."""

    @abstractmethod
    def hash_input(self, row: Mapping[str, Any], text: str | None = None) -> str:
        """Return the hash of a row's input.

        Args:
            text: The text of the prompt, if it was computed already.
        """

    def make_version_preference(self, tx: Connection) -> VersionPreference:
        """Return the order of preference of the answers to a row."""
        return VersionPreference.of_task(
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
        return answers.preferred_answers(tx, self.name, row_ids, preference=preference)

    def read_rows(self, tx: Connection, row_ids: Sequence[str]) -> RowsById:
        """Return the rows as they are now, in the order of `row_ids`, without deleted rows."""
        stored_rows = self.select_task_rows(tx).read_rows(tx, row_ids, self.row_columns)
        return {
            row_id: self.unpack_row(stored_rows[row_id])
            for row_id in row_ids
            if row_id in stored_rows
        }

    def read_input_changes(
        self,
        tx: Connection,  # noqa: ARG002 - only user tasks keep what was asked
        row_ids: Sequence[str],  # noqa: ARG002
    ) -> Mapping[str, Mapping[str, tuple[Any, Any]]]:
        """Return what changed since the answers of rows, as (old, new) by column, by row id.

        Rows are left out if what was asked about them is not stored.
        """
        return {}

    def unpack_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored row with its cells by the names that the prompt uses."""
        return row

    def join_key_parts(self, parts: Sequence[str]) -> str:
        """Return the name of a row from the parts of its key; here the only part."""
        return parts[0]

    def find_row_id(self, tx: Connection, name: str) -> str:
        """Return the id of a named row; here the name is the id, or "row 17" without a key.

        Raises:
            InputError: There is no such row.
        """
        table = self.select_task_rows(tx)
        if table.filter_ids(tx, [name]):
            return name
        row_id = table.find_id_by_place(tx, name)
        if row_id is None:
            hint = f"`{self.nouns.command('items')}` lists all {self.nouns.plural}"
            raise InputError(f"there is no {self.nouns.singular} {name!r}", hint=hint)
        return row_id

    def resolve_row_key(self, tx: Connection, name: str) -> str:
        """Return the id of a named row to read; only a hash may be cut, if it stays unambiguous.

        Raises:
            InputError: There is no such row, or several rows begin so.
        """
        return self.find_row_id(tx, name)

    def find_askable_ids_by_hash(
        self,
        tx: Connection,  # noqa: ARG002 - optional
        hashes: Sequence[str],  # noqa: ARG002 - optional
    ) -> Mapping[str, Sequence[str]]:
        """Return the ids of rows that the command asks, by input hash.

        Claimed and parked rows are among them, because the table does not show claims;
        `claiming.filter_claimable_ids` leaves them out. The result is empty if the task stores no
        hashes; equal rows are then found when they are about to be asked.
        """
        return {}

    @abstractmethod
    def delete_row(
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

    def count_kept_values(
        self,
        tx: Connection,  # noqa: ARG002 - optional
        row_ids: Sequence[str],  # noqa: ARG002 - optional
    ) -> KeptValues:
        """Return how many rows, which have no answer any more, have another program's value."""
        return KeptValues()

    def describe_unusable_values(self, tx: Connection) -> str:  # noqa: ARG002 - optional
        """Return how many rows have a value of another program that is no answer; "" for none."""
        return ""

    # ---- prompts

    @property
    @abstractmethod
    def prompt_builder(self) -> "PromptBuilder":
        """Return the builder of prompts about rows."""

    @property
    def answer_model(self) -> "type[BaseModel]":
        """Return the answer model, whose JSON schema is sent and which validates each reply."""
        return self.prompt_builder.declaration.answer

    @property
    def answer_fields(self) -> Sequence[AnswerField]:
        """Return the fields of an answer."""
        return list_answer_fields(self.answer_model)

    @cached_property
    def closed_fields(self) -> "Mapping[str, ClosedField]":
        """Return the fields that a decision model can answer, by name in their order."""
        from askrows.pipeline.provider.decisions import find_closed

        return find_closed(self.answer_fields)

    @property
    def is_closed(self) -> bool:
        """Return whether all values of an answer are choices, so that many answers are the same."""
        return all(answer_field.has_only_choices() for answer_field in self.answer_fields)

    @property
    def quoted_text_name(self) -> str:
        """Return what quotations are copied from, in words for a model."""
        return "the text"

    @property
    def stored_answer_model(self) -> "type[BaseModel]":
        """Return the model of a stored answer."""
        return self.answer_model

    def make_task_rows(self, rows: RowsById) -> Iterator[TaskRow]:
        """Yield rows with their prompts, in order, without rows that can no longer be asked."""
        for row_id, row in rows.items():
            prompt_text = self.make_prompt_text(row)
            context = row if self.needs_row else None
            prompt = self.prompt_builder.make_prompt(prompt_text)
            yield TaskRow(row_id, prompt, self.hash_input(row, prompt_text), context)

    def make_prompt_text(self, row: Mapping[str, Any]) -> str:
        """Return the prompt text about a row."""
        return self.prompt_builder.fill_prompt(row)

    def read_input_texts(
        self,
        tx: Connection,  # noqa: ARG002 - optional
        row_ids: Sequence[str],  # noqa: ARG002 - optional
    ) -> Mapping[str, str]:
        """Return the inputs of rows by id, as people read them; empty if the task has none."""
        return {}

    # ---- answers

    @property
    def needs_row(self) -> bool:
        """Return whether an answer can be checked or cleaned only together with its row."""
        return False

    def check_answer(
        self,
        answer: "BaseModel",
        row: Mapping[str, Any] | None,  # noqa: ARG002 - optional
    ) -> "tuple[BaseModel | None, str]":
        """Check an answer that fits the answer model; return it, perhaps changed, and "".

        Args:
            row: The row that the answer is about. None if it was deleted, is not needed, or has
                another input than the request. Then the answer is not compared with it, because it
                will not be applied.

        Returns:
            The answer and "", or None and the reason why it is invalid.

        Raises:
            NoAnswer: The text of the row supports no answer.
        """
        return answer, ""

    def clean_answer(
        self, answer: "BaseModel", row: Mapping[str, Any] | None
    ) -> "tuple[BaseModel, int]":
        """Return a valid answer as it is stored, and the number of values that were cut.

        Args:
            row: The row as it is now; None if it was deleted or is not needed.

        Raises:
            NoAnswer: The text of the row supports no answer.
        """
        clean = self.prompt_builder.declaration.clean
        if clean is None:
            return answer, 0
        return clean(answer, row or {})

    def prepare_answer(
        self,
        answer: "BaseModel",
        row: Mapping[str, Any] | None,
        *,
        has_same_input: bool = True,
    ) -> "tuple[BaseModel | None, str, int]":
        """Check and clean an answer that fits the answer model.

        Args:
            row: The row as it is now; None if it was deleted or is not needed.
            has_same_input: The row has the input of the request; if not, nothing is checked
                against it.

        Returns:
            The answer to store, "" and the number of values that were cut; or None, the reason why
            the answer is invalid, and 0.

        Raises:
            NoAnswer: The text of the row supports no answer.
        """
        valid_answer, reason = self.check_answer(answer, row if has_same_input else None)
        if valid_answer is None:
            return None, reason, 0
        clean_answer, cut_value_count = self.clean_answer(valid_answer, row)
        return clean_answer, "", cut_value_count

    def validate_values(
        self,
        values: Mapping[str, Any],
        row: Mapping[str, Any] | None,
        answer_model: "type[BaseModel]",
        *,
        row_id: str,
    ) -> "tuple[BaseModel | None, list[str], int]":
        """Validate the values of an answer that a person or another program gave.

        Args:
            values: JSON values by field.
            row: The row that the answer is about, for `prepare_answer`; None if the values are not
                checked with a row.
            answer_model: The model of the values. Values of another model than the task's are not
                checked with their row.
            row_id: The id of the row, for messages.

        Returns:
            The answer, an empty list and the number of values that were cut; or None, the reasons
            why it is invalid, and 0.

        Raises:
            ConfigurationError: Code of the task's file failed.
        """
        from pydantic import ValidationError

        try:
            answer_validator = make_answer_validator(answer_model)
            answer = answer_validator.validate_json(json.dumps(values), by_alias=True, by_name=True)
            if answer_model is not self.answer_model:
                return answer, [], 0
            answer, reason, cut_value_count = self.prepare_answer(answer, row)
        except NoAnswer as error:
            return None, [str(error)], 0
        except ValidationError as error:
            return None, list_faults(error), 0
        except AskrowsError:
            raise
        # Validators and `check` are the user's code, which may raise anything or end the program.
        except (Exception, SystemExit) as error:
            if self.user_file is not None:
                raise self.user_file.make_code_error(error, row_id) from error
            raise
        if reason:
            return None, [reason], 0
        return answer, [], cut_value_count

    @abstractmethod
    def write_answers(
        self,
        tx: Connection,
        outcomes: Sequence[RequestOutcome],
        *,
        version: str,
        now: datetime,
    ) -> WriteResult:
        """Write new answers to the task's tables, if it has any, and decide which are applied.

        Answers to rows that were deleted or answered meanwhile are not applied.

        Args:
            outcomes: Outcomes of requests that have a valid answer.
            version: The version (`task@n/model`) of all answers.
            now: Time of the answers.
        """

    @abstractmethod
    def remove_answers(self, tx: Connection, row_ids: Sequence[str], version: VersionCounts) -> int:
        """Remove a version's answers from the task's own tables; return how many were removed.

        Args:
            row_ids: Rows with stored answers of the version. What somebody changed since stays.
            version: The version.
        """

    def list_versions(self, tx: Connection) -> Sequence[VersionCounts]:
        """Return the versions that have answers, by prompt version and model."""
        return answers.count_by_version(tx, self.name)

    def read_current_answers(
        self, tx: Connection, row_ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Return the preferred answer of each row as it is stored; empty if there is none."""
        empty_answers: dict[str, dict[str, Any]] = {row_id: {} for row_id in row_ids}
        return empty_answers | {
            row_id: json.loads(stored_answer.answer)
            for row_id, stored_answer in self.read_preferred_answers(tx, row_ids).items()
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

    def update_derived(self, tx: Connection, row_ids: Sequence[str] | None = None) -> None:  # noqa: B027
        """Compute derived values of rows anew; None: of rows that have none. Most tasks have none.

        Called after the rows or their answers changed, in the same transaction.
        """

    # ---- exports, and tables besides those of all tasks

    @abstractmethod
    def read_export(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return the rows to export, by id; `options` sets only supported members."""

    def check_version_has_answers(self, version: str, answered_versions: Iterable[str]) -> None:
        """Raise InputError if no answered version is this version or of this prompt version."""
        if any(belongs_to_version(name, version) for name in answered_versions):
            return
        raise InputError(
            f"version {version!r} has no answers; nothing was written",
            hint=f"`{self.nouns.command('versions')}` lists the versions with answers",
        )

    def list_tables(
        self,
        tx: Connection,  # noqa: ARG002 - most tasks have none
    ) -> Sequence[Table]:
        """Return the task's own tables, with all columns that askrows writes."""
        return ()

    def make_tables(self, target: Connection) -> None:  # noqa: B027 - most tasks have none
        """Create the task's tables and views in the target database of a move."""

    def refresh_views(self, store: Store) -> None:  # noqa: B027 - optional
        """Make the task's views again if they are not current; most tasks have none."""

    def check_rows(
        self,
        tx: Connection,  # noqa: ARG002 - optional
        display: Progress,  # noqa: ARG002 - optional
    ) -> tuple[Mapping[str, int], Sequence[RowFault]]:
        """Check the stored rows; return figures by name, and faults. Only reads.

        A row has a fault if a column that is computed from others is wrong, or if the row does not
        show the answer that was applied to it. Memory use does not depend on the number of rows.

        Args:
            display: Shows the progress.
        """
        return {}, ()
