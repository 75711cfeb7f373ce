"""The product's own engine, shared by the tests of a module."""

from collections.abc import Iterator

import pytest

from askrows.emulator.server import Server
from tests.integration.emulator.caller import Caller


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """Return a caller of an engine that a module shares."""
    with Server(tmp_path_factory.mktemp("state")) as server, Caller(server.url) as caller:
        yield caller
