"""Which items a request file is about as it fills up: each that asks something new has a line, the others share one.

Items that ask the same are asked once: they share the line of the first of them, or a request of another batch or of a
live call that is under way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pipeline.engine.shared import UNKNOWN, Known, look_up
from pipeline.gemini.tokens import NO_USAGE, Usage
from pipeline.store import claims

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.core.task import Task
    from pipeline.cost.estimate import Calibration
    from pipeline.engine.questions import PlannedRequest
    from pipeline.engine.record import Judgement
    from pipeline.store.database import Connection


class StopReason(StrEnum):
    """Why no line more goes into a file, or no further file is written."""

    FULL = "the file is full"
    BUDGET = "a budget has no room"
    QUOTA = "no more tokens may wait at the API"
    DONE = "no item is left"


class FileLimits(NamedTuple):
    """What one request file may hold: rows, bytes, and estimated prompt tokens. One line alone may have more."""

    rows: int
    size: int
    tokens: int


class Funds(NamedTuple):
    """What may still be started, in USD; by how much estimates are off, relative to them; what tokens cost in USD."""

    room: float
    error: float
    cost: Callable[[Usage], float]


@dataclass
class Packer:
    """One request file as it fills up, line by line; None for a budget or a quota is none.

    `quota` is how many more prompt tokens may wait at the API.
    """

    limits: FileLimits
    known: "Calibration"
    budget: Funds | None = None
    quota: int | None = None
    rows: int = 0
    size: int = 0  # bytes
    counted: Usage = NO_USAGE
    likely: Usage = NO_USAGE  # what was counted, as past answers calibrate it

    def add(self, *lines: "PlannedRequest") -> StopReason | None:
        """Take lines in, all of them, or none and return why the file ends before the last of them."""
        rows, size = self.rows + len(lines), self.size + sum([one.size for one in lines]) + len(lines)
        counted = Usage._make(map(sum, zip(self.counted, *[one.usage for one in lines], strict=True)))
        likely = self.known.applied(counted, count=rows)
        if rows > 1 and (rows > self.limits.rows or size > self.limits.size or likely.prompt > self.limits.tokens):
            return StopReason.FULL
        stop = self.stop_for(likely)
        if stop is None:
            self.rows, self.size, self.counted, self.likely = rows, size, counted, likely
        return stop

    def stop_for(self, likely: Usage, *, slack: float = 0.0) -> StopReason | None:
        """Return why no file may be made that will use so much; the budget may be passed by this share of it."""
        funds = self.budget
        if funds is not None and funds.cost(likely) * (1 + funds.error) > funds.room * (1 + slack):
            return StopReason.BUDGET
        return StopReason.QUOTA if self.quota is not None and likely.prompt > self.quota else None

    def next_file(self) -> "Packer":
        """Return an empty file under the same limits."""
        return replace(self, rows=0, size=0, counted=NO_USAGE, likely=NO_USAGE)


TOGETHER = 500  # lines that are looked up at once
TOGETHER_BYTES = 4_000_000  # and about how much they may hold together


def looked_up(
    tx: "Connection", task: "Task", extractor: str, lines: Iterator["PlannedRequest"]
) -> Iterator[tuple[Sequence["PlannedRequest"], Mapping[str, Known]]]:
    """Yield requests, some at a time at flat memory, with what was asked already and is the same, by item."""
    is_any_known = claims.is_any_known(tx)
    for some in _together(lines):
        yield some, look_up(tx, task, extractor, some) if is_any_known else {}


def _together(lines: Iterator["PlannedRequest"]) -> Iterator[Sequence["PlannedRequest"]]:
    some, size = list["PlannedRequest"](), 0
    for line in lines:
        some.append(line)
        size += line.size
        if len(some) == TOGETHER or size >= TOGETHER_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


@dataclass
class Draft:
    """The items of one request file; `seen` is the newest request that was there when it was begun.

    Those that are answered already are in no file.
    """

    packer: Packer
    seen: int
    # of each line; by columns, for the garbage collector would look through tuples again and again
    ids: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    questions: list[str | None] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)  # by question
    same: list[tuple[str, str, int]] = field(default_factory=list)  # (item id, input hash, line) of those that share it
    joined: list[tuple[str, str, int]] = field(default_factory=list)  # the same with requests that were there already
    given: list["Judgement"] = field(default_factory=list)  # what such a request gave, as long as it is not written
    last: str = ""  # item

    @property
    def items(self) -> int:
        """Return how many items are to be claimed."""
        return len(self.ids) + len(self.same) + len(self.joined)

    def take(
        self, lines: Sequence["PlannedRequest"], known: Mapping[str, Known]
    ) -> tuple[list["PlannedRequest"], StopReason | None]:
        """Take items in; return the lines of those that ask something new, and why the file ends before the rest."""
        new: list[PlannedRequest] = []
        has_room = self.items + len(lines) <= self.packer.limits.rows  # for a line of each; then any of them fit in
        whole = self._with(lines) if has_room else None
        if whole is not None and not known and self._ask_apart(lines):  # as nearly all do: at once
            self._add(lines)
            self.packer = whole
            return list(lines), None
        for line in lines:
            item, question = line.item, line.question
            equal, given = known.get(item.id) or UNKNOWN
            at = self.lines.get(question or "")
            if given is not None:
                self.given.append(given)
            elif equal is None and at is None:
                if whole is None and (full := self.packer.add(line)) is not None:
                    return new, full
                new.append(line)
                self._add([line])
            elif whole is None and self.items >= self.packer.limits.rows:
                return new, StopReason.FULL
            elif equal is not None:
                self.joined.append((item.id, item.input_hash, equal.id))
            elif at is not None:
                self.same.append((item.id, item.input_hash, at))
            self.last = item.id
        if whole is not None and len(new) < len(lines):
            whole = self._with(new)
        self.packer = whole or self.packer
        return new, None

    def _ask_apart(self, lines: Sequence["PlannedRequest"]) -> bool:
        asked = {one.question for one in lines}
        return None not in asked and len(asked) == len(lines) and self.lines.keys().isdisjoint(asked)

    def _add(self, lines: Sequence["PlannedRequest"]) -> None:
        items, asked = [one.item for one in lines], [one.question for one in lines]
        self.lines |= {one: line for line, one in enumerate(asked, len(self.ids) + 1) if one is not None}
        self.ids += [one.id for one in items]
        self.hashes += [one.input_hash for one in items]
        self.questions += asked
        self.last = self.ids[-1]

    def _with(self, lines: Sequence["PlannedRequest"]) -> Packer | None:
        packer = replace(self.packer)
        return None if packer.add(*lines) else packer

    def claim(self, tx: "Connection", task: "Task", *, batch: int, at: "datetime") -> None:
        """Claim all items, those that have a line for a batch that was added; all or none.

        Raises:
            StateConflictError: one of them changed hands since it was read, or is asked by another process now.
        """
        claims.check_unasked(tx, self.lines, since=self.seen)
        rows = zip(self.ids, range(1, len(self.ids) + 1), self.hashes, self.questions, strict=True)
        claims.take_claims(tx, task, rows, batch=batch, at=at)
        ids = claims.ids_of_lines(tx, batch, sorted({line for *_, line in self.same}))
        same = [(item_id, input_hash, ids[line]) for item_id, input_hash, line in self.same]
        claims.share_claims(tx, task, [*same, *self.joined], at=at)
