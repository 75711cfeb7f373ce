"""Engines for the tests: one fresh for each test, and one shared by the tests of a module."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.server import Server, start
from tests.integration.emulator.caller import Caller

_NUMBERS = itertools.count(1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Server]:
    """Return a running engine on an empty state."""
    with start(tmp_path) as server:
        yield server


@pytest.fixture
def caller(engine: Server) -> Iterator[Caller]:
    """Return a caller of the fresh engine."""
    with Caller(engine.url) as caller:
        yield caller


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return an engine that the tests of one module share."""
    with start(tmp_path_factory.mktemp("state")) as server:
        yield server


@pytest.fixture
def guest(shared_engine: Server) -> Iterator[Caller]:
    """Return a caller of the shared engine with a key of its own, the engine's faults and journal cleared."""
    with Caller(shared_engine.url, key=f"key-{next(_NUMBERS)}") as caller:
        caller.http.delete("/_emu/faults")
        caller.http.delete("/_emu/journal")
        yield caller
