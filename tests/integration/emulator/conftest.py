"""The product's own engine for the tests: one for all of a module."""

from collections.abc import Iterator

import pytest

from emulator.server import Server
from tests.integration.emulator.caller import Caller


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """Return a caller of an engine that the tests of one module share."""
    with Server(tmp_path_factory.mktemp("state")) as server, Caller(server.url) as caller:
        yield caller
