"""Vectors become rows of unit length, or an error."""

import numpy as np

from pipeline.gemini.embed import unit_rows


def test_rows_are_unit_length_float32_in_order() -> None:
    """Rows keep their order, are float32 and of unit length, whatever the size of their numbers."""
    rows = unit_rows([[3.0, 4.0], [1e300, 0.0], [0.0, 5e-324]], count=3, dim=2)
    assert rows.dtype == np.float32
    assert np.allclose(rows, [[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
