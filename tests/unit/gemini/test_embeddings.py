"""Vectors become rows of unit length, or an error."""

import numpy as np
import pytest

from pipeline.gemini.embeddings import unit_rows


def test_rows_are_unit_length_float32_in_order() -> None:
    """Rows keep their order, are float32 and of unit length, whatever the size of their numbers."""
    rows = unit_rows([[3.0, 4.0], [1e300, 0.0], [0.0, 5e-324]], count=3, dim=2)
    assert rows.dtype == np.float32
    assert np.allclose(rows, [[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        ([], "1 texts gave 0 vectors"),
        ([[1.0, 2.0], [1.0, 2.0]], "1 texts gave 2 vectors"),
        ([[1.0]], "1 numbers instead of 2"),
        ([None], "0 numbers instead of 2"),
        ([[0.0, 0.0]], "is zero"),
        ([[float("nan"), 1.0]], "no finite number"),
        ([[float("-inf"), 1.0]], "no finite number"),
    ],
)
def test_anything_else_is_an_error(vectors: list[object], says: str) -> None:
    """Wrong counts and widths, zeros, and what is no finite number raise and say which."""
    with pytest.raises(ValueError, match=says):
        unit_rows(vectors, count=1, dim=2)
