"""Whatever happens to its file, the vector cache gives back right vectors or none."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

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


class CacheMachine(RuleBasedStateMachine):
    """Two processes' views of one file, against a set of the texts that should be there."""

    def __init__(self) -> None:
        """Start with an empty folder and two views of it."""
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.views = [cache_in(Path(self.folder.name)) for _ in range(2)]
        self.there: set[str] = set()

    @rule(view=st.integers(0, 1), texts=st.lists(st.sampled_from(TEXTS)))
    def add(self, view: int, texts: list[str]) -> None:
        """One view adds texts, known and new, once and twice."""
        self.views[view].add([key_of(text) for text in texts], vectors_of(texts))
        self.there |= set(texts)

    @rule(view=st.integers(0, 1), texts=st.lists(st.sampled_from(TEXTS)))
    def retain(self, view: int, texts: list[str]) -> None:
        """One view keeps some texts alone, and is told how many went."""
        assert self.views[view].retain([key_of(text) for text in texts]) == len(self.there - set(texts))
        self.there &= set(texts)

    @rule(view=st.integers(0, 1))
    def reopen(self, view: int) -> None:
        """One process ends and another begins."""
        self.views[view] = cache_in(Path(self.folder.name))

    @invariant()
    def both_views_agree(self) -> None:
        """Both views miss the same and read the right vectors of the rest."""
        present = [text for text in TEXTS if text in self.there]
        for cache in self.views:
            assert {TEXTS[position] for position in cache.missing(KEYS)} == set(TEXTS) - self.there
            assert np.array_equal(cache.fetch([key_of(text) for text in present]), vectors_of(present))
            assert cache.damaged() == []

    def teardown(self) -> None:
        """Remove the folder."""
        self.folder.cleanup()


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=25, stateful_step_count=15)
