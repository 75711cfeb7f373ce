"""One thing that is not as it should be, and what may be done about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.store.database import Connection, Store


@dataclass(frozen=True)
class CheckFinding:
    """What was found, why it matters, whether it contradicts what is stored elsewhere, and what was or can be done.

    What is no contradiction (litter of a killed run, a note) does no harm to data. `mended` is empty where nothing was
    done; `mendable` says that FIX=1 would do something, asking first where something is lost by it.
    """

    check: str
    said: str
    why: str
    contradiction: bool = True
    mendable: bool = False
    mended: str = ""
    next: str = ""

    @property
    def is_open(self) -> bool:
        """True for a contradiction that still stands."""
        return self.contradiction and not self.mended

    @property
    def remedy(self) -> str:
        """Return what mends it, as a person would type or do it."""
        ways = (["make doctor FIX=1"] if self.mendable and not self.mended else []) + ([self.next] if self.next else [])
        return ", or ".join(ways)


notice = partial(CheckFinding, contradiction=False)  # what does no harm to data


@dataclass(frozen=True)
class LookedAt:
    """What a check looked at row by row, in words and in figures, also where nothing is wrong; and of which subject."""

    subject: str
    said: str
    figures: Mapping[str, int]


@dataclass(frozen=True)
class Mend:
    """What a check may mend: with `on` all that loses nothing, and beyond it what `confirm` says yes to."""

    on: bool
    confirm: Callable[[str], bool]

    def may(self, question: str) -> bool:
        """Ask whether something may be mended at a loss; without `on` the answer is no."""
        return self.on and self.confirm(question)

    def by(self, act: Callable[[], str]) -> str:
        """Do what loses nothing, where that is on, and return what was done; else an empty text."""
        return act() if self.on else ""

    def rows(self, store: "Store", change: "Callable[[Connection], str]") -> str:
        """Change rows in one transaction, where that is on, and return what was done; else an empty text."""
        if not self.on:
            return ""
        with store.write() as tx:
            return change(tx)


class WorkspaceChecks:
    """Checks that look at the whole workspace, or may mend it."""

    def __init__(self, ws: "OpenWorkspace", mend: Mend) -> None:
        """Keep the workspace, and what may be mended."""
        self._ws, self._store, self._mend = ws, ws.store, mend
