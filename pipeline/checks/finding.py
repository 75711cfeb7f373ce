"""One thing that is not as it should be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pipeline.runtime import Runtime


@dataclass(frozen=True)
class Finding:
    """What was found, whether it contradicts what is stored elsewhere, and what was done or can be done about it.

    What is no contradiction (litter of a killed run, a note) does no harm to anybody's data. `mended` is empty where
    nothing was done; `mendable` says that FIX=1 would do something.
    """

    check: str
    said: str
    contradiction: bool = True
    mendable: bool = False
    mended: str = ""
    next: str = ""

    @property
    def is_open(self) -> bool:
        """True for a contradiction that still stands."""
        return self.contradiction and not self.mended


class Check(Protocol):
    """Looks at one thing and yields what is wrong with it; with `fix` it mends what it can."""

    def __call__(self, rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
        """Yield what was found, in an order that does not change."""
