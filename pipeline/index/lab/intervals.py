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


def estimate(values: "NDArray[Any]", *, seed: int = SEED) -> Estimate:
    """Return the mean of values, one a question, at least one, with its interval by bootstrap over the questions."""
    import numpy as np

    rng, count = np.random.default_rng(seed), len(values)
    means = np.concatenate(
        [values[rng.integers(0, count, (_AT_ONCE, count))].mean(axis=1) for _ in range(RESAMPLES // _AT_ONCE)]
    )
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Estimate(float(values.mean()), float(low), float(high))


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
