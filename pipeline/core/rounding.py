"""Round the width of the steps of a scale, and probabilities."""

from decimal import Decimal

# Decimal places of a stored probability.
PROBABILITY_DECIMALS = 4


def round_up_step(width: Decimal) -> Decimal:
    """Return the smallest number of 1, 2 or 5 times a power of ten that is at least `width`."""
    magnitude = Decimal(1).scaleb(width.adjusted())
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= width)


def round_probability(probability: float) -> float:
    """Return a probability as it is stored, compared and exported: 1 - 0.959 is 0.041.

    A number that was rounded only when it is displayed could be 0.7 and count as below 0.7.
    """
    return round(probability, PROBABILITY_DECIMALS)
