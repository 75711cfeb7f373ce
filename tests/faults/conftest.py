"""Fixtures of the fault matrix: the workspaces that cells copy."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.faults import ground
from tests.faults.ground import Ground
from tests.lab import Api, Workspace


@dataclass
class Forge:
    """What cells copy, made when first asked for: by then the user's own settings are out of the way."""

    api: Api
    root: Path

    @cached_property
    def populated(self) -> Workspace:
        """A workspace with people who were not asked about yet."""
        return ground.populated(self.root / "populated", self.api.url)

    @cached_property
    def indexed(self) -> Workspace:
        """A workspace whose people are tagged and indexed."""
        return ground.indexed(self.root / "indexed", self.api.url)


@pytest.fixture(scope="session", name="forge")
def _forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """One for every cell of this process."""
    with Api(tmp_path_factory.mktemp("matrix-api")) as engine:
        yield Forge(engine, tmp_path_factory.mktemp("forge"))


@pytest.fixture(name="asking")
def _asking(forge: Forge, tmp_path: Path) -> Iterator[Ground]:
    """A cell's ground with people to ask about."""
    yield from ground.standing(forge.populated, tmp_path)


@pytest.fixture(name="serving")
def _serving(forge: Forge, tmp_path: Path) -> Iterator[Ground]:
    """A cell's ground with an index in service."""
    yield from ground.standing(forge.indexed, tmp_path)
