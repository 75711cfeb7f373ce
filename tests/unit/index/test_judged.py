"""Measures and rankings match manual calculations, and any input file is read or refused."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.index.evaluate import (
    JudgedQuery,
    check_measures_installed,
    compute_mean_and_95_percent_interval,
    compute_measures,
    read_distinct_queries,
    read_grades,
)

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)
PIECES = st.sampled_from(['{"qid": "q1"', '"text": 7', "q1 0 a 1", "\0", "\n", "\ufeff", "}"])
BYTES = st.binary(max_size=60) | st.lists(PIECES).map(lambda pieces: "".join(pieces).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BYTES)
def test_any_file_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    """A refused file raises an InputError that names the file."""
    for name, read in (("q.jsonl", read_distinct_queries), ("j.tsv", read_grades)):
        (tmp_path / name).write_bytes(data)
        try:
            read(tmp_path / name)
        except InputError as error:
            assert name in str(error)  # noqa: PT017 - it may be read as well


def test_measures_by_hand() -> None:
    """Gains are grades, and a question without a ranking scores zero."""
    grades = {"q1": {"a": 1, "b": 1, "c": 2, "z": 0}, "q2": {"a": 1}}
    questions = [JudgedQuery(qid=qid, text=qid) for qid in ("q2", "q1")]
    measures = compute_measures(questions, grades, [[], ["x", "c", "a"]])
    gain = (2 / math.log2(3) + 1 / 2) / (2 + 1 / math.log2(3) + 1 / 2)
    expected_means = {"nDCG@10": gain, "MRR": 1 / 2, "P@5": 2 / 5, "R@10": 2 / 3}
    assert {name: values.tolist() for name, values in measures.items()} == {
        name: [0, pytest.approx(value)] for name, value in expected_means.items()
    }


@pytest.mark.parametrize("library", ["ir_measures", "pytrec_eval"])
def test_missing_measures_name_their_extra(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """If a library of the measures is missing, the error says what to install."""
    for name in [name for name in sys.modules if name.startswith("ir_measures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError, match="nothing was measured") as caught:
        check_measures_installed()
    assert "EXTRAS=eval" in str(caught.value.hint)


@given(VALUES)
def test_interval_contains_its_mean(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> None:
    """The interval is reproducible, and is only the mean if all values are equal."""
    mean, low, high = compute_mean_and_95_percent_interval(values)
    assert low - 1e-9 <= mean <= high + 1e-9
    assert (mean, low, high) == compute_mean_and_95_percent_interval(values)
    assert compute_mean_and_95_percent_interval(0 * values) == (0, 0, 0)
