"""What the tests of the yardstick share: the workspace of the version before, opened, and the API that it speaks to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.server import start
from tests.lab import Api, Workspace
from tests.yardstick.opened import Kept, opened


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """The workspace on the gemini backend as the version before left it, an hour ago."""
    return opened("gemini", tmp_path)


@pytest.fixture
def api(kept: Kept) -> Iterator[Api]:
    """The API as the version before left it."""
    with start(kept.engine, settings={"batch_looks": 1}) as server:
        yield Api(server)


@pytest.fixture
def before(kept: Kept, api: Api) -> Workspace:
    """That workspace, on that API."""
    return kept.workspace(api.url)


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """The workspace on the local backend as the version before left it."""
    return opened("local", tmp_path).workspace()
