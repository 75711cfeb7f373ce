"""What the engine knows of the work: tasks to ask, and collections to index. It knows no subject.

A subject (people, passages, images) is a room of its own that implements these protocols and is put in place by one
line in `runtime.py`. `Connection` stands for a connection inside a transaction of `pipeline.store`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy import Connection, Select


class Prompt(NamedTuple):
    """What to ask about one item, in the API's own REST shapes.

    `parts` are the user's parts (`{"text": …}`, `{"inlineData": …}`); `system` is the instruction; `max_output_tokens`
    is always set, because a model that runs on costs money.
    """

    system: str
    parts: Sequence[Mapping[str, Any]]
    max_output_tokens: int


class Item(NamedTuple):
    """A row that a task asks about: its id as text, what to ask, and the hash of what the question was made from."""

    id: str
    prompt: Prompt
    input_hash: str


class Answered(NamedTuple):
    """One validated answer on its way into the database: the item's id, the answer, and the hash it was asked with."""

    item_id: str
    answer: "BaseModel"
    input_hash: str


@dataclass
class Written:
    """What `Task.write` did: ids whose row now holds the answer, and ids whose input had changed since it was asked."""

    applied: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)


class Task(Protocol):
    """What to ask about which items, what a valid answer is, and where it goes."""

    name: str  # the first half of every request key, and of the extractor
    version: int  # of the prompt and the schema; extractor = name@version/model

    @property
    def answer(self) -> "type[BaseModel]":
        """Return the model of an answer: its JSON schema goes out with every request, and it judges every reply."""

    def open_items(self, *, after: str | None = None) -> "Select[Any]":
        """Return a SELECT of one column, `item_id` (text), of the items that may be asked, in the order of their rows.

        Those are the items without an answer that hold something to ask about; with `after` only those whose row stands
        behind that item's, and none where that item is gone. Claims and parked items are the engine's business and are
        subtracted by it.
        """

    def open_among(self, tx: "Connection", ids: Sequence[str]) -> set[str]:
        """Return which of these items `open_items` would give, by a look at their rows alone."""

    def items(self, tx: "Connection", ids: Sequence[str]) -> Iterator[Item]:
        """Yield the items with these ids as they stand now, in the order of `ids`; without those whose row is gone."""

    def write(self, tx: "Connection", answers: Sequence[Answered]) -> Written:
        """Write answers where there is none yet, with what follows from them (a score), in the caller's transaction.

        An item that is gone or was answered meanwhile is left as it is and is not among the applied.
        """

    def clear(self, tx: "Connection", ids: Sequence[str]) -> None:
        """Take back the answers of these items, in the caller's transaction (used when local answers are cleared)."""

    def names(self, tx: "Connection", ids: Sequence[str]) -> dict[str, str]:
        """Return for each id the name a person knows the item by, for messages."""


@dataclass(frozen=True)
class Entry:
    """One row of the index: the item's id, the text that is embedded, and what stands in `metadata.json` for it."""

    id: str
    text: str
    metadata: Mapping[str, Any]


class Collection(Protocol):
    """What is indexed and searched: the entries of one subject."""

    how_to_fill: str  # what to type where there is nothing yet

    def is_empty(self, tx: "Connection") -> bool:
        """Return whether there is not even an item without an answer."""

    def count(self, tx: "Connection") -> int:
        """Return how many entries there are in this snapshot, by a query of its own."""

    def entries(self, tx: "Connection") -> Iterable[Entry]:
        """Yield every entry of this snapshot in the order of ids."""
