"""Names in a message: the first few, and how many more."""

import pytest

from pipeline.core.text import first_few


@pytest.mark.parametrize(
    ("many", "said"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (1044, "0, 1, 2 and 1,041 more")]
)
def test_the_first_names_are_told_and_how_many_more(many: int, said: str) -> None:
    """None beyond the third is named."""
    assert first_few([str(one) for one in range(many)]) == said
