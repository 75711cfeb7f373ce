"""Types that tasks exchange with the program: rows, replies, answers, faults, exports, indexes."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.ranking import Entry, Ranking
from askrows.pipeline.core.row_listing import NO_FILTER, RowFilter
from askrows.pipeline.core.settings import DEFAULT_TASK
from askrows.pipeline.core.text import join_first, plural
from askrows.pipeline.store.task_record import TaskRecord

# These are loaded when they are first used.
if TYPE_CHECKING:
    from pydantic import BaseModel

    from askrows.pipeline.core.states import Outcome
    from askrows.pipeline.provider.requests import Prompt
    from askrows.pipeline.provider.responses import ParsedReply
    from askrows.pipeline.store.claims import RowClaim
    from askrows.pipeline.store.confidences import FieldConfidence

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


class RequestOutcome(NamedTuple):
    """The outcome of one request."""

    claim: "RowClaim"
    outcome: "Outcome"
    reason: str
    answer: "BaseModel | None" = None
    reply: "ParsedReply | None" = None
    # The failure counts for the row; False if the service failed.
    is_charged: bool = True
    # The failure counts for nobody: a person asked for that, the account of the key failed, or the
    # whole batch got no reply.
    is_forgiven: bool = False
    # Why the text of the row supports no answer. Then the answer is stored, but not applied.
    unsupported_reason: str = ""
    # Values of the answer that were dropped because the field was full.
    dropped_value_count: int = 0
    # Confidences of the answer by field.
    confidences: "Mapping[str, FieldConfidence]" = MappingProxyType({})
    # The answer was not checked against its row, which was gone or had another input.
    is_unchecked: bool = False


class AnswerValidation(NamedTuple):
    """Result of the validation of an answer to a row."""

    # The answer to store, cleaned; None if it is invalid.
    answer: "BaseModel | None"
    # Why the answer is invalid; empty for a valid answer.
    reasons: Sequence[str] = ()
    # Values that were cut from a valid answer because the task permits fewer.
    cut_value_count: int = 0


@dataclass
class WriteResult:
    """Result of `Task.apply_answers_to_rows`."""

    # Rows whose answer counts for them from now on.
    applied: set[str] = field(default_factory=set)
    # Rows whose input changed after the request was made.
    outdated: set[str] = field(default_factory=set)
    # Rows whose answer the database refused or that can have none; they are parked, with the
    # reason.
    unwritable: dict[str, str] = field(default_factory=dict)
    # Unwritable rows and rows that failed too often, with the reason.
    # `store_outcomes_and_end_claims` fills it.
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


def make_nouns(record: TaskRecord) -> TaskNouns:
    """Return the words of a recorded task; by default row, rows and answered."""
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
        """Add `count` faults of a kind in the named rows; only the first names are kept."""
        self[kind] += count
        if count and len(self._row_names[kind]) <= MAX_NAMED_ROWS:
            self._row_names[kind] |= dict.fromkeys(names)

    def summarize_faults(self) -> list[RowFault]:
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
    """Rows, columns and format of an export."""

    # Prompt version, with or without a model, of the answers; None for the preferred version.
    answer_version: str | None = None
    # Add columns with the usage and cost of each answer.
    cost: bool = False
    # Include rows that are no longer in their source.
    gone: bool = False
    # Only rows that meet these conditions; None for all. Every task supports it.
    row_filter: RowFilter | None = None
    # An export format. None is that of the path's ending; without a path, the task's first format.
    format_: str | None = None
    # Write cells of CSV unchanged, without an apostrophe in front of formulas. Other formats have
    # no apostrophes anyway.
    raw: bool = False


class ExportRows(NamedTuple):
    """Rows to export by column, which are read when iterated."""

    rows: Iterable[Mapping[str, Any]]
    # Kinds of all columns, in their order.
    kinds: Mapping[str, str]
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


@dataclass(frozen=True)
class KeptValues:
    """Values in another program's table that stay after their rows were forgotten."""

    # The table, or table and column; empty if no value stays.
    place: str = ""
    rows: int = 0

    @property
    def message(self) -> str:
        """Return the message that names the place and the number of rows."""
        return (
            f"Not cleared: {self.place} still has a value for {plural(self.rows, 'row')}, "
            "which another program or a person wrote"
        )


@dataclass(frozen=True, kw_only=True)
class IndexedTask:
    """How a task is indexed and searched; each answered row is an entry."""

    task: str
    # Folder of the builds below DATA/index; empty for the task with stable paths in DATA.
    folder: str = ""
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
            similarity: Cosine, which is rounded to 4 decimals; 1.0 for the same direction, or None.
            content: The entry's metadata and what else is stored of it.
        """
        fields = self.hit_fields(content)
        key_name = next(iter(fields))
        cosine = None if similarity is None else round(float(similarity), 4)
        return {"rank": rank, key_name: fields[key_name], "similarity": cosine, **fields}
