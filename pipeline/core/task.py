"""Define what the engine knows of its work, tasks to ask and collections to index, without knowing a subject.

A subject (people, texts, images) is a room of its own that implements these protocols; `pipeline.engine.workspace`
finds it by its module `subject`. `Connection` stands for a connection inside a transaction of `pipeline.store`. A task
is facts and two objects: `TaskRows` is what every task must do, and `Hooks` what only some do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from pipeline.core.errors import InputError
from pipeline.core.hooks import Hooks
from pipeline.core.ranking import Ranking

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy import Connection, Select

    from pipeline.core.settings import Settings
    from pipeline.tables.grid import Grid
    from pipeline.tables.item_table import ItemTable


T = TypeVar("T", bound=tuple[Any, ...])


class Prompt(NamedTuple):
    """What to ask about one item, in the API's REST shapes: `parts` are the user's (`{"text": …}`).

    `max_output_tokens` is always set, because a model that runs on costs money.
    """

    system: str
    parts: Sequence[Mapping[str, Any]]
    max_output_tokens: int


def tuples(kind: type[T], *columns: Iterable[Any]) -> Iterator[T]:
    """Return named tuples of a kind, of which each member is a column: in half the time that calling it takes."""
    return map(partial(tuple.__new__, kind), zip(*columns, strict=False))


Rows = Mapping[str, Mapping[str, Any]]  # what is read of some items, by id: cells by their columns


class Item(NamedTuple):
    """A row that a task asks about: its id, what to ask, the hash of what that was made from, and what judges it."""

    id: str
    prompt: Prompt
    input_hash: str
    context: Any = None


class Answered(NamedTuple):
    """One validated answer on its way into the database: the item's id, the answer, and the hash it was asked with."""

    item_id: str
    answer: "BaseModel"
    input_hash: str


@dataclass
class WriteResult:
    """What `TaskRows.write` did, by id: rows that hold the answer now, and rows whose input had changed meanwhile.

    `blocked` are rows that take no answer at all, with the reason for which they are not asked again.
    """

    applied: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)
    blocked: dict[str, str] = field(default_factory=dict)

    def __or__(self, other: "WriteResult") -> "WriteResult":
        """Return both together."""
        return WriteResult(self.applied | other.applied, self.outdated | other.outdated, self.blocked | other.blocked)


class VersionCounts(NamedTuple):
    """What there is of one version: label, model (may be empty), rows, items that have some, first and last time."""

    label: str
    model: str
    rows: int
    items: int
    first: datetime | None
    last: datetime | None

    def with_(self, other: "VersionCounts") -> "VersionCounts":
        """Return both together, under the name of this one."""
        moments = sorted(one for one in (*self[-2:], *other[-2:]) if one is not None)
        first, last = (moments[0], moments[-1]) if moments else (None, None)
        return VersionCounts(self.label, self.model, self.rows + other.rows, self.items + other.items, first, last)


class StaleItems(NamedTuple):
    """How many items changed since they were answered, and since when the first of them (aware), where known."""

    rows: int
    since: datetime | None


class Words(NamedTuple):
    """How people call the items of a subject, what they say of those that are answered, and what comes after that."""

    one: str
    many: str
    done: str  # of items that have their answer: "3 tagged"
    all_done: str  # where none is left to ask: "everyone with a bio is tagged, claimed or parked"
    input: str  # what the question is made from
    inputs: str  # the same of several
    after: str  # what to type once answers are in
    again: str = "make batch-submit"  # what asks about those that are left
    named: str = ""  # what names the subject to make, where it is not the one that is meant without

    def make(self, target: str) -> str:
        """Return what to type so that a target is about this subject."""
        return f"make {target}{self.named}"


