"""The vector cache keeps what it was given, and only that."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InconsistentError
from pipeline.index.cache import VectorCache, vector_key
from pipeline.index.vector_file import HEADER_BYTES
from tests.unit.index.toy import DIM, MODEL, key_of, vectors_of

TEXTS = [f"text {number}" for number in range(10)]
KEYS = [key_of(text) for text in TEXTS]
RECORD = 32 + 4 * DIM + 4


def reopened(cache: VectorCache) -> VectorCache:
    """Return the same cache as another process would see it."""
    return VectorCache(cache.path.parent, model=cache.model, dim=cache.dim)


@pytest.fixture
def full(cache: VectorCache) -> VectorCache:
    """Return a cache that holds the vectors of TEXTS."""
    cache.add(KEYS, vectors_of(TEXTS))
    return cache


def flip_byte(path: Path, offset: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def test_key_is_pinned() -> None:
    """The key of a text never changes: caches written by earlier versions stay good."""
    expected = "c28f677e289dbc4af91a077cf9f0eeb6f3fa4b74ceae5d7d4f34a6a535612703"
    assert vector_key("A ü", model="m", dim=768, task_type="T").hex() == expected


def test_nothing_is_there_before_the_first_add(cache: VectorCache) -> None:
    """An empty cache misses everything and needs no file; to fetch what is absent is an error that says what to do."""
    assert cache.missing(KEYS) == list(range(10))
    assert cache.fetch([]).shape == (0, DIM)
    assert cache.forget(KEYS) == 0
    assert not cache.path.exists()
    cache.add(KEYS[:1], vectors_of(TEXTS[:1]))
    assert MODEL.encode() in cache.path.read_bytes()[:HEADER_BYTES]  # whose vectors a file holds can be told
    with pytest.raises(InconsistentError, match="position 1") as caught:
        cache.fetch(KEYS[:2])
    assert "make index" in caught.value.hint


def test_a_row_that_is_no_unit_vector_is_refused(full: VectorCache) -> None:
    """One bad row refuses the whole call, says which, and leaves the file as it was; so do other widths and counts."""
    before = full.path.read_bytes()
    keys, rows = [key_of("a"), key_of("b")], vectors_of(["a", "b"])
    for wrong in (np.nan, np.inf, 0.0, 2.0):
        rows[1] = wrong
        with pytest.raises(InconsistentError, match="first row 1"):
            full.add(keys, rows)
    with pytest.raises(InconsistentError, match=r"shape \(1, 8\), expected \(n, 16\)"):
        full.add(keys[:1], np.eye(1, 8, dtype=np.float32))
    with pytest.raises(ValueError, match="2 keys for 1 vectors"):
        full.add(keys, rows[:1])
    with pytest.raises(ValueError, match="32 bytes"):
        full.missing([b"short"])
    assert full.path.read_bytes() == before


def test_a_damaged_record_gives_way_to_its_successor(cache: VectorCache) -> None:
    """Damage that is met on the way, in the middle of many, leaves a newer record of that key to be found."""
    numbers = list(range(1500))
    keys = [number.to_bytes(2, "big") * 16 for number in numbers]
    rows = np.eye(DIM, dtype=np.float32)[[number % DIM for number in numbers]]
    cache.add(keys, rows)
    flip_byte(cache.path, HEADER_BYTES + 700 * RECORD + 40)
    mending = reopened(cache)
    assert mending.missing(keys[690:710]) == [10]
    mending.add(keys[700:701], rows[700:701])
    assert (len(mending), mending.damaged) == (1500, [700])
    for start in (0, 650, 699):
        assert np.array_equal(reopened(cache).fetch(keys[start:]), rows[start:])
    assert mending.retain(keys[:1000]) == 501
    assert np.array_equal(mending.fetch(keys[:1000]), rows[:1000])
    assert mending.damaged == []


def test_forgotten_vectors_are_gone_from_the_disk(full: VectorCache) -> None:
    """The bytes of a forgotten vector are in no file, the others stay, and a reader from before sees it."""
    other = reopened(full)
    assert len(other) == 10
    vector = vectors_of(TEXTS[2:3]).tobytes()
    assert vector in full.path.read_bytes()
    assert full.forget([KEYS[2], KEYS[2], key_of("never there")]) == 1
    assert vector not in full.path.read_bytes()
    assert other.missing(KEYS) == [2]
    assert np.array_equal(other.fetch(KEYS[3:]), vectors_of(TEXTS[3:]))


def test_a_foreign_file_is_refused_and_kept(full: VectorCache) -> None:
    """A file with another header is not read and not written over."""
    flip_byte(full.path, 0)
    before = full.path.read_bytes()
    with pytest.raises(InconsistentError, match="does not hold vectors of 'toy-embedding', 16 wide"):
        reopened(full).add([key_of("a")], vectors_of(["a"]))
    assert full.path.read_bytes() == before


def test_models_and_widths_have_files_of_their_own(tmp_path: Path) -> None:
    """Models whose names differ only in what a path cannot hold never share a file, and none leaves the folder."""
    names = ["models/a", "models-a", "../models/a", "models\\a"]
    caches = [VectorCache(tmp_path, model=name, dim=dim) for name in names for dim in (8, 16)]
    assert len({cache.path for cache in caches}) == 8
    assert all(cache.path.parent == tmp_path for cache in caches)


@pytest.mark.parametrize(("model", "dim"), [("m", 0), ("m" * 300, 8)])
def test_a_model_that_fits_no_header_is_a_mistake(tmp_path: Path, model: str, dim: int) -> None:
    """A width of nothing and a name of 300 bytes are refused before a file is made."""
    with pytest.raises(ValueError, match="no vectors of width"):
        VectorCache(tmp_path, model=model, dim=dim)
