"""Questions for live calls: the requests that batch lines would hold, about all open items or about a few by id."""

import abc
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.engine.questions import PlannedRequest, RequestBuilder
from pipeline.store import asks

if TYPE_CHECKING:
    from pipeline.gemini.tokens import Usage
    from pipeline.store.database import Connection


PAGE = 100
PAGE_OF_IMAGES = 20  # each of some megabytes, all of which are in memory


@dataclass
class QuestionSource(abc.ABC):
    """Where questions come from, page by page, made from the rows as they stand."""

    builder: RequestBuilder

    @abc.abstractmethod
    def page(self, tx: "Connection", *, but: frozenset[str]) -> Sequence[PlannedRequest]:
        """Return the next questions in the order of rows, none about the items `but`; empty after the last one.

        Raises:
            InputError: an item's request cannot be sent; the message names it.
        """

    def again(self, tx: "Connection", item_id: str) -> PlannedRequest | None:
        """Return one item's question as its row stands now, with more room after an answer that was cut."""
        return next(self.builder.lines(tx, [item_id]), None)


@dataclass
class SelectedQuestions(QuestionSource):
    """A few items by id, each asked once."""

    ids: Sequence[str]

    def page(self, tx: "Connection", *, but: frozenset[str]) -> Sequence[PlannedRequest]:  # noqa: ARG002 - each once
        """Return the questions that are left."""
        ids, self.ids = self.ids, ()
        return list(self.builder.lines(tx, ids))


@dataclass
class OpenQuestions(QuestionSource):
    """Every item that can be asked, in the order of rows, at most `limit`; memory stays flat."""

    limit: int | None = None
    _last: str | None = field(default=None, init=False)
    _given: int = field(default=0, init=False)

    def page(self, tx: "Connection", *, but: frozenset[str]) -> Sequence[PlannedRequest]:
        """Return the next questions behind those given before; at the end, look once more from the beginning."""
        page = PAGE_OF_IMAGES if self.builder.task.sends_images else PAGE
        most = page if self.limit is None else min(page, self.limit - self._given)
        if most < 1:
            return ()
        ids = self._ids(tx, self._last, but=but, most=most)
        if not ids and self._last is not None:
            ids = self._ids(tx, None, but=but, most=most)
        if ids:
            self._last = ids[-1]
        self._given += len(ids)
        return list(self.builder.lines(tx, ids))

    def _ids(self, tx: "Connection", after: str | None, *, but: frozenset[str], most: int) -> list[str]:
        """Return at most `most` ids that can be asked behind one, none of `but`."""
        found: list[str] = []
        for page in asks.askable_pages(tx, self.builder.task, limit=most + len(but), after=after):
            found += [one for one in page if one not in but]
            if len(found) >= most:
                break
        return found[:most]


@dataclass
class Entry:
    """A question on its way, its estimated prompt tokens, and how often the service failed it in this run.

    `same` are those of other items that ask the same, and wait with it.
    """

    question: PlannedRequest
    tokens: int
    failures: int = 0
    same: list[PlannedRequest] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Return the item that asks."""
        return self.question.item.id

    @property
    def questions(self) -> list[PlannedRequest]:
        """Return the question as each item asks it that the answer is for."""
        return [self.question, *self.same]

    @property
    def ids(self) -> list[str]:
        """Return all items that the answer is for."""
        return [one.item.id for one in self.questions]


class WaitingLine(deque[Entry]):
    """Entries in the order in which they are asked."""

    def __init__(self, likely: "Callable[[PlannedRequest], Usage]", *, asks_each: bool) -> None:
        """Begin with none; `likely` tells what a question will use."""
        super().__init__()
        self._likely, self._asks_each = likely, asks_each

    def put_last(self, question: PlannedRequest, *, failures: int = 0, before: Iterable[Entry] = ()) -> None:
        """Put a question at the end, or to one in the line, or among those `before` it, that is the same."""
        asked = question.item.input_hash
        every = () if self._asks_each else (*before, *self)
        same = next((one for one in every if one.question.item.input_hash == asked), None)
        if same is None:
            self.append(Entry(question, self._likely(question).prompt, failures))
        elif question.item.id not in same.ids:
            same.same.append(question)
