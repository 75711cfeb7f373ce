"""One task: what is asked about which rows, what a valid answer is, where it goes, and how it is found again.

A task is facts, and methods that a subclass gives where its rows or its answers are kept in a way of their own. Some
tasks ship; a user's own is made from a declaration, see `pipeline.engine.user_task`. `tx` is a connection inside a
transaction of `pipeline.store`, which the caller ends.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Select, Table

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.progress import Progress
from pipeline.core.ranking import Entry, Ranking
from pipeline.core.text import first_few
from pipeline.store import answers as record
from pipeline.store.answers import VersionCounts
from pipeline.store.edits import AnswerEdit
from pipeline.tables.lists import RowTable

if TYPE_CHECKING:  # which load when they are used
    from pydantic import BaseModel

    from pipeline.engine.record import PromptBuilder
    from pipeline.gemini.requests import Prompt
    from pipeline.tables.lists import Grid

Rows = Mapping[str, Mapping[str, Any]]  # what is read of some items, by id: cells by their columns


class TaskRow(NamedTuple):
    """A row that a task asks about: its id, what to ask, the hash of what that was made from, and what judges it."""

    id: str
    prompt: "Prompt"
    input_hash: str
    context: Any = None


class ValidAnswer(NamedTuple):
    """One validated answer on its way into the database: the item's id, the answer, and the hash it was asked with."""

    item_id: str
    answer: "BaseModel"
    input_hash: str


@dataclass
class WriteResult:
    """What `Task.write` did, by id: rows that hold the answer now, and rows whose input had changed meanwhile.

    `blocked` are rows that take no answer at all, with the reason for which they are not asked again; `parked` are
    these and others that failed too often, once it is written.
    """

    applied: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)
    blocked: dict[str, str] = field(default_factory=dict)
    parked: dict[str, str] = field(default_factory=dict)

    def __or__(self, other: "WriteResult") -> "WriteResult":
        """Return both together."""
        return WriteResult(
            self.applied | other.applied,
            self.outdated | other.outdated,
            self.blocked | other.blocked,
        )


class TaskLabels(NamedTuple):
    """How people call the items of a task, what they say of those that are answered, and what comes after that."""

    one: str
    many: str
    done: str  # of items that have their answer: "3 tagged"
    all_done: str  # where none is left to ask: "everyone with a bio is tagged, claimed or parked"
    input: str  # what the question is made from
    inputs: str  # the same of several
    after: CommandHint  # what to type once answers are in
    again: CommandHint = CommandHint("batch-submit")  # what asks about those that are left
    named: str | None = None  # the name of the task, where it is not the one that is meant without

    def step(self, command: str, **options: Any) -> CommandHint:
        """Return what to type so that a command is about this task."""
        return CommandHint(command, task=self.named, **options)


