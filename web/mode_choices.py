"""The modes in which all rows can be asked, with price and time."""

from dataclasses import dataclass

from pipeline.workflows.preflight import Preflight


@dataclass(frozen=True)
class ModeChoice:
    """A mode with its price and time."""

    mode: str
    # The highest cost by estimate, in USD; with the cost of prepared batches.
    cost: float
    # Cost with a key, in USD, if the local engine answers; else None.
    cost_with_key: float | None
    # Empty if the duration is unknown.
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
        cost_with_key = None
        if estimate.with_key is not None:
            cost_with_key = estimate.with_key.possible_mode_estimates[mode].cost

        choices.append(
            ModeChoice(
                mode,
                mode_estimate.cost + estimate.waiting.cost,
                cost_with_key,
                mode_estimate.duration_text if mode_estimate.seconds is not None else "",
                is_recommended=mode == (estimate.recommended or "batch"),
                reason=mode_estimate.absence_reason or mode_estimate.refusal_reason,
            ),
        )
    return choices
