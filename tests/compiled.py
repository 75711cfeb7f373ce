"""What one command works out is not worked out again by the many that one process of tests runs.

The versions of the libraries, which `doctor` reads from fifty files, do not change.
"""

from functools import lru_cache
from importlib import metadata

from pipeline.store.compiled import COMPILED


def share() -> None:
    """Let all commands of this process share it, from here on."""
    COMPILED.capacity = 2000  # tests have many tasks
    metadata.version = lru_cache(metadata.version)
