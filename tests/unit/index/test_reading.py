"""A search answers from one build, in the order of similarity."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InconsistentError
from pipeline.index.builds import Builds
from pipeline.index.manifest import content_hash
from pipeline.index.vector_file import Vectors
from tests.unit.index.conftest import Make
from tests.unit.index.toy import DIM, entry, vectors_of

PEOPLE = [entry(number) for number in range(30)]


def test_an_entry_finds_itself_first(make: Make, builds: Builds) -> None:
    """The query's own row is the first hit, with its metadata and a similarity of 1."""
    make(PEOPLE)
    hits = builds.open().search(vectors_of([PEOPLE[17].text])[0], 3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].metadata == PEOPLE[17].metadata
    assert hits[0].similarity == pytest.approx(1.0, abs=1e-6)
    assert hits[0].similarity > hits[1].similarity >= hits[2].similarity


def test_more_than_there_are_gives_all(make: Make, builds: Builds) -> None:
    """Asking for more than the build holds gives all of it, asking for none gives none."""
    make(PEOPLE)
    index = builds.open()
    assert len(index) == 30
    found = [hit.metadata["id"] for hit in index.search(vectors_of(["anything"])[0], 99)]
    assert sorted(found) == list(range(30))
    assert index.search(vectors_of(["anything"])[0], 0) == []


@pytest.mark.parametrize("k", [1, 3, 7, 120])
def test_equal_similarities_come_in_vector_order(make: Make, builds: Builds, k: int) -> None:
    """Where more are equal than there is room for, the first of the build are taken."""
    make([entry(number, "the same") for number in range(300)])
    hits = builds.open().search(vectors_of(["the same"])[0], k)
    assert [hit.metadata["id"] for hit in hits] == list(range(k))


def test_ties_at_the_last_place_are_cut_in_vector_order(make: Make, builds: Builds) -> None:
    """Among five texts strewn over 600 entries, every cut through a group of equals takes the group's first rows."""
    texts = [f"text {number}" for number in np.random.default_rng(7).integers(0, 5, 600)]
    make([entry(row, text) for row, text in enumerate(texts)])
    index, query = builds.open(), vectors_of(["query"])[0]
    similarity = {text: float(vectors_of([text])[0] @ query) for text in set(texts)}
    expected = sorted(range(600), key=lambda row: (-similarity[texts[row]], row))
    for k in range(1, 600, 7):
        assert [hit.metadata["id"] for hit in index.search(query, k)] == expected[:k]


@pytest.mark.parametrize("vector", [np.ones(DIM + 1), np.ones(1), np.full(DIM, np.nan)])
def test_a_query_of_another_width_is_refused(make: Make, builds: Builds, vector: Vectors) -> None:
    """A vector that cannot be compared is refused, not silently wrong."""
    make(PEOPLE)
    with pytest.raises(InconsistentError, match="the index has 16"):
        builds.open().search(vector, 3)


def test_an_open_index_outlives_its_build(make: Make, builds: Builds) -> None:
    """A reader that opened a build answers from it after the build was promoted away and removed."""
    make(PEOPLE)
    index = builds.open()
    for _ in range(3):
        make(PEOPLE[:2])
    assert 1 not in builds.numbers()
    assert [hit.metadata["id"] for hit in index.search(vectors_of([PEOPLE[17].text])[0], 1)] == [17]


def test_the_build_knows_what_it_was_made_from(make: Make, builds: Builds) -> None:
    """For each id there is the hash its entry had, in vector order."""
    make(PEOPLE)
    with builds.open() as index:
        assert list(index.content_hashes().items()) == [(each.id, content_hash(each)) for each in PEOPLE]


def test_damaged_metadata_is_an_error_of_ours(tmp_path: Path, make: Make, builds: Builds) -> None:
    """A hit whose metadata cannot be read is reported with its file and row."""
    make(PEOPLE)
    path = tmp_path / "index/builds/1/metadata.json"
    path.write_bytes(b"#" * path.stat().st_size)
    with pytest.raises(InconsistentError, match=r"metadata\.json is damaged at row 3"):
        builds.open().search(vectors_of([PEOPLE[3].text])[0], 1)
