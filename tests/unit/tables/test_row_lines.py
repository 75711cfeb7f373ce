"""Values of added rows are converted to the kinds of columns."""

import pytest

from pipeline.tables.cells import MAX_INTEGER
from pipeline.tables.row_lines import convert_value


def test_whole_numbers_have_the_range_of_64_bits() -> None:
    """An added row accepts the whole numbers that a column of a file may contain."""
    for number in (-MAX_INTEGER - 1, MAX_INTEGER):
        assert convert_value(str(number), "integer") == number
    for number in (-MAX_INTEGER - 2, MAX_INTEGER + 1):
        with pytest.raises(ValueError, match="at most 64 bits"):
            convert_value(str(number), "integer")
