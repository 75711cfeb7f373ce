"""Killed at any moment, side by side with others, or on a full disk: the index in service is whole and verified."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.index.vector_file import HEADER_BYTES
from tests.crash.index_children import COUNT, cache_of, check, make, text_of
from tests.unit.index.toy import DIM, key_of, vectors_of

pytestmark = pytest.mark.sqlite_only("no database takes part")

ROOT = Path(__file__).parents[2]
LONGEST_S = 1000.0  # to end a hang; on a busy machine a child takes minutes
RECORD = 32 + 4 * DIM + 4
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # so that the child may fork


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    """Start one of the children's programs."""
    command = [sys.executable, "-m", "tests.crash.index_children", name, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=ONE_THREAD, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(child: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a child and return its exit status and what it printed, errors included."""
    out, err = child.communicate(timeout=LONGEST_S)
    return child.returncode, (out + err).strip()


@pytest.mark.sampled(1, sqlite=2)
@pytest.mark.parametrize("extra", [1, RECORD - 1, RECORD + 40, 5 * RECORD - 1])
def test_killed_in_the_middle_of_an_append(tmp_path: Path, extra: int) -> None:
    """A process killed by the system inside its write loses the records it had not written, and nothing else."""
    make(tmp_path, 1)
    cache = cache_of(tmp_path)
    size = cache.path.stat().st_size
    status, _ = finish(start("die_while_appending", tmp_path, size + extra))
    assert status == -signal.SIGXFSZ
    assert cache.path.stat().st_size == size + extra
    keys = [key_of(text_of(2, row)) for row in range(COUNT)]
    assert cache.missing(keys) == list(range(extra // RECORD, COUNT))
    make(tmp_path, 2)
    assert check(tmp_path) == 2
    assert (cache.damaged, cache.path.stat().st_size) == ([], HEADER_BYTES + (2 * COUNT + 1) * RECORD)


def test_a_full_disk_leaves_the_cache_as_it_was(tmp_path: Path) -> None:
    """An append that fails half way is taken back to the byte."""
    make(tmp_path, 1)
    before = cache_of(tmp_path).path.read_bytes()
    assert finish(start("fill_the_disk", tmp_path, len(before) + RECORD + 7)) == (0, "File too large")
    assert cache_of(tmp_path).path.read_bytes() == before


def test_writers_side_by_side_lose_nothing(tmp_path: Path) -> None:
    """Three processes that add overlapping vectors and rewrite the file leave each vector once, all of them right."""
    children = [start("add_many", tmp_path, first) for first in (0, 100, 200)]
    assert [finish(child) for child in children] == [(0, "")] * 3
    texts = [f"text {number}" for number in range(400)]
    cache = cache_of(tmp_path)
    assert np.array_equal(cache.fetch([key_of(text) for text in texts]), vectors_of(texts))
    assert (len(cache), cache.damaged) == (401, [])
