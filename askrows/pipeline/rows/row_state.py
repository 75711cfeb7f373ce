"""The states of rows, and how many rows of a task are in each.

A row has exactly one state. Two orders of the states are written down: `RowState` names them in the
order of decision, in which `TaskRows.state_expression` checks their conditions, and `REPORT_ORDER`
is the order in which people and programs read them.
"""

from dataclasses import dataclass
from enum import StrEnum


class RowState(StrEnum):
    """The state of a row, in the order of decision: the first state that applies counts.

    The values are the words for the states. A task may have other words for some of them.
    """

    # The row is no longer in its source.
    GONE = "gone"
    # It was left out when its source was read.
    REFUSED = "refused"
    # A batch that is not over asks it.
    CLAIMED = "claimed"
    # It is not asked until a user unparks it.
    PARKED = "parked"
    # It was answered, and its input changed, or a person asked for it again.
    STALE = "stale"
    ANSWERED = "answered"
    # Its image, or what another program stored in place of an answer, cannot be used.
    UNUSABLE = "unusable"
    # It has content and can be asked.
    OPEN = "open"
    # It has no content.
    EMPTY = "empty"


# The states of rows that are in their source, in the order of reports. Gone rows follow them.
REPORT_ORDER = (
    RowState.ANSWERED,
    RowState.OPEN,
    RowState.EMPTY,
    RowState.CLAIMED,
    RowState.PARKED,
    RowState.STALE,
    RowState.UNUSABLE,
    RowState.REFUSED,
)
# States with a reason for each row.
STATES_WITH_REASON = (RowState.REFUSED, RowState.UNUSABLE, RowState.PARKED, RowState.STALE)


@dataclass(frozen=True, kw_only=True)
class StateCounts:
    """The number of a task's rows in each state; the fields have the names of the states."""

    answered: int = 0
    open: int = 0
    empty: int = 0
    claimed: int = 0
    parked: int = 0
    stale: int = 0
    unusable: int = 0
    refused: int = 0
    gone: int = 0

    @property
    def total(self) -> int:
        """Return the number of rows in the source; gone rows are not among them."""
        return sum(self.count(state) for state in REPORT_ORDER)

    @property
    def done(self) -> int:
        """Return the number of rows with an answer; stale rows have one, too."""
        return self.answered + self.stale

    def count(self, state: RowState) -> int:
        """Return the number of rows in a state."""
        row_count: int = getattr(self, state.value)
        return row_count
