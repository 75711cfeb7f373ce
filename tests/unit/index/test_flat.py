"""The index file that is streamed is the one faiss would have written."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.index import flat_file
from tests.unit.index.toy import DIM, vectors_of

ROWS = vectors_of([f"row {number}" for number in range(2500)])
BLOCKS = [ROWS[:1000], ROWS[1000:1001], ROWS[1001:]]


def written_by_faiss(path: Path) -> bytes:
    """Return the bytes of faiss's own file of ROWS."""
    index = faiss.IndexFlatIP(DIM)
    index.add(ROWS)
    faiss.write_index(index, str(path))
    return path.read_bytes()


def test_another_header_falls_back_to_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should faiss change its format, faiss itself writes the file, and reading in blocks goes on working."""
    monkeypatch.setattr(flat_file, "flat_header", lambda *, count, dim: b"older" + bytes([count % 256, dim]))
    flat_file.write_flat(tmp_path / "ours", BLOCKS, count=2500, dim=DIM)
    assert (tmp_path / "ours").read_bytes() == written_by_faiss(tmp_path / "theirs")
    blocks = [each.copy() for each in flat_file.read_flat_blocks(ReadHandle(tmp_path / "ours"), count=2500, dim=DIM)]
    assert np.array_equal(np.concatenate(blocks), ROWS)


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    """What faiss cannot read is an error of ours that names the file."""
    (tmp_path / "x").write_bytes(b"no index at all, but long enough for a header of some kind")
    with pytest.raises(InconsistentError, match="no index that faiss can read"):
        flat_file.open_flat(ReadHandle(tmp_path / "x"))


def test_reading_past_the_end_is_an_error(tmp_path: Path) -> None:
    """A short file is never padded."""
    (tmp_path / "x").write_bytes(b"12345")
    handle = ReadHandle(tmp_path / "x")
    assert handle.read(2, 3) == b"45"
    with pytest.raises(InconsistentError, match="ends after 5 bytes, before 6"):
        handle.read(3, 3)
