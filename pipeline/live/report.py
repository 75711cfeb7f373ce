"""What became of a live run: counts, costs, reasons, and what stopped it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.core.errors import FindableError

SAMPLES = 3


@dataclass
class LiveReport:
    """What became of a run: counts of items but for `calls`; `cost` in USD; what stopped it, if anything did."""

    calls: int = 0
    answered: int = 0
    elsewhere: int = 0  # answered, claimed or removed by others meanwhile
    failed: Counter[str] = field(default_factory=Counter)  # by reason; recorded, and not asked again in this run
    samples: list[tuple[str, str]] = field(default_factory=list)  # (item id, reason) of the first
    cost: float = 0.0
    throttled: int = 0
    stopped: FindableError | None = None
    interrupted: bool = False
    is_down: bool = False  # the last call failed because of the service

    @property
    def done(self) -> int:
        """Return how many items need nothing more of this run."""
        return self.answered + self.elsewhere + self.failed.total()

    def fail(self, item_id: str, reason: str) -> None:
        """Count an item that failed for good in this run."""
        self.failed[reason.partition(":")[0]] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append((item_id, reason))


OnProgress = Callable[[LiveReport, int], None]  # called with the report so far and the calls that may be under way
