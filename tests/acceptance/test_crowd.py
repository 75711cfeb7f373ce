"""A crowd of commands, killed at random, loses nothing and asks nothing twice; `make soak` goes on for longer."""

from pathlib import Path

from tests.acceptance.crowd import lived


def test_a_crowd_loses_nothing(tmp_path: Path) -> None:
    """A few seconds of four at once, of a server that fails, and of kills; then all is brought to its end."""
    lived(tmp_path, seed="a short one", seconds=4)
