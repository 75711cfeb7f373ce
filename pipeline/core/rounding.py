"""Round the width of the steps of a scale, and probabilities."""

from decimal import Decimal

# Decimal places of a displayed probability.
PROBABILITY_DECIMALS = 4


def round_up_step(width: Decimal) -> Decimal:
    """Return the smallest number of 1, 2 or 5 times a power of ten that is at least `width`."""
    magnitude = Decimal(1).scaleb(width.adjusted())
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= width)


def round_probability(probability: float) -> float:
    """Return a stored probability as lists and exports contain it: 1 - 0.959 is 0.041."""
    return round(probability, PROBABILITY_DECIMALS)
