"""What the crash tests share: the program that runs mortal commands."""

import sys
from collections.abc import Iterator

import pytest

from tests.crash.program import Mortal


@pytest.fixture(scope="session")
def mortal() -> Iterator[Mortal]:
    """The program that runs mortal commands."""
    if sys.platform != "linux":
        pytest.skip("DEATHS ARE NOT TESTED HERE: they need fork and /proc as Linux has them")
    with Mortal() as program:
        yield program
