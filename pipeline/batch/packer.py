"""Where a request file ends, and why: the one answer for a plan and for what is written.

No database and no file is looked at here. The caller reads what budgets and quotas have room for, and confirms it with
`stop_for` in the transaction that claims the file's items.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pipeline.gemini.tokens import NO_USAGE, Usage

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
