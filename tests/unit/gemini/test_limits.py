"""When a request file is full."""

import pytest

from pipeline.gemini.limits import MAX_FILE_BYTES, Shard


def test_each_limit_closes_the_file() -> None:
    """Rows, bytes and tokens each close a file by themselves, at their number and not before."""
    shard = Shard(max_rows=2, max_bytes=100, max_tokens=50)
    shard.add(size=40, tokens=20)
    assert shard.has_room(size=60, tokens=30)
    assert not shard.has_room(size=61, tokens=1)
    assert not shard.has_room(size=1, tokens=31)
    shard.add(size=1, tokens=1)
    assert not shard.has_room(size=1, tokens=1)
    assert (shard.rows, shard.size, shard.tokens) == (2, 41, 21)


def test_empty_file_takes_any_line_google_takes() -> None:
    """A line larger than our own limits gets a file of its own; one larger than Google's gets none."""
    shard = Shard(max_rows=2, max_bytes=100, max_tokens=50)
    assert shard.has_room(size=1000, tokens=1000)
    assert not shard.has_room(size=MAX_FILE_BYTES + 1, tokens=1)


def test_google_s_limit_cannot_be_raised() -> None:
    """A setting above 2 GB is brought down to it, and one below 1 is refused."""
    assert Shard(max_bytes=10**12).max_bytes == MAX_FILE_BYTES
    with pytest.raises(ValueError, match="1 or more"):
        Shard(max_rows=0)
