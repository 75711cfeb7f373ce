"""What of a budget counts as used."""

from pipeline.cost.budget import budget_used
from pipeline.store.spending import Spent


def test_what_may_have_been_paid_and_what_is_under_way_count() -> None:
    """What is known and what may have been paid for count as they are, and what is under way with its error."""
    assert budget_used(Spent(known=1.0, lost=2.0, under_way=4.0), error=0.5) == 9.0
