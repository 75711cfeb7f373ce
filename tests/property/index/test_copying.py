"""A build that copies what did not change is the build that is made anew, byte for byte."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core.ranking import FieldGroup, Ranking
from pipeline.core.task import Entry
from pipeline.index import copying, manifest, postings_writer
from pipeline.index.builds import Builds
from pipeline.index.cache import VectorCache
from pipeline.index.copying import pages_of
from pipeline.index.floor import nonsense
from pipeline.index.manifest import Promotions
from tests.unit.index.toy import DIM, MODEL, key_of, vectors_of

RANKING = Ranking((FieldGroup(("title", "text")), FieldGroup(("tags",), 0.5)), share=0.7)
TEXTS = st.lists(st.sampled_from(["water", "law", "水法", "bees", "the", "é"]), max_size=5).map(" ".join)
PEOPLE = st.dictionaries(
    st.integers(0, 30), st.fixed_dictionaries({"title": TEXTS, "text": TEXTS, "tags": TEXTS}), min_size=1, max_size=20
)
People = Mapping[int, Mapping[str, str]]
NONSENSE = vectors_of(nonsense())


def built(folder: Path, people: People, *, copies: bool) -> tuple[Promotions, int]:
    """Put people in service, by their numbers; return the build, and how many were made anew."""
    entries = [
        Entry(str(one), f"{one} {fields['text']}", {"id": one, **fields}, fields=fields)
        for one, fields in sorted(people.items())
    ]
    keys = [key_of(entry.text) for entry in entries]
    cache, builds = VectorCache(folder / "vectors", model=MODEL, dim=DIM), Builds(folder)
    cache.add(keys, vectors_of([entry.text for entry in entries]))
    before = builds.before(model=MODEL, dim=DIM, ranking=RANKING) if copies else None
    pages = list(pages_of(zip(entries, keys, strict=True), before))
    begun = builds.begin(builds.next_number(), pages, position=0, ranking=RANKING, before=before)
    staged = builds.complete(begun, cache, task_type="T", nonsense=NONSENSE)
    builds.verify(staged, count=len(entries))
    return builds.promote(staged), sum(len(page.made) for page in pages)


def contents(folder: Path, build: Promotions) -> dict[str, bytes]:
    """Return the files of a build that hold entries."""
    return {name: (folder / f"index/builds/{build.number}" / name).read_bytes() for name in manifest.PARTS}


@given(first=PEOPLE, changes=PEOPLE, gone=st.sets(st.integers(0, 30)), run=st.integers(1, 40), page=st.integers(1, 9))
@example({0: {"title": "bees", "text": "", "tags": ""}}, {0: {"title": "", "text": "", "tags": ""}}, {0}, 1, 1)
@settings(max_examples=settings().max_examples // 8)
def test_a_build_of_copies_is_the_build_made_anew(
    first: People, changes: People, gone: set[int], run: int, page: int
) -> None:
    """Whatever came, went and changed, however runs and pages were cut: the same bytes, hashes and floor.

    Nothing that stayed as it was is made anew.
    """
    after = {one: changes.get(one, fields) for one, fields in {**first, **changes}.items() if one not in gone}
    after = after or dict(first)
    expected = {one for one, fields in after.items() if first.get(one) != fields}
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        patch.object(postings_writer, "RUN", run),
        patch.object(copying, "PAGE", page),
    ):
        built(Path(one), first, copies=False)
        copied, made = built(Path(one), after, copies=True)
        anew, _ = built(Path(other), after, copies=False)
        assert contents(Path(one), copied) == contents(Path(other), anew)
    assert (copied.hashes, copied.sizes, copied.floor) == (anew.hashes, anew.sizes, anew.floor)
    assert np.allclose([cosine for _, cosine in copied.highest], [cosine for _, cosine in anew.highest], atol=1e-6)
    assert made == len(expected)


def test_entries_in_another_order_are_made_anew(tmp_path: Path) -> None:
    """Marks that are found out of order are passed over, and each entry is in the build once."""
    marks = np.array([5, 3, 9, 1], np.uint64)
    people: Sequence[tuple[Entry, bytes]] = [
        (Entry(str(n), f"text {n}", {"id": n}), key_of(f"text {n}")) for n in range(4)
    ]
    cache, builds = VectorCache(tmp_path / "vectors", model=MODEL, dim=DIM), Builds(tmp_path)
    cache.add([key for _, key in people], vectors_of([entry.text for entry, _ in people]))
    page = copying.Page(marks, np.full(4, -1), people)
    staged = builds.complete(builds.begin(1, [page], position=0), cache, task_type="T")
    builds.verify(staged, count=4)
    builds.promote(staged)
    before = builds.before(model=MODEL, dim=DIM, ranking=Ranking())
    assert before is not None
    assert before.rows_of(np.array([3, 5, 7, 9], np.uint64)).tolist() == [1, -1, -1, 2]
    assert before.rows_of(np.array([3, 1], np.uint64)).tolist() == [-1, 3]
