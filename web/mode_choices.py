"""The modes in which all rows can be asked, as radio buttons with price and time."""

from dataclasses import dataclass

from pipeline.workflows.preflight import Preflight

_MODE_DESCRIPTIONS = {
    "batch": "half price; Gemini may take up to a day",
    "flex": "half price; a reply takes minutes if Gemini is busy",
    "live": "full price, at once",
    "decide": "a decision model chooses each value, and says how sure it is",
}


@dataclass(frozen=True)
class ModeChoice:
    """A mode with its price and time."""

    mode: str
    label: str
    # What a person gets for the price.
    description: str
    # The highest cost by estimate, in USD; with the cost of prepared batches.
    cost: float
    has_price: bool
    # Cost with a key, in USD, if the local engine answers; else None.
    cost_with_key: float | None
    duration_text: str
    is_recommended: bool
    # Why the mode cannot be chosen; empty if it can.
    reason: str


def list_mode_choices(estimate: Preflight) -> list[ModeChoice]:
    """Return the modes of an estimate, also unavailable ones, with cost, duration and key price.

    - The cost includes that of batches that an earlier run prepared.
    - A mode that is not available, or that a person must allow first, has the reason.
    - The recommended mode is that of the estimate. If it recommends nothing, it is "batch", even if
      batch is not available.
    - The key price is what Gemini would charge if a key were set. It is None unless the local
      engine is used.
    """
    choices = []
    for mode, mode_estimate in estimate.possible_mode_estimates.items():
        cost = mode_estimate.cost + estimate.waiting.cost
        cost_with_key = None
        if estimate.with_key is not None:
            cost_with_key = estimate.with_key.possible_mode_estimates[mode].cost

        choices.append(
            ModeChoice(
                mode,
                mode.capitalize(),
                _MODE_DESCRIPTIONS[mode],
                cost,
                not mode_estimate.unpriced_share,
                cost_with_key,
                mode_estimate.duration_text,
                is_recommended=mode == (estimate.recommended or "batch"),
                reason=mode_estimate.absence_reason or mode_estimate.refusal_reason,
            ),
        )
    return choices
