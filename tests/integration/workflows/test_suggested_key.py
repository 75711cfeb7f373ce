"""If the key that a person chose has a fault, the note names another column that has none."""

import pytest

from pipeline.engine.task_template import ColumnChoice
from pipeline.tables.row_findings import SourceRow
from pipeline.workflows.column_guesses import guess_key_and_content

KINDS = {"id": "integer", "group": "text", "sku": "text", "text": "text"}
TEXTS = ("The lid burned my hand.", "Warm light.", "It broke.", "Solid oak.", "Too loud.")


@pytest.mark.parametrize(
    ("ids", "skus", "note"),
    [
        ((1, None, 3, 4, 5), "abcde", "is blank on line 3, and such rows are refused; KEY=sku has"),
        (
            (1, 1, 3, 4, 5),
            "abcde",
            "has '1' twice, again on line 3, and such rows are refused; KEY",
        ),
        ((1, None, 3, 4, 5), "abcda", "is blank on line 3, and such rows are refused"),
        ((1, None, 3, 4, 5), "abc e", "is blank on line 3, and such rows are refused"),
        ((1, 2, 3, 4, 5), "abcde", "key column: id (named by KEY=)"),
    ],
)
def test_another_key_is_named(ids: tuple[int | None, ...], skus: str, note: str) -> None:
    """A suggested column has a value in every row and no value twice, and is not the text."""
    rows = [
        SourceRow(line, {"id": row_id, "group": "one", "sku": sku.strip(), "text": text})
        for line, (row_id, sku, text) in enumerate(zip(ids, skus, TEXTS, strict=True), start=2)
    ]
    key_note = guess_key_and_content(KINDS, rows, ColumnChoice(key="id")).notes[0]
    if note.endswith(("KEY", "has")):
        assert note in key_note
    else:
        assert key_note.endswith(note)
