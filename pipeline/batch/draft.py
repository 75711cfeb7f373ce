"""Which items a request file is about as it fills up: each that asks something new has a line, the others share one.

Items that ask the same are asked once: they share the line of the first of them, or a request of another batch or of a
live call that is under way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.batch.packer import Packer, StopReason
from pipeline.engine.shared import LookedUp, look_up
from pipeline.store import claims, equals

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.core.task import Task
    from pipeline.engine.questions import PlannedRequest
    from pipeline.engine.record import Judgement
    from pipeline.store.database import Connection


TOGETHER = 500  # lines that are looked up at once
TOGETHER_BYTES = 4_000_000  # and about how much they may hold together


def looked_up(tx: "Connection", task: "Task", extractor: str, lines: Iterator["PlannedRequest"]) -> Iterator[LookedUp]:
    """Yield requests, each with what was asked already and is the same, at flat memory."""
    if not equals.is_any_known(tx):
        yield from map(LookedUp, lines)
        return
    some, size = list["PlannedRequest"](), 0
    for line in lines:
        some.append(line)
        size += len(line.data)
        if len(some) == TOGETHER or size >= TOGETHER_BYTES:
            yield from look_up(tx, task, extractor, some)
            some, size = [], 0
    yield from look_up(tx, task, extractor, some)


@dataclass
class Draft:
    """The items of one request file; `seen` is the newest request that was there when it was begun.

    Those that are answered already are in no file.
    """

    packer: Packer
    seen: int
    rows: list[tuple[str, str, str | None]] = field(default_factory=list)  # (item id, input hash, question) by line
    lines: dict[str, int] = field(default_factory=dict)  # by question
    same: list[tuple[str, str, int]] = field(default_factory=list)  # (item id, input hash, line) of those that share it
    joined: list[tuple[str, str, int]] = field(default_factory=list)  # the same with requests that were there already
    given: list["Judgement"] = field(default_factory=list)  # what such a request gave, as long as it is not written
    uploads: set[int] = field(default_factory=set)  # images that its lines name
    last: str = ""  # item

    @property
    def items(self) -> int:
        """Return how many items are to be claimed."""
        return len(self.rows) + len(self.same) + len(self.joined)

    def take(self, found: LookedUp) -> StopReason | None:
        """Take an item in, or return why the file ends before it; one that asks something new is the last of `rows`."""
        (item, _, _, question), equal = found.line, found.equal
        line = self.lines.get(question or "")
        if found.given is not None:
            self.given.append(found.given)
        elif equal is None and line is None:
            if (full := self.packer.add(found.line)) is not None:
                return full
            self.rows.append((item.id, item.input_hash, question))
            if question is not None:
                self.lines[question] = len(self.rows)
        elif self.items >= self.packer.limits.rows:
            return StopReason.FULL
        elif equal is not None:
            self.joined.append((item.id, item.input_hash, equal.id))
        elif line is not None:
            self.same.append((item.id, item.input_hash, line))
        self.last = item.id
        return None

    def claim(self, tx: "Connection", task: "Task", *, batch: int, at: "datetime") -> None:
        """Claim all items, those that have a line for a batch that was added; all or none.

        Raises:
            StateConflictError: one of them changed hands since it was read, or is asked by another process now.
        """
        equals.check_unasked(tx, self.lines, since=self.seen)
        claims.take_claims(tx, task, self.rows, batch=batch, at=at)
        ids = equals.ids_of_lines(tx, batch, sorted({line for *_, line in self.same}))
        same = [(item_id, input_hash, ids[line]) for item_id, input_hash, line in self.same]
        equals.share_claims(tx, task, [*same, *self.joined], at=at)
