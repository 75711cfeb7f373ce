"""Round the width of the steps of a scale."""

from decimal import Decimal


def round_up_step(width: Decimal) -> Decimal:
    """Return the smallest number of 1, 2 or 5 times a power of ten that is at least `width`."""
    magnitude = Decimal(1).scaleb(width.adjusted())
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= width)
