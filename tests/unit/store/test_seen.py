"""Numbers that come again are known, whether a set or a file holds them."""

import pytest

from pipeline.store import seen
from pipeline.store.seen import SeenNumbers


@pytest.mark.parametrize("few", [0, 2, 9])
def test_a_number_is_new_once(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are in memory."""
    monkeypatch.setattr(seen, "FEW", few)
    with SeenNumbers() as known:
        assert [known.is_new(number) for number in (7, 1, 7, 2**62, 3, 3, 2**62, 1, 4)] == [
            *(True, True, False, True, True, False, False, False, True)
        ]
