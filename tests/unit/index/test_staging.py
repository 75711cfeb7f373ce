"""A build is written whole, and anything wrong with it is found before it can be promoted."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.ranking import Entry
from pipeline.index import flat_file, manifest
from pipeline.index.builds import Builds
from pipeline.index.vectors import MissingVectorError, VectorCache
from pipeline.index.manifest import Staged, content_hash
from tests.unit.index.conftest import Make, Stage
from tests.unit.index.toy import DIM, TASK_TYPE, entry, pages_of, vectors_of

PEOPLE = [entry(number) for number in range(100, 110)]


def resealed(staged: Staged, name: str, data: bytes) -> None:
    """Replace a part of a staged build and make the manifest agree, as a bug in staging would have."""
    sealed = files.seal_bytes(staged.directory / name, data)
    document = staged.manifest.as_json()
    document["hashes"][name], document["sizes"][name] = sealed.sha256, sealed.size
    (staged.directory / manifest.MANIFEST).write_bytes(orjson.dumps(document))
    staged.manifest = manifest.read_manifest(staged.directory)


def test_what_cannot_be_built_leaves_no_staging(stage: Stage, builds: Builds, cache: VectorCache) -> None:
    """A build without people, a lone surrogate, and a vector that is missing, which never becomes a row of zeros."""
    with pytest.raises(InputError, match="nothing to index"):
        stage([])
    with pytest.raises(InconsistentError, match="entry '7' cannot be written as JSON"):
        stage([Entry("7", "fine", {"id": 7, "Bio": "\ud800"})])
    with pytest.raises(MissingVectorError, match="no vector is cached"):
        builds.stage(1, pages_of([entry(1, "never seen")]), cache, count=1, position=1, task_type=TASK_TYPE)
    assert builds.sweep() == []


def swap_vectors(staged: Staged) -> None:
    """Exchange the vectors of two rows."""
    rows = vectors_of([each.text for each in PEOPLE])[[1, 0, *range(2, 10)]]
    resealed(staged, manifest.INDEX, flat_file.flat_header(count=10, dim=DIM) + rows.tobytes())


def spoil_a_vector(staged: Staged) -> None:
    """Put a NaN into one row."""
    rows = vectors_of([each.text for each in PEOPLE])
    rows[3, 3] = np.nan
    resealed(staged, manifest.INDEX, flat_file.flat_header(count=10, dim=DIM) + rows.tobytes())


def swap_metadata(staged: Staged) -> None:
    """Exchange two entries of the metadata."""
    lines = (staged.directory / manifest.METADATA).read_bytes().replace(b"person100", b"person10X")
    lines = lines.replace(b"person101", b"person100").replace(b"person10X", b"person101")
    resealed(staged, manifest.METADATA, lines)


def add_metadata(staged: Staged) -> None:
    """Put one entry more than there are vectors into the metadata."""
    lines = (staged.directory / manifest.METADATA).read_bytes()
    resealed(staged, manifest.METADATA, lines.removesuffix(b"\n]\n") + b',\n{"id": 1}\n]\n')


def drop_an_entry(staged: Staged) -> None:
    """Leave the last line out of the entries."""
    lines = (staged.directory / manifest.ENTRIES).read_bytes().splitlines(keepends=True)
    resealed(staged, manifest.ENTRIES, b"".join(lines[:-1]))


def rename_an_entry(staged: Staged) -> None:
    """Give one entry another id than its metadata has."""
    lines = (staged.directory / manifest.ENTRIES).read_bytes()
    resealed(staged, manifest.ENTRIES, lines.replace(b'"id":"104"', b'"id":"999"'))


def garble_an_entry(staged: Staged) -> None:
    """Make a line of the entries something else than JSON."""
    lines = (staged.directory / manifest.ENTRIES).read_bytes()
    resealed(staged, manifest.ENTRIES, b"not json\n" + lines.split(b"\n", 1)[1])


def spoiled_words(name: str, spoil: Callable[[NDArray[Any]], object]) -> Callable[[Staged], None]:
    """Return what spoils one array of the words, by a function that changes it in place or returns another."""

    def act(staged: Staged) -> None:
        """Spoil it."""
        array = np.load(staged.directory / name)
        changed = spoil(array)
        written = io.BytesIO()
        np.save(written, changed if isinstance(changed, np.ndarray) else array)
        resealed(staged, name, written.getvalue())

    return act


TERMS, STARTS, ROWS, SCORES = manifest.WORDS
WORDS = {
    "terms of the build do not ascend": spoiled_words(TERMS, lambda terms: terms[::-1]),
    "do not follow one another": spoiled_words(STARTS, lambda starts: starts.__setitem__(1, 0)),
    "postings, expected": spoiled_words(STARTS, lambda starts: starts.__setitem__(-1, 99)),
    "out of order": spoiled_words(ROWS, lambda rows: rows.__setitem__(0, 99)),
    "row 0 has other words": spoiled_words(TERMS, lambda terms: terms.__iadd__(1)),
    "no positive number": spoiled_words(SCORES, lambda scores: scores.__setitem__(3, np.nan)),
    "no such array": spoiled_words(SCORES, lambda scores: scores.astype(np.float64)),
}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        *((spoil, message) for message, spoil in WORDS.items()),
        (swap_vectors, "does not find itself first"),
        (spoil_a_vector, "not finite and of length 1"),
        (swap_metadata, "differ at row 0"),
        (add_metadata, "holds more than its entries"),
        (drop_an_entry, "lists 9 entries, expected 10"),
        (rename_an_entry, "row 4 of metadata.json is another entry"),
        (garble_an_entry, "a line that is no entry"),
    ],
)
def test_a_spoiled_build_is_found_and_removed(
    make: Make, stage: Stage, builds: Builds, spoil: Callable[[Staged], None], message: str
) -> None:
    """Each kind of damage is named, its staging goes, and the build in service stays."""
    make(PEOPLE[:5])
    before = builds.current()
    staged = stage(PEOPLE)
    spoil(staged)
    with pytest.raises(InconsistentError, match=message):
        builds.verify(staged, count=10)
    assert not staged.directory.exists()
    assert before is not None
    assert builds.current() == before


def test_a_count_that_differs_from_the_database_is_found(stage: Stage, builds: Builds) -> None:
    """The number of tagged people decides, not the number of rows that were written."""
    staged = stage(PEOPLE)
    with pytest.raises(InconsistentError, match="holds 10 entries, expected 11"):
        builds.verify(staged, count=11)
    assert not staged.directory.exists()


@pytest.mark.parametrize("spoiled", [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "number": "x"}', b"\xff\xfe"])
def test_a_manifest_of_any_bytes_is_an_error_of_ours(tmp_path: Path, spoiled: bytes) -> None:
    """Whatever stands in manifest.json, the answer is a sentence and no traceback."""
    (tmp_path / manifest.MANIFEST).write_bytes(spoiled)
    with pytest.raises(InconsistentError, match="cannot be read as a manifest"):
        manifest.read_manifest(tmp_path)


def test_the_hash_follows_text_facts_and_fields_alone() -> None:
    """A change of rate or score leaves an entry up to date; another text, facts (a person's tags) or fields do not."""
    known = Entry("1", "text", {"Hourly Rate": 1.0}, ["a"])
    assert content_hash(known) == content_hash(Entry("1", "text", {"Hourly Rate": 2.0}, ["a"]))
    others = [Entry("1", "text.", {}, ["a"]), Entry("1", "text", {}, ["b"]), Entry("1", "text", {})]
    fields = [Entry("1", "text", {}, ["a"], one) for one in ({"a": "bc"}, {"a": "b", "c": ""}, {"ab": "c"})]
    assert len({content_hash(each) for each in [known, *others, *fields]}) == 7
