"""What is copied from the build in service is what it was sealed with, and what would be made now."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.core.ranking import Ranking
from pipeline.core.task import Entry
from pipeline.index import manifest
from pipeline.index.builds import Builds
from pipeline.index.cache import VectorCache
from pipeline.index.copying import Before, DamagedBuildError, Page, marks_of, pages_of
from pipeline.index.manifest import Staged
from tests.unit.index.conftest import Make
from tests.unit.index.toy import DIM, MODEL, TASK_TYPE, entry, key_of, vectors_of

PEOPLE = [entry(number) for number in range(100, 110)]
COPIED = [name for name in manifest.PARTS if name != manifest.WORDS[-1]]  # scores are made of the others


def before_of(builds: Builds) -> Before:
    """Return the build in service, open to be copied from."""
    before = builds.before(model=MODEL, dim=DIM, ranking=Ranking())
    assert before is not None
    return before


def copied(builds: Builds, cache: VectorCache, people: Sequence[Entry] = PEOPLE) -> Staged:
    """Stage all that the build in service has, each entry compared with one that is made of these people."""
    before = before_of(builds)
    (page,) = pages_of(((each, key_of(each.text)) for each in PEOPLE), before)
    assert not page.made
    compared = [(at, each, key_of(each.text)) for at, each in enumerate(people)]
    begun = builds.begin(2, [Page(page.marks, page.copies, [], compared)], position=1, before=before)
    return builds.complete(begun, cache, task_type=TASK_TYPE)


@pytest.mark.parametrize("name", COPIED)
def test_what_was_damaged_since_it_was_sealed_is_not_copied(
    make: Make, builds: Builds, cache: VectorCache, name: str
) -> None:
    """One bit of any file that is copied, and nothing is; the staging goes."""
    path = builds._builds / str(make(PEOPLE).number) / name
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedBuildError, match="was changed after it was sealed"):
        copied(builds, cache, [])
    assert builds.stale() == []


def test_what_would_be_made_otherwise_is_not_copied(make: Make, builds: Builds, cache: VectorCache) -> None:
    """Entries that are made anew as well must be as they were, in metadata, text and words, and have their vectors."""
    make(PEOPLE)
    builds.verify(copied(builds, cache), count=10)
    for change in ({"metadata": {"id": 104}}, {"text": "Other."}, {"fields": {"text": "other"}}, {"facts": ["law"]}):
        others = [*PEOPLE[:4], PEOPLE[4]._replace(**change), *PEOPLE[5:]]
        with pytest.raises(DamagedBuildError, match="made otherwise"):
            copied(builds, cache, others)
    key = key_of(PEOPLE[7].text)
    cache.forget([key])
    builds.verify(copied(builds, cache), count=10)  # a vector that is gone is not asked for again
    cache.add([key], vectors_of(["something else"]))
    with pytest.raises(DamagedBuildError, match="another one than in the cache"):
        copied(builds, cache)


def test_marks_follow_from_the_cells_and_from_how_entries_are_made() -> None:
    """Whatever JSON can say of the cells; equal ones have equal marks."""
    cells = [(1, "a"), (1, "b"), ("1", "a"), (1, "a\ud800"), (1, None), (2**70, b"a"), (1.5, ["a"]), (1, "a")]
    marks, others = marks_of(cells, b"one").tolist(), marks_of(cells, b"other").tolist()
    assert marks[0] == marks[-1] == marks_of(cells[:1], b"one")[0]
    assert len({*marks, *others}) == 14


def test_runs_end_where_something_was_made_or_is_gone() -> None:
    """Rows that stand side by side in both builds are one run, whatever stands around them."""
    page = Page(np.zeros(9, np.uint64), np.array([-1, 0, 1, 3, -1, -1, 4, 5, -1]), [])
    assert page.runs() == [(-1, -1), (0, 1), (3, 3), (-1, -1), (-1, -1), (4, 5), (-1, -1)]
