"""The calls file of a live batch counts exactly the calls that may be paid for."""

from pathlib import Path
from unittest.mock import sentinel

from askrows.pipeline.batch.batch_files import CALLS_SUFFIX, OpenLiveBatch


def test_unpaid_call_leaves_the_calls_file_at_once(tmp_path: Path) -> None:
    """A process that is killed after refusals has counted only its other calls."""
    path = tmp_path / "000001-results.asked"
    open_batch = OpenLiveBatch(number=1, open_requests=3, lock=sentinel.lock, path=path)
    for _ in range(3):
        open_batch.record_calls()
    open_batch.record_calls(-1)
    open_batch.record_calls(-1)
    open_batch.close()
    assert path.with_suffix(CALLS_SUFFIX).stat().st_size == 1
