"""What all peers read: the result lines of the one batch of a workspace, and the answer that is asked for.

Needs nothing but pydantic, for each peer runs in an environment of its own.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tests.bench.measure import Said

SOME = 200  # lines read before the time counts, so that what a library does once is not measured
TORN = b'{"response": {"candidates": [{"content"'


class Tags(BaseModel):
    """The answer, as a user of any of these libraries would write it."""

    model_config = ConfigDict(extra="forbid")
    tags: list[str] = Field(min_length=1, max_length=10)


def result(data: Path) -> Path:
    """Return the path of the downloaded result, a line a request, as the Gemini API writes it."""
    (path,) = data.glob("batches/*-results.jsonl")
    return path


def some(data: Path) -> Path:
    """Return the path of a file with the first lines of the result."""
    path = data / "some.jsonl"
    path.write_bytes(b"".join(result(data).read_bytes().splitlines(keepends=True)[:SOME]))
    return path


def torn(data: Path) -> Path:
    """Return the path of a file with the first lines of the result, the last of them cut as by a full disk."""
    path = data / "torn.jsonl"
    path.write_bytes(some(data).read_bytes() + TORN)
    return path


def told(count: int, kept: int, refused: int | str, of_torn: int | str) -> Said:
    """Return what became of the lines: how many were there, kept as answers, refused, and kept of a torn file.

    An error's name stands where such a line ends its reading.
    """
    return {"lines": count, "kept": kept, "refused": refused, "torn": of_torn}
