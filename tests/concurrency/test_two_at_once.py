"""Any two commands at the same time on one workspace, some killed, some stopped past their lease and continued."""

import os
import random
from collections.abc import Callable

import pytest

from tests.concurrency import rounds
from tests.concurrency.conftest import Life
from tests.integration.hands import Hand

ROUNDS = int(os.environ.get("FINDABLE_ROUNDS", "2"))
SEED = int(os.environ.get("FINDABLE_SEED", "3"))


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_at_once_leave_what_one_after_the_other_leaves(
    number: int, live: Callable[[str], Life], hands: tuple[Hand, Hand]
) -> None:
    """Nothing is asked twice, applied twice or lost, and running what `status` says ends with nothing to do."""
    life = live("data")
    one = rounds.drawn(random.Random(SEED * 10_000 + number))  # noqa: S311 - the same rounds each time
    rounds.play(life, hands, one)
    rounds.finish(life, one)
    rounds.check(life, one)
