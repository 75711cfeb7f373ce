"""Questions for live calls: the requests that batch lines would hold, for everyone open or for a few by id.

The same builder, checks and estimate as for batches: an item that is refused here would be refused there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.engine.questions import RequestBuilder
from pipeline.live.write_ahead import LiveQuestion
from pipeline.store import claims

if TYPE_CHECKING:
    from pipeline.cost.estimate import Calibration
    from pipeline.store.database import Connection


PAGE = 100


@dataclass
class OpenQuestions:
    """Everyone that can be asked, in the order of rows, at most `limit`; at flat memory."""

    builder: RequestBuilder
    known: "Calibration"
    limit: int | None = None
    _last: str | None = None
    _given: int = 0

    def page(self, tx: "Connection", *, but: frozenset[str]) -> Sequence[LiveQuestion]:
        """Return the next questions behind those given before, and none of these items.

        Where there is nothing behind the last one, a look at all of them tells whether that was right.
        """
        most = PAGE if self.limit is None else min(PAGE, self.limit - self._given)
        if most < 1:
            return ()
        ids = self._ids(tx, self._last, but=but, most=most)
        if not ids and self._last is not None:
            ids = self._ids(tx, None, but=but, most=most)
        if ids:
            self._last = ids[-1]
        self._given += len(ids)
        return list(question_source(tx, self.builder, ids, known=self.known))

    def again(self, tx: "Connection", item_id: str) -> LiveQuestion | None:
        """Return one item's question as its row stands now."""
        return next(question_source(tx, self.builder, [item_id], known=self.known), None)

    def _ids(self, tx: "Connection", after: str | None, *, but: frozenset[str], most: int) -> list[str]:
        """Return the next ids that can be asked behind one, none of these, at most so many."""
        found: list[str] = []
        for page in claims.askable_pages(tx, self.builder.task, limit=most + len(but), after=after):
            found += [one for one in page if one not in but]
            if len(found) >= most:
                break
        return found[:most]


@dataclass
class SelectedQuestions:
    """A few items by id, each asked once."""

    builder: RequestBuilder
    known: "Calibration"
    ids: list[str] = field(default_factory=list)

    def page(self, tx: "Connection", *, but: frozenset[str]) -> Sequence[LiveQuestion]:  # noqa: ARG002 - each once
        """Return the questions that are left."""
        ids, self.ids = self.ids, []
        return list(question_source(tx, self.builder, ids, known=self.known))

    def again(self, tx: "Connection", item_id: str) -> LiveQuestion | None:
        """Return one item's question as its row stands now."""
        return next(question_source(tx, self.builder, [item_id], known=self.known), None)


def question_source(
    tx: "Connection", builder: RequestBuilder, ids: Sequence[str], *, known: "Calibration"
) -> Iterator[LiveQuestion]:
    """Yield what to ask about these items now, with more room where an answer was cut; nothing about those gone.

    Raises:
        InputError: an item's request cannot be sent; the message names it.
    """
    for line in builder.lines(tx, ids):
        yield LiveQuestion(line.item, line.data, line.usage, known.applied(line.usage, count=1))
