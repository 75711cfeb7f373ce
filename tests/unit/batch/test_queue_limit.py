"""The limit of queued tokens follows what the API accepts and refuses."""

from datetime import timedelta

import pytest

from pipeline.batch.queue_limit import learn_limit
from pipeline.store.batches import QUEUE_FULL, CreateTry
from tests.unit.store.facts import NOW

DOCUMENTED_TOKENS = 1_000
LONG_AGO = NOW - timedelta(days=1)


def make_try(
    batch: int,
    outcome: str,
    tokens: int,
    *,
    minute: int,
    over_minute: int | None = None,
) -> CreateTry:
    """Return a try that was sent some minutes after the start."""
    over_at = None if over_minute is None else NOW + timedelta(minutes=over_minute)
    return CreateTry(batch, NOW + timedelta(minutes=minute), outcome, tokens, over_at)


FIRST = make_try(1, "created", 300, minute=0)
REFUSED = make_try(2, QUEUE_FULL, 200, minute=1)


@pytest.mark.parametrize(
    ("tries", "expected_limit"),
    [
        pytest.param([FIRST], 1_000, id="nothing was refused"),
        pytest.param([FIRST, REFUSED], 300, id="the refused batch is not counted"),
        pytest.param([REFUSED], 100, id="half of a batch that was refused alone"),
        pytest.param([make_try(2, QUEUE_FULL, 2, minute=1)], 10, id="never below the least share"),
        pytest.param(
            [make_try(1, "created", 900, minute=0), REFUSED],
            1_000,
            id="a refusal above the documented window",
        ),
        pytest.param([FIRST, make_try(2, "refused", 200, minute=1)], 1_000, id="another refusal"),
        pytest.param(
            [
                make_try(1, "created", 300, minute=0, over_minute=1),
                make_try(2, QUEUE_FULL, 400, minute=2),
            ],
            200,
            id="a batch that was over is not counted",
        ),
        pytest.param(
            [FIRST, REFUSED, make_try(2, "created", 200, minute=5)],
            625,
            id="a success raises the limit",
        ),
        pytest.param(
            [FIRST, REFUSED, make_try(2, "created", 700, minute=5)],
            1_000,
            id="at most to the documented window",
        ),
        pytest.param(
            [FIRST, REFUSED, make_try(3, "created", 5, minute=5)],
            381,
            id="by a quarter of what was queued",
        ),
    ],
)
def test_refusals_lower_the_limit_and_successes_raise_it(
    tries: list[CreateTry], expected_limit: int
) -> None:
    """The limit follows the tries in their order."""
    assert learn_limit(tries, DOCUMENTED_TOKENS, since=LONG_AGO) == expected_limit


def test_old_refusals_are_forgotten() -> None:
    """A refusal before the window of learning has no effect."""
    since = REFUSED.sent_at + timedelta(seconds=1)
    assert learn_limit([FIRST, REFUSED], DOCUMENTED_TOKENS, since=since) == DOCUMENTED_TOKENS
