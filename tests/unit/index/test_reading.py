"""A search answers from one build, whose index file is the one faiss would have written."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InconsistentError
from pipeline.core.files import ReadHandle
from pipeline.index import vector_file
from pipeline.index.builds import Builds
from pipeline.index.manifest import content_hash
from pipeline.index.vectors import Vectors
from tests.unit.index.conftest import Make
from tests.unit.index.toy import DIM, entry, vectors_of

PEOPLE = [entry(number) for number in range(30)]


@pytest.mark.parametrize("vector", [np.ones(DIM + 1), np.ones(1), np.full(DIM, np.nan)])
def test_a_query_of_another_width_is_refused(make: Make, builds: Builds, vector: Vectors) -> None:
    """A vector that cannot be compared is refused, not silently wrong."""
    make(PEOPLE)
    with pytest.raises(InconsistentError, match="the index has 16"):
        builds.open().nearest(vector, 3)


def test_an_open_index_outlives_its_build(make: Make, builds: Builds) -> None:
    """A reader that opened a build answers from it after the build was promoted away and removed."""
    make(PEOPLE)
    index = builds.open()
    for _ in range(3):
        make(PEOPLE[:2])
    assert 1 not in builds.whole()
    _, rows = index.nearest(vectors_of([PEOPLE[17].text])[0], 1)
    assert [index.metadata_at(row)["id"] for row in rows.tolist()] == [17]


def test_the_build_knows_what_it_was_made_from(make: Make, builds: Builds) -> None:
    """For each id there is the hash its entry had, in vector order, and the row."""
    make(PEOPLE)
    wanted = {each.id: content_hash(each) for each in PEOPLE}
    with builds.open() as index:
        assert list(index.content_hashes().items()) == list(wanted.items())
        assert [index.entry_of(one) for one in wanted] == list(enumerate(wanted.values()))
        assert index.entry_of("no one") is None


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    """What faiss cannot read is an error of ours that names the file."""
    (tmp_path / "x").write_bytes(b"no index at all, but long enough for a header of some kind")
    with pytest.raises(InconsistentError, match="no index that faiss can read"):
        vector_file.open_vectors(ReadHandle(tmp_path / "x"))
