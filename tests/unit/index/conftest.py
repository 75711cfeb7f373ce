"""Provide the cache and the builds of a workspace, and functions to stage and promote builds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from askrows.pipeline.core.ranking import Entry
from askrows.pipeline.index.builds import Builds
from askrows.pipeline.index.manifest import Manifest, StagedBuild
from askrows.pipeline.index.vector_cache import VectorCache
from askrows.pipeline.index.write import verify_and_mark_build
from tests.unit.index.toy import cache_in, written


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    """Return an empty cache of the toy model."""
    return cache_in(tmp_path)


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    """Return the builds of an empty workspace."""
    return Builds(tmp_path)


Stage = Callable[..., StagedBuild]
Make = Callable[..., Manifest]


@pytest.fixture
def stage(builds: Builds, cache: VectorCache) -> Iterator[Stage]:
    """Return a function that stages entries at a position, their vectors cached first."""

    def run(entries: Sequence[Entry], *, position: int = 1) -> StagedBuild:
        """Stage the entries under the next number."""
        return written(builds, cache, entries, stack, position=position)

    with ExitStack() as stack:
        yield run


@pytest.fixture
def make(builds: Builds, stage: Stage) -> Make:
    """Return a function that stages, verifies and promotes entries."""

    def run(entries: Sequence[Entry], *, position: int = 1) -> Manifest:
        """Put the entries in service."""
        staged = stage(entries, position=position)
        verify_and_mark_build(staged, count=len(entries))
        builds.promote_and_list_moved_files(staged, record_promotion=str)
        return staged.manifest

    return run
