"""`items` finds words in the values of answers only."""

import json
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Workspace


@pytest.mark.full
def test_words_are_found_in_values_only(workspace: Workspace) -> None:
    """A word occurs in a quotation's text or a value, not in its offsets or a member's name."""
    reviews.set_up_task(workspace).ran_each(*reviews.BY_BATCH)
    quotation = {"start": 7001, "end": 7044, "quote": 'Warm "start": 81', "likeness": 0.93}
    answer = {"praise": ["Sturdy", "kein Lärm", "STRASSE"], "quote": quotation, "stars": 4}
    workspace.change(
        "UPDATE askrows_answers SET answer = :answer WHERE row_id = '2'",
        answer=json.dumps(answer),
    )

    def find(word: str) -> list[str]:
        """Return the keys of the rows in which a word occurs."""
        document: dict[str, Any] = json.loads(workspace.ran("items", word, "--json").stdout)
        return [row["id"] for row in document["rows"]]

    assert all("2" in find(word) for word in ("warm", "81", "sturdy", "lärm", "straße", "4"))
    absent_words = ("7001", "7044", "93", "likeness", "quote", "praise")
    assert [word for word in absent_words if "2" in find(word)] == []
