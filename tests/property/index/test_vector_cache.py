"""Whatever happens to its file, the vector cache gives back right vectors or none."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import FindableError
from pipeline.index.vectors import MissingVectorError, VectorCache
from tests.unit.index.toy import DIM, cache_in, key_of, vectors_of

TEXTS = [f"text {number}" for number in range(6)]
KEYS = [key_of(text) for text in TEXTS]
NAMES = st.text(st.characters(codec=None), max_size=8)  # lone surrogates and NUL included


@contextmanager
def full_cache() -> Iterator[VectorCache]:
    """Give a cache that holds the vectors of TEXTS, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        cache = cache_in(Path(folder))
        cache.add(KEYS, vectors_of(TEXTS))
        yield cache


def spoil(cache: VectorCache, change: Callable[[bytes], bytes]) -> None:
    """Change the file of a cache."""
    assert cache.store.path is not None
    cache.store.path.write_bytes(change(cache.store.path.read_bytes()))


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@settings(max_examples=settings().max_examples // 2)
def test_a_changed_byte_never_gives_a_wrong_vector(place: float, mask: int) -> None:
    """Whatever single byte of the file is damaged: a vector is right, or it is missing, or the file is refused."""

    def change(data: bytes) -> bytes:
        """Change one byte."""
        at = int(place * len(data))
        return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]

    with full_cache() as cache:
        spoil(cache, change)
        for key, right in zip(KEYS, vectors_of(TEXTS), strict=True):
            try:
                found = cache.fetch([key])
            except FindableError:
                continue
            assert np.array_equal(found[0], right)


def test_a_damaged_vector_is_dropped_and_made_anew() -> None:
    """It counts as damaged, is missing once it was asked for, and another can be put in its place."""
    damaged = vectors_of(TEXTS)[2].tobytes()
    with full_cache() as cache:
        spoil(cache, lambda data: data.replace(damaged, bytes(4 * DIM)))
        assert (cache.damaged(), cache.missing(KEYS)) == ([KEYS[2]], [])
        with pytest.raises(MissingVectorError, match="position 2"):
            cache.fetch(KEYS)
        assert (cache.damaged(), cache.missing(KEYS)) == ([], [2])
        cache.add(KEYS, vectors_of(TEXTS))
        assert np.array_equal(cache.fetch(KEYS), vectors_of(TEXTS))
