"""Tell what a mean over questions is worth: intervals by bootstrap, and paired tests by randomisation; seeded."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 20261122
RESAMPLES = 5000
LEVEL = 95.0  # per cent of an interval
_AT_ONCE = 250  # resamples in memory


class Estimate(NamedTuple):
    """A mean over questions, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """How much better than another one a variant is on the same questions: mean difference, and its 95 % interval.

    `p` is how often signs drawn at random give a difference as large: small where it is no chance.
    """

    difference: Estimate
    p: float
    wins: int
    losses: int
    ties: int

    @property
    def is_worse(self) -> bool:
        """Return whether it is worse by more than chance explains."""
        return self.difference.high < 0


def estimate_all(values: "NDArray[Any]", *, seed: int = SEED) -> list[Estimate]:
    """Return the mean of each column of `values`, shape (questions, columns), with its interval by bootstrap.

    There is one question at least; all columns are drawn alike.
    """
    import numpy as np

    rng, count = np.random.default_rng(seed), len(values)
    drawn = (rng.multinomial(count, np.full(count, 1 / count), _AT_ONCE) for _ in range(RESAMPLES // _AT_ONCE))
    means = np.concatenate([times @ values for times in drawn]) / count
    lows, highs = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2], axis=0)
    return [Estimate(*map(float, one)) for one in zip(values.mean(axis=0), lows, highs, strict=True)]


def estimate(values: "NDArray[Any]", *, seed: int = SEED) -> Estimate:
    """Return the same of values in one column, shape (questions,)."""
    return estimate_all(values.reshape(-1, 1), seed=seed)[0]


def compare_paired(values: "NDArray[Any]", others: "NDArray[Any]", *, seed: int = SEED) -> Comparison:
    """Return how much better `values` are than `others`, both of the same questions in the same order."""
    import numpy as np

    differences = values - others
    rng, count = np.random.default_rng(seed), len(differences)
    beyond = sum(
        int((np.abs(rng.choice((-1.0, 1.0), (_AT_ONCE, count)) @ differences) >= abs(differences.sum()) - 1e-9).sum())
        for _ in range(RESAMPLES // _AT_ONCE)
    )
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    p = (beyond + 1) / (RESAMPLES + 1)
    return Comparison(estimate(differences, seed=seed), p, wins, losses, count - wins - losses)
