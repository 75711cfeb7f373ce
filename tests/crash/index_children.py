"""Programs that the index's crash tests start as processes of their own, to kill them or to run them side by side."""

import resource
import signal
import sys
from pathlib import Path

from pipeline.core.ranking import Ranking
from pipeline.core.task import Entry
from pipeline.index.builds import Builds
from pipeline.index.cache import VectorCache
from pipeline.index.copying import pages_of
from pipeline.index.fusion import rank_entries
from tests.unit.index.toy import DIM, MODEL, key_of, vectors_of

COUNT = 5  # rows of a build that are its own; one more is in all


def cache_of(data_dir: Path) -> VectorCache:
    """Return the toy model's cache of a workspace."""
    return VectorCache(data_dir / "index" / "vectors", model=MODEL, dim=DIM)


def text_of(number: int, row: int) -> str:
    """Return the text of one row of one build; no two builds share a text, but for that of the last row."""
    return f"build {number if row < COUNT else 0} row {row}, {word_of(number, row)}"


def word_of(number: int, row: int) -> str:
    """Return the word by which one row of one build is found."""
    return f"r{row}b{number if row < COUNT else 0}"


def metadata_of(number: int, row: int) -> dict[str, object]:
    """Return the metadata of one row of one build; no two builds have entries of the same length but for the last."""
    return {"id": row, "build": number, "Bio": "x" * number} if row < COUNT else {"id": row, "Bio": "the same"}


def make(data_dir: Path, position: int) -> None:
    """Do all that `make index` does here: sweep, embed, stage, verify, promote; the last row is copied."""
    builds, cache = Builds(data_dir), cache_of(data_dir)
    builds.sweep()
    number = builds.next_number()
    texts = [text_of(number, row) for row in range(COUNT + 1)]
    entries = [Entry(str(row), text, metadata_of(number, row)) for row, text in enumerate(texts)]
    keys = [key_of(text) for text in texts]
    cache.add(keys, vectors_of(texts))
    before = builds.before(model=MODEL, dim=DIM, ranking=Ranking())
    pages = pages_of(zip(entries, keys, strict=True), before)
    begun = builds.begin(number, pages, position=position, before=before)
    staged = builds.complete(begun, cache, task_type="T")
    builds.verify(staged, count=COUNT + 1)
    builds.promote(staged)


def check(data_dir: Path) -> int:
    """Return the number of the build in service, after every row of it was found by its vector and by its word."""
    index = Builds(data_dir).open()
    number = index.manifest.number
    for row in range(COUNT + 1):
        (hit,) = index.search(vectors_of([text_of(number, row)])[0], 1)
        if hit.metadata != metadata_of(number, row) or hit.similarity < 1 - 1e-5:
            raise AssertionError(f"build {number}, row {row}: found {hit}")
        if rank_entries(index, terms=[word_of(number, row)], vector=None, k=COUNT + 1).rows.tolist() != [row]:
            raise AssertionError(f"build {number}, row {row}: not found by its word")
    return number


def die_while_appending(data_dir: Path, size: int) -> None:
    """Add five vectors and be killed by the system at the moment the cache file reaches `size` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _fill_up_to(data_dir, size)


def fill_the_disk(data_dir: Path, size: int) -> None:
    """Add five vectors where no file may grow beyond `size` bytes, and print the error."""
    try:
        _fill_up_to(data_dir, size)
    except OSError as error:
        print(error.strerror)  # noqa: T201 - the test reads it


def _fill_up_to(data_dir: Path, size: int) -> None:
    texts = [text_of(2, row) for row in range(COUNT)]
    cache = cache_of(data_dir)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    cache.add([key_of(text) for text in texts], vectors_of(texts))


def add_many(data_dir: Path, first: int) -> None:
    """Add two hundred vectors in small calls, half of them other processes' as well, forgetting one text each time."""
    cache = cache_of(data_dir)
    for start in range(first, first + 200, 5):
        texts = [f"text {number}" for number in range(start, start + 5)]
        cache.add([key_of(text) for text in texts], vectors_of(texts))
        cache.forget([key_of("unwanted")])
        cache.add([key_of("unwanted")], vectors_of(["unwanted"]))


if __name__ == "__main__":
    name, first, second = sys.argv[1:]
    programs = (die_while_appending, fill_the_disk, add_many)
    {program.__name__: program for program in programs}[name](Path(first), int(second))
