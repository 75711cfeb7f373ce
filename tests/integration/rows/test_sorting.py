"""SORT= orders the numbers in a column of texts by their size, as WHERE= compares them."""

from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Workspace

PRICES = {"a": "94.5", "b": "426", "c": "", "d": "09", "e": "on request", "f": "-3", "g": "1e2"}


def _list_keys(workspace: Workspace, **values: str) -> str:
    """Return the ids of all rows, read in pages of two rows."""
    keys = ""
    while True:
        values |= {"AFTER": keys[-1]} if keys else {}
        listing = workspace.ran("items", FIELDS="id", LIMIT="2", **values)
        keys += "".join(line.split()[0] for line in listing.stdout.splitlines()[1:])
        if "next page" not in listing.stderr:
            return keys


@pytest.mark.full
def test_numbers_in_a_column_of_texts_are_sorted_by_size(workspace: Workspace) -> None:
    """Texts that are no numbers come before all numbers; the pages of a list agree."""
    reviews.set_up_task(workspace)
    lines = [f"{key},Fine.,{price}" for key, price in PRICES.items()]
    Path("tasks", "reviews.csv").write_text("\n".join(["id,text,price", *lines]), encoding="utf-8")
    workspace.ran("tag-live")
    assert _list_keys(workspace, WHERE="price > 90", SORT="price") == "agb"
    assert _list_keys(workspace, SORT="price") == "cefdagb"
    assert _list_keys(workspace, SORT="-price") == "bgadfec"