@dataclass(frozen=True, kw_only=True)
class IndexedTask:
    """What of a task is indexed and searched: its answered items, each an entry.

    `entries` yields those of a snapshot in the order of ids, or those among some ids, and `count` tells how many there
    are. Of the metadata of an entry, `key` names the member by which judgements of a search mean it, `text_in` those in
    which phrases are looked for, `tags` gives its few words, and `told` what a hit tells, the key first.
    """

    task: str
    folder: str = ""  # below DATA/index, where its builds are; empty for the one whose files have stable paths in DATA
    word: str  # what one entry is called
    question: str = "…"  # how a question may begin, for a hint
    columns: Mapping[
        str, str
    ]  # of a table of what was found: the names in `shown`, by their headings
    ranking: Ranking  # what the words of each field of an entry count, and words beside vectors
    count: Callable[[Connection], int]
    entries: Callable[..., Iterable[Entry]]
    key: str = "id"
    text_in: Sequence[str] = ("text",)
    tags: Callable[[Mapping[str, Any]], Sequence[str]]
    told: Callable[[Mapping[str, Any]], dict[str, Any]]
    # the texts of those that are in no entry for want of an answer and have some of these words; not all of very many
    left_out: Callable[[Connection, Sequence[str]], Iterable[str]] = lambda _tx, _words: ()
    when_asked: bool = (
        False  # it is indexed from its first build on, and before that only if that is asked for
    )

    def name_of(self, metadata: Mapping[str, Any]) -> str:
        """Return the name by which judgements of a search mean an entry."""
        return str(metadata[self.key])

    def texts(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the texts of an entry in which phrases are looked for, and of which a hit shows a sentence."""
        return [str(metadata[name]) for name in self.text_in if metadata[name]]

    def shown(
        self, rank: int, similarity: float | None, metadata: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return an entry that was found, for programs; the similarity is the cosine, 1.0 for the same direction."""
        told = self.told(metadata)
        key = next(iter(told))
        cosine = None if similarity is None else round(float(similarity), 4)
        return {"rank": rank, key: told[key], "similarity": cosine, **told}


class RowFault(NamedTuple):
    """Something that is wrong with rows of a task: what, why it matters, and what mends it.

    What is no contradiction (another program's doing, a notice) does no harm to data.
    """

    said: str
    why: str
    next: object = ""  # a text, or a step
    contradiction: bool = True


NAMED = 3  # rows that a fault names


class RowFaults(Counter[str]):
    """How often rows have each kind of fault, in the order of `kinds`, and which have it first.

    A kind says in words of several what is wrong; `kinds` have why it matters, what mends it, and whether it is a
    contradiction.
    """

    def __init__(self, kinds: Mapping[str, tuple[str, object, bool]]) -> None:
        """Begin with none."""
        super().__init__()
        self.kinds = kinds
        self._named = {kind: dict[str, None]() for kind in kinds}

    def add(self, kind: str, names: Iterable[str], count: int = 1) -> None:
        """Count a fault, of rows of these names."""
        self[kind] += count
        if count and len(self._named[kind]) <= NAMED:
            self._named[kind] |= dict.fromkeys(names)

    def found(self) -> list[RowFault]:
        """Return what is wrong."""
        told = (
            (kind, first_few(list(self._named[kind]), NAMED)) for kind in self.kinds if self[kind]
        )
        return [
            RowFault(f"{self[kind]:,} {kind}, of {named}", *self.kinds[kind])
            for kind, named in told
        ]


class ExportOptions(NamedTuple):
    """Which rows to export: the best of each name, those of one extractor, or one for each member of a list.

    Without an `extractor` (a label, with or without a model) they are of the version that is preferred, the first of
    `prefer` that there is. With `cost` each has what its answer took beside it, `full` is what else would stand once.
    With `gone` rows that left their source are among them.
    """

    best: bool = False
    extractor: str | None = None
    rows: str | None = None  # the field of the answers that is the list
    cost: bool = False
    full: bool = False
    prefer: tuple[str, ...] = ()
    gone: bool = False


class ExportRows(NamedTuple):
    """Rows on their way into a file, what makes its bytes of them, and how many they are; None: not known before.

    `encode` takes rows, a format and what writes the texts of CSV, and yields pieces that never split a row. It raises
    ConfigurationError where Parquet is wanted, and its library is not installed. All are of one `extractor`; None where
    each has its own. `versions` tell how many items have answers of each extractor.
    """

    rows: Iterable[Any]
    encode: Callable[[Iterable[Any], str, Callable[[str], str]], Iterator[bytes]]
    total: int | None = None
    extractor: str | None = None
    versions: Mapping[str, int] = MappingProxyType({})


FORMATS = MappingProxyType(
    {
        ".csv": "csv",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".json": "json",
        ".xlsx": "xlsx",
        ".parquet": "parquet",
    }
)


class Task(ABC):
    """What is asked about which rows, what a valid answer is, and where it goes."""

    name: str  # the first half of every request key
    columns: Sequence[
        str
    ]  # that are read of a row to ask about it, to hash it and to judge its answer
    subject: str  # as TASK= has it
    label: str  # the version of prompt and schema that answers are attributed to; with the model it is an extractor
    words: TaskLabels
    how_to_fill: HintTemplate  # what to type where there are no items yet
    answer_tokens: (
        int  # about how many an answer has, before past answers of the extractor tell better
    )
    needs_pilot = (
        False  # whether all are asked unattended only after a few were, and passed their gates
    )
    skips: Sequence[str] | None = (
        None  # labels whose answers keep an item from being asked; None: those of any
    )
    declared_in: Path | None = None  # the user's own file, where it is declared in one
    fingerprint: str | None = (
        None  # of a declaration in a user's file, which batches, calls and answers carry
    )
    model: str | None = None  # that the task itself asks; None: the one that is set
    items_from: HintTemplate | str = (
        ""  # where its items stand, and what to change for others, where none are imported
    )
    gates = ""  # bounds of gates that the task sets itself, as the setting GATES has them, which goes above them
    measured_by = ""  # the module with the gates and figures of its answers, where those of any task are not enough
    preferred: Sequence[str] = ()  # versions, the one whose answers count first
    sends_images = False  # whether images go out with what is asked
    index: IndexedTask | None = None
    how_to_index: HintTemplate | str = (
        ""  # what puts the items into a search index, where they are in none
    )
    derives = False  # columns of its rows follow from others, as a score does
    brings_items = (
        False  # a source is read again and again, and would bring back an item that was forgotten
    )
    export_word = "item"  # what one row of an export is called
    export_choices = frozenset[str]()  # which members of `ExportOptions` may be set
    export_formats: Mapping[str, str] = FORMATS  # by a file's ending; the first is usual

    # ---- its rows

    @abstractmethod
    def table(self, tx: Connection) -> RowTable:
        """Return the table of the items, which tells which are there, which may be asked, and their states."""

    @abstractmethod
    def input_hash(self, row: Mapping[str, Any], said: str | None = None) -> str:
        """Return the hash of what is asked about a row; `said` is what `text` gave for it, where that was made."""

    def rows(self, tx: Connection, ids: Sequence[str]) -> Rows:
        """Return what is asked about of these items as it is now, in the order of `ids`, without removed ones."""
        found = self.table(tx).rows(tx, ids, self.columns)
        return {one: self.read(found[one]) for one in ids if one in found}

    def read(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row's cells by the names that are asked about, made of those that are read of it."""
        return row

    def pending(
        self, tx: Connection, *, names: Sequence[str] = (), after: str | None = None
    ) -> Select[Any]:
        """Return a SELECT of the ids (text) of the items that may be asked, in the order of their rows.

        Before the id stand the columns of some `names`. Those without an answer that hold something to ask about; with
        `after` only those behind that item's row, none where it was removed. Claimed and parked items are among them.
        """
        return self.table(tx).pending(names=names, after=after)

    def pending_among(self, tx: Connection, ids: Sequence[str]) -> set[str]:
        """Return which of these items `pending` would give, by a look at their rows alone."""
        return (table := self.table(tx)).ids_among(tx, ids, table.is_open)

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of the item of that name, by itself the name; InputError where there is none."""
        if not self.table(tx).ids_among(tx, [name]):
            listed = f"`{self.words.step('items')}` lists those there are"
            raise InputError(f"there is no {self.words.one} {name!r}", hint=listed)
        return name

    @property
    def name_columns(self) -> Sequence[str]:
        """Return how the column of names is called in a file that lists items: any of these."""
        return ("id",)

    @abstractmethod
    def grid(self, tx: Connection) -> "Grid":
        """Return what lists the items."""

    def stale(
        self,
        tx: Connection,  # noqa: ARG002 - few tell
        *,
        within_s: float | None = None,  # noqa: ARG002 - few need long
    ) -> tuple[int, datetime | None] | None:
        """Return how many items changed since they were answered, and since when.

        None if a task does not tell, or would need longer than `within_s`.
        """
        return None

    @property
    def how_to_refresh(self) -> HintTemplate:
        """Return what asks about those again."""
        return HintTemplate("`{}` asks about them again", self.words.step("tag", refresh=True))

    @abstractmethod
    def remove_row(
        self, tx: Connection, item_id: str, *, so_far: str = "nothing more was changed"
    ) -> None:
        """Delete an item's row, if it is there; `so_far` is what a ConfigurationError says of all else."""

    # ---- what is asked about them

    @property
    @abstractmethod
    def question(self) -> "PromptBuilder":
        """Return how rows are put to the model."""

    @property
    def answer(self) -> "type[BaseModel]":
        """Return the model of an answer: its JSON schema goes out with every request, and it judges every reply."""
        return self.question.declared.answer

    def items(self, rows: Rows) -> Iterator[TaskRow]:
        """Yield what to ask about rows, in their order, without those that cannot be asked about any more."""
        for key, row in rows.items():
            said = self.text(row)
            context = row if self.needs_row else None
            yield TaskRow(key, self.question.prompt(said), self.input_hash(row, said), context)

    def text(self, row: Mapping[str, Any]) -> str:
        """Return what is said to the model about a row."""
        return self.question.filled(row)

    def asked_texts(self, tx: Connection, ids: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002 - not all tell
        """Return by id what is asked about of these items, for a person to read; nothing where a task does not tell."""
        return {}

    def equals(self, tx: Connection, hashes: Sequence[str]) -> Mapping[str, Sequence[str]]:  # noqa: ARG002
        """Return the open rows of some hashes, by these; nothing where none is kept with a row: they are told later."""
        return {}

    # ---- the answers

    @property
    def needs_row(self) -> bool:
        """Return whether it takes the row to tell whether an answer is valid."""
        return False

    def bounded(self, answer: "BaseModel") -> "tuple[BaseModel, int]":
        """Return an answer with no more values than may be kept, and how many were left out."""
        return answer, 0

    def judged(
        self, answer: "BaseModel", context: Any, *, input_hash: str
    ) -> "tuple[BaseModel | None, str]":
        """Return a valid answer as it goes on, or None and why it is none, held against its item's row.

        The context is None where the item was removed. `input_hash` is of the input that was asked about, empty where
        not known: an answer to another input than the context's passes, and will not be applied.
        """
        if context is None or (input_hash and self.input_hash(context) != input_hash):
            return answer, ""
        return self.proven(answer, context)

    def proven(self, answer: "BaseModel", row: Mapping[str, Any]) -> "tuple[BaseModel | None, str]":  # noqa: ARG002
        """Return an answer held against the row that it was asked about."""
        return answer, ""

    @abstractmethod
    def write(
        self, tx: Connection, answers: Sequence[ValidAnswer], *, extractor: str, at: datetime
    ) -> WriteResult:
        """Write answers of label/model where there is none yet, with what follows from them (a score).

        An item that was removed or answered meanwhile is left out of the applied.
        """

    @abstractmethod
    def take_back(self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take the answers of these items back that are still as they were given, those of one extractor or all.

        Return how many rows that were.
        """

    def preference(self, tx: Connection) -> record.VersionPreference:
        """Return which of the answers to a row counts."""
        return record.VersionPreference.of(tx, self.name, label=self.label, versions=self.preferred)

    def standing(self, tx: Connection, item_id: str) -> dict[str, Any]:
        """Return the answer to an item that counts, as it is kept; empty where there is none."""
        given = record.last_applied(tx, self.name, [item_id], preference=self.preference(tx)).get(
            item_id
        )
        return json.loads(given[1]) if given else {}

    def as_given(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an answer as it is kept, or in part, as a model gives one."""
        return answer

    def show_corrected(  # noqa: B027
        self, tx: Connection, item_id: str, edit: AnswerEdit, *, stands: bool
    ) -> None:
        """Bring what other programs are shown of an item to an edit that was kept; it no longer `stands` if undone."""

    @property
    def kept_model(self) -> "type[BaseModel]":
        """Return the model of an answer as it is kept."""
        return self.answer

    # ---- its versions

    @property
    def own(self) -> str:
        """Return the label under which alone a parked item is not asked; empty where one of any version is not."""
        return "" if self.fingerprint is None and self.skips is None else self.label

    def new_version(self, tx: Connection, label: str | None) -> "Task":  # noqa: ARG002 - few have more
        """Return the task under another version, `label` or the next free one; older answers do not count for it."""
        raise InputError(f"{self.name} has one version alone")

    def versions(self, tx: Connection) -> list[VersionCounts] | None:  # noqa: ARG002 - few hold others' answers
        """Return every version that has answers, by label and model; None where the record of answers has them."""
        return None

    def roll_back(self, tx: Connection, label: str, *, model: str) -> int | None:  # noqa: ARG002 - few hold others' answers
        """Remove a version's answers from the task's rows; return how many, None where the record tells them."""
        return None

    # ---- the user's own file, where it is declared in one

    @property
    def declared_fingerprint(self) -> str | None:
        """Return the fingerprint of what the file declares now."""
        return self.fingerprint

    def check_declared(self, fingerprint: str | None, what: str, *, accepted: bool) -> None:
        """Raise ConfigurationError where `what` was asked under another fingerprint, and that is not `accepted`."""
        if fingerprint is not None and not accepted and fingerprint != self.declared_fingerprint:
            raise ConfigurationError(
                f"{what} was asked with another declaration than {self.declared_in} has now; it stays as it is",
                hint=f"put the file back, or judge by the new declaration with {OptionHint(accept_changed=True)}",
            )

    def fault_of(self, error: BaseException, item_id: str) -> ConfigurationError | None:  # noqa: ARG002 - ours by itself
        """Return what to say where an answer about an item could not be read for a fault of the user's own code."""
        return None

    # ---- the commands that keep a workspace

    def tables(self, tx: Connection) -> Sequence[Table]:  # noqa: ARG002 - most have none of their own
        """Return the task's own tables, as they are to be on a server after a move."""
        return ()

    def make_tables(self, tx: Connection, there: Connection) -> None:
        """Make the tables and views of the task, as `tx` has them, in the database of a move."""
        for one in self.tables(tx):
            one.create(there)

    def check(self, tx: Connection) -> tuple[str, Mapping[str, int], Sequence[RowFault]] | None:  # noqa: ARG002
        """Look at every row that was written, at flat memory: what was seen in words, in figures, and what is wrong."""
        return None

    def check_derived(self, tx: Connection, display: Progress) -> Sequence[RowFault]:  # noqa: ARG002
        """Compare every column that follows from others with these, and every row with the answer that was applied."""
        return ()

    def refresh_derived(self, tx: Connection) -> int:  # noqa: ARG002 - few derive columns
        """Bring columns that follow from others up to date; return how many rows were written."""
        return 0

    def exported(self, tx: Connection, there: Sequence[str], wanted: ExportOptions) -> str | None:
        """Return the extractor whose answers are exported, of those there are; None where there is none."""
        among = [
            one for one in there if wanted.extractor is None or record.is_of(one, wanted.extractor)
        ]
        if wanted.extractor is not None and not among:
            raise InputError(
                f"there is no answer of {wanted.extractor!r}; nothing was written",
                hint=f"`{self.words.step('versions')}` lists whose answers there are",
            )
        label = self.label if self.fingerprint else ""
        preference = record.VersionPreference.of(tx, self.name, label=label, versions=wanted.prefer)
        models = (one for one in among if one != record.PERSON or wanted.extractor)
        return min(models, key=preference.rank, default=None)

    @abstractmethod
    def export_rows(self, tx: Connection, wanted: ExportOptions) -> ExportRows:
        """Return the rows to export, by id, as they are wanted; of `wanted` only `export_choices` are set."""
