"""Which rows a request file is about as it fills up: of those that ask the same one has a line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pipeline.engine.equals import Known
from pipeline.gemini.tokens import NO_USAGE, Usage
from pipeline.store.asks import Ask

if TYPE_CHECKING:
    from pipeline.cost.estimate import Calibration
    from pipeline.engine.questions import PlannedRequest


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

    def add(self, line: "PlannedRequest") -> StopReason | None:
        """Take a line in, or return why the file ends before it."""
        rows, size, counted = self.rows + 1, self.size + line.size + 1, self.counted + line.usage
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


def together(lines: Iterator["PlannedRequest"]) -> Iterator[list["PlannedRequest"]]:
    """Yield requests, some at a time, at flat memory."""
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
    """The rows of one request file, at most `most`; of those that ask the same, unless it `asks_each`, the first.

    `passed` are rows that ask what is asked already, in a batch or a live call under way.
    """

    packer: Packer
    most: int | None = None
    asks_each: bool = False
    asks: list[Ask] = field(default_factory=list)
    hashes: set[int] = field(default_factory=set)  # of the input hashes: a tenth of the room
    passed: set[str] = field(default_factory=set)
    looked_at: int = 0
    last: str = ""  # row that was looked at

    def take(self, lines: Sequence["PlannedRequest"], known: Known) -> tuple[list["PlannedRequest"], StopReason | None]:
        """Take rows in; return the lines of those that ask something new, and why the file ends before the rest."""
        new: list[PlannedRequest] = []
        for line in lines:
            item = line.item
            is_new = item.id not in known.given and item.id not in known.waiting
            if item.id in known.waiting:
                self.passed.add(item.id)
            elif is_new and (self.asks_each or hash(item.input_hash) not in self.hashes):
                if self.most is not None and len(self.asks) >= self.most:
                    return new, StopReason.DONE
                if (full := self.packer.add(line)) is not None:
                    return new, full
                new.append(line)
                self.hashes.add(hash(item.input_hash))
                self.asks.append(Ask(item.id, item.input_hash, len(self.asks) + 1))
            self.looked_at += 1
            self.last = item.id
        return new, None
