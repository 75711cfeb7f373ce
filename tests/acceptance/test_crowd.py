"""Commands that run together and are killed at random lose nothing and ask nothing twice.

`make soak` runs the same for longer.
"""

from pathlib import Path

import pytest

from tests.acceptance.crowd import run_crowd


@pytest.mark.promise("parallel")
def test_killed_commands_lose_nothing(tmp_path: Path) -> None:
    """A few seconds of parallel commands, server failures and kills leave a complete workspace."""
    run_crowd(tmp_path, seed="a short one", seconds=4)
