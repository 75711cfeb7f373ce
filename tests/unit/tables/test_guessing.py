"""Which column is taken for the text and the key of any table, and what is said of it."""

import pytest

from pipeline.tables.read import SourceRow
from pipeline.workflows.new_task import guess_columns


def guessed(*rows: dict[str, str]) -> tuple[str, str, str | None]:
    """Return key, text and title that are guessed of rows of texts."""
    columns = dict.fromkeys(rows[0], "text")
    guess = guess_columns(columns, [SourceRow(number, row) for number, row in enumerate(rows, start=2)])
    return guess.key, guess.text, guess.beside


def test_a_name_of_a_text_wins_over_length() -> None:
    """But not over numbers; else the longest column is the text."""
    long, short = "It boils in three minutes and is easy to clean." * 2, "It boils in three minutes."
    assert guessed({"customer_review": short, "terms": long})[1] == "terms"
    assert guessed({"review": "ok", "terms": long})[1] == "review"
    assert guessed({"Bewertung": "4", "Freies": long})[1] == "Freies"


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("number", "ID", "note"), "ID"),
        (("orderId", "note"), "orderId"),
        (("name", "review_id", "note"), "review_id"),
        (("name", "note"), "name"),
        (("paid", "grid", "note"), "row"),
        (("extractor", "answered_at", "note"), "row"),
    ],
)
def test_a_key_is_called_like_one(names: tuple[str, ...], key: str) -> None:
    """The likeliest of them; what only ends like one by chance is none, and what our own columns are called either."""
    assert guessed(*({name: f"{name} {number}" for name in names} for number in range(3)))[0] == key


def test_a_key_is_in_every_row_and_in_none_twice() -> None:
    """The next that can be one is taken; where none can, all are told with what speaks against them."""
    rows = [{"id": "1", "code": "a", "note": "x"}, {"id": "1", "code": "b", "note": "y"}]
    assert guessed(*rows)[0] == "code"
    columns = dict.fromkeys(rows[0], "text")
    guess = guess_columns(columns, [SourceRow(2, rows[0]), SourceRow(3, {**rows[1], "code": " "})])
    said = "key: \"row\", a hash of each row, for 'id' has '1' twice, again in row 3; 'code' is blank in row 3"
    assert (guess.key, guess.notes[0]) == ("row", said)