class TaskRows(Protocol):
    """What the engine asks of a task beside its facts: how its rows are asked about, judged, written and taken back."""

    @property
    def answer(self) -> "type[BaseModel]":
        """Return the model of an answer: its JSON schema goes out with every request, and it judges every reply."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return what of a request's `generationConfig` the task sets itself: thinkingConfig, temperature."""

    def table(self, tx: "Connection") -> "ItemTable":
        """Return the table of the items, which tells which are there, which may be asked, and their states."""

    @property
    def columns(self) -> Sequence[str]:
        """Return the columns that are read of a row to ask about it, to hash it and to judge its answer."""

    def items(self, tx: "Connection", rows: Rows) -> Iterator[Item]:
        """Yield the items of these rows in their order, without those that cannot be asked about any more."""

    def equals(self, tx: "Connection", hashes: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the ids of the rows that may be asked about, by the hash of their input, of some such hashes."""

    def contexts(self, tx: "Connection", ids: Sequence[str]) -> Mapping[str, Any]:
        """Return what judging an answer needs of each item's row, by id; nothing where the answer is enough."""

    def judged(self, answer: "BaseModel", context: Any, *, input_hash: str) -> "tuple[BaseModel | None, str]":
        """Return a valid answer as it goes on, or None and why it is none, held against its item's context.

        The context is None where the item was removed. `input_hash` is of the input that was asked about, empty where
        not known: an answer to another input than the context's passes, and will not be applied.
        """

    def write(self, tx: "Connection", answers: Sequence[Answered], *, extractor: str, at: datetime) -> WriteResult:
        """Write answers where there is none yet, with what follows from them (a score), in the caller's transaction.

        `extractor` is label/model. An item that was removed or answered meanwhile is left out of the applied.
        """

    def remove(self, tx: "Connection", ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take the answers of these items back, those of one extractor or all; return how many rows that were.

        In the caller's transaction. Only what is still as it was answered goes.
        """


@dataclass(frozen=True)
class Task:
    """What to ask about which items, what a valid answer is, and where it goes: facts, and `rows` that does it.

    `hooks` do what only some tasks have.
    """

    name: str  # the first half of every request key
    label: str  # the version of prompt and schema that answers are attributed to; with the model it is an extractor
    words: Words
    how_to_fill: str  # what to type where there are no items yet
    answer_tokens: int  # about how many an answer has, before past answers of the extractor tell better
    rows: TaskRows
    hooks: Hooks = field(default_factory=Hooks)
    needs_pilot: bool = False  # whether all are asked unattended only after a few were, and passed their gates
    skips: Sequence[str] | None = None  # labels whose answers keep an item from being asked; None: those of any
    fingerprint: str | None = None  # of a declaration in a user's file, which batches, calls and answers carry
    model: str | None = None  # that the task itself asks; None: the one that is set
    items_from: str = ""  # where its items stand, and what to change for others, where no file of them is imported
    gates: str = ""  # bounds of gates that the task sets itself, as the setting GATES has them, which goes above them
    sends_images: bool = False  # whether images go out with what is asked
    keeps_answers: bool = True  # whether the engine keeps an applied answer whole; see `Hooks.stored_json`

    def pending(self, tx: "Connection", *, names: Sequence[str] = (), after: str | None = None) -> "Select[Any]":
        """Return a SELECT of the ids (text) of the items that may be asked, in the order of their rows.

        Before the id stand the columns of some `names`. Those without an answer that hold something to ask about; with
        `after` only those behind that item's row, none where it was removed. The engine subtracts claimed and parked
        items.
        """
        return self.rows.table(tx).pending(names=names, after=after)

    def rows_of(self, tx: "Connection", ids: Sequence[str]) -> Rows:
        """Return what is asked about of these items as it is now, in the order of `ids`, without removed ones."""
        found = self.rows.table(tx).rows(tx, ids, self.rows.columns)
        return {one: found[one] for one in ids if one in found}

    def items(self, tx: "Connection", ids: Sequence[str]) -> Iterator[Item]:
        """Yield the items with these ids as they are now, in the order of `ids`, without removed ones."""
        return self.rows.items(tx, self.rows_of(tx, ids))

    def pending_among(self, tx: "Connection", ids: Sequence[str]) -> set[str]:
        """Return which of these items `pending` would give, by a look at their rows alone."""
        return self.rows.table(tx).pending_among(tx, ids)

    def count_pending(self, tx: "Connection", ids: Sequence[str]) -> int:
        """Return how many of these items, few enough for one statement, `pending` would give."""
        return self.rows.table(tx).count_pending(tx, ids)

    def total(self, tx: "Connection") -> int:
        """Return how many items there are, whether they can be asked or not."""
        return self.rows.table(tx).total(tx)

    def counts(self, tx: "Connection") -> dict[str, int]:
        """Return `total` and five disjoint counts that add up to it: done, open, not to be asked, claimed, parked."""
        return self.rows.table(tx).counts(tx)

    def names(self, tx: "Connection", ids: Sequence[str]) -> dict[str, str]:
        """Return for each id of an item that is there the name a person knows it by, for messages."""
        return self.rows.table(tx).names(tx, ids)

    def id_of(self, tx: "Connection", name: str) -> str:
        """Return the id of the item of that name: by itself the id is the name.

        Raises:
            InputError: there is none.
        """
        if (found := self.hooks.id_of(tx, name)) is not None:
            return found
        if name not in self.names(tx, [name]):
            listed = f"`{self.words.make('parked')}` lists those that are"
            raise InputError(f"there is no {self.words.one} {name!r}", hint=listed)
        return name

    def grid(self, tx: "Connection") -> "Grid":
        """Return what lists the items.

        Raises:
            InputError: the items of this task cannot be listed.
        """
        found = self.hooks.grid(tx)
        if found is None:
            raise InputError(f"the {self.words.many} of this workspace cannot be listed")
        return found

    @property
    def own(self) -> str:
        """Return the label under which alone a parked item is not asked; empty where one of any version is not."""
        return "" if self.counts_any else self.label

    @property
    def counts_any(self) -> bool:
        """Return whether an answer of any version is enough, so that a new one alone asks about no item again."""
        return self.fingerprint is None and self.skips is None

    def judging(self, fingerprint: str | None, what: str, *, accepted: bool) -> "Task":
        """Return the task that judges what was asked: itself, where it declares what was asked then, or is `accepted`.

        Raises:
            ConfigurationError: the declaration is another one now; `what` names what was asked.
        """
        if fingerprint is not None and not accepted:
            self.hooks.check_declared(fingerprint, what)
        return self


class Entry(NamedTuple):
    """One row of the index: the item's id, the text that is embedded, and what stands in `metadata.json` for it.

    `facts` (JSON) are what, beside the text, makes an index out of date when it changes; so do the `fields`, texts by
    their names, in whose words the entry is found. Without any, it is found in those of its text.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]
    facts: Any = None
    fields: Mapping[str, str] | None = None


class Collection(Protocol):
    """What is indexed and searched: the entries of one subject."""

    task: str  # the name of the task whose answered items are the entries
    folder: str  # below DATA/index, where its builds are; empty for the one whose files have stable paths in DATA
    word: str  # what one entry is called
    question: str  # how a question may begin, for a hint
    columns: Mapping[str, str]  # of a table of what was found: the names in `shown`, by their headings
    ranking: Ranking  # what the words of each field of an entry count, and words beside vectors

    def count(self, tx: "Connection") -> int:
        """Return how many entries there are in this snapshot, by a query of its own."""

    def entries(self, tx: "Connection", among: Sequence[str] | None = None) -> Iterable[Entry]:
        """Yield every entry of this snapshot in the order of ids, or those among some ids."""

    def name_of(self, metadata: Mapping[str, Any]) -> str:
        """Return the name by which judgements of a search mean an entry."""

    def plain_text(self, metadata: Mapping[str, Any]) -> str:
        """Return the text of an entry that a plain word search would look in."""

    def texts(self, metadata: Mapping[str, Any]) -> Sequence[str]:
        """Return the texts of an entry in which phrases are looked for, and of which a hit shows a sentence."""

    def tags(self, metadata: Mapping[str, Any]) -> Sequence[str]:
        """Return the tags of an entry, or whatever few words stand in their place."""

    def shown(self, rank: int, similarity: float, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return an entry that was found, for programs; the similarity is the cosine, 1.0 for the same direction."""


class Subject(NamedTuple):
    """One subject of a workspace: its name as TASK= has it, its task, and what of it is indexed, if anything."""

    name: str
    task: Task
    collection: Collection | None

    @property
    def hooks(self) -> Hooks:
        """Return what the task does that only some do."""
        return self.task.hooks


class SubjectTables(Protocol):
    """What the module `adopt` of a subject's room offers; it is loaded where the subject is."""

    def is_adopted(self, tx: "Connection", settings: "Settings") -> bool:
        """Return whether `adopt` would find nothing to do; quick at any size."""

    def adoption_plan(self, tx: "Connection", settings: "Settings") -> list[str]:
        """Return what `adopt` would add to each table of another program, in words; nothing is written.

        Raises:
            ConfigurationError: a table cannot be adopted.
        """

    def makes(self, settings: "Settings") -> "Mapping[str, Sequence[str]]":
        """Return each table that `adopt` makes where nothing has its name, with its columns; a view has none."""

    def adopt(self, tx: "Connection", settings: "Settings") -> list[str]:
        """Make the subject's tables, or add what is missing; return a line for each thing done to old rows."""


class SubjectRoom(Protocol):
    """What the module `subject` of a subject's room offers; `pipeline.engine.workspace` finds it."""

    __package__: str
    how_to_begin: str

    def is_here(self, tx: "Connection", settings: "Settings") -> bool:
        """Return whether this workspace has the subject, or its first command is running."""

    def subject(self, tx: "Connection", settings: "Settings") -> Subject | None:
        """Return the subject as the tables and the settings have it; None where it comes with the declared tasks."""


class DeclaredRoom(SubjectRoom, Protocol):
    """What the module `subject` offers of a room whose task is a declaration."""

    def of_declared(self, tx: "Connection", settings: "Settings", declared: Subject) -> Subject:
        """Return the subject that the room makes of what was recorded of its task."""
