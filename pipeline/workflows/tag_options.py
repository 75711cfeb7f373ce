"""The options of the command tag."""

from dataclasses import dataclass

from pipeline.batch.budget import check_budget_amount
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode

MODES = ("auto", "batch", "flex", "live", "decide")


@dataclass(frozen=True)
class TagOptions:
    """The options of the command `tag`."""

    # One of MODES.
    mode: str = "auto"
    # Ask at most this many rows, or None for all.
    limit: int | None = None
    # Most that the run may spend, in USD.
    budget: float | None = None
    deadline_s: float | None = None
    # Wait for batches. The batches of a pilot are waited for in any case.
    wait: bool | None = None
    # Ask and judge this many rows before the rest.
    pilot: int | None = None
    # Waive a pilot that would stop the rest.
    skip_pilot: bool = False
    # Ask only the rows of this condition, and only the row with this key.
    where: str = ""
    item: str | None = None
    # True marks answered rows first, so that they are asked again. False takes marks back.
    again: bool | None = None
    # Who marks the rows.
    who: str = ""
    # Also ask answered rows whose input changed.
    refresh: bool = False
    # Ask by batch under one version. The cost is always confirmed, and if the task needs a pilot,
    # one must have passed.
    backfill: bool = False

    def __post_init__(self) -> None:
        """Raise for invalid options, which would otherwise ask about all rows or about none.

        Raises:
            InputError: The mode does not exist, the limit is below 1, a pilot is combined with the
                mode decide, or the budget is negative or NaN.
        """
        if self.mode not in MODES:
            raise InputError(
                f"there is no mode {self.mode!r}; nothing was asked",
                hint=f"modes: {', '.join(MODES)}",
            )
        if self.limit is not None and self.limit < 1:
            raise InputError(
                f"limit is {self.limit}, but must be 1 or more; nothing was asked",
                hint=f"without {OptionHint('limit')} all rows are asked",
            )
        if self.mode == Mode.DECIDE and self.pilot is not None:
            raise InputError(
                "a pilot has no decisions; nothing was asked",
                hint=f"{OptionHint(limit=20)} asks about a few rows",
            )
        if self.budget is not None:
            check_budget_amount(self.budget)
