"""A build is written whole, and anything wrong with it is found before it can be promoted."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson
import pytest

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.ranking import Entry
from pipeline.index import manifest, vector_file
from pipeline.index.builds import Builds
from pipeline.index.manifest import StagedBuild, content_hash
from pipeline.index.vector_cache import Vectors
from pipeline.index.write import verify_build
from tests.unit.index.conftest import Make, Stage
from tests.unit.index.toy import DIM, entry, vectors_of

PEOPLE = [entry(number) for number in range(100, 110)]


def resealed(staged: StagedBuild, name: str, data: bytes) -> None:
    """Replace a part of a staged build and make the manifest agree, as a bug in staging would have."""
    sealed = files.seal_bytes(staged.directory / name, data)
    document = staged.manifest.model_dump(mode="json")
    document["hashes"][name], document["sizes"][name] = sealed.sha256, sealed.size
    (staged.directory / manifest.MANIFEST_FILE).write_bytes(orjson.dumps(document))
    staged.manifest = manifest.read_manifest(staged.directory)


def test_what_cannot_be_built_is_said(stage: Stage) -> None:
    """A build without people, and a lone surrogate."""
    with pytest.raises(InputError, match="nothing to index"):
        stage([])
    with pytest.raises(InconsistentError, match="entry '7' cannot be written as JSON"):
        stage([Entry("7", "fine", {"id": 7, "Bio": "\ud800"})])


def with_vectors(staged: StagedBuild, rows: Vectors) -> None:
    """Put other vectors into a staged build."""
    path = vector_file.write_faiss_index(
        staged.directory / manifest.INDEX_FILE, [rows], row_count=len(rows), dim=DIM
    ).path
    resealed(staged, manifest.INDEX_FILE, path.read_bytes())


def swap_vectors(staged: StagedBuild) -> None:
    """Exchange the vectors of two rows."""
    with_vectors(staged, vectors_of([person.text for person in PEOPLE])[[1, 0, *range(2, 10)]])


def spoil_a_vector(staged: StagedBuild) -> None:
    """Put a NaN into one row."""
    rows = vectors_of([person.text for person in PEOPLE])
    rows[3, 3] = np.nan
    with_vectors(staged, rows)


def swap_metadata(staged: StagedBuild) -> None:
    """Exchange two entries of the metadata."""
    lines = (
        (staged.directory / manifest.METADATA_FILE).read_bytes().replace(b"person100", b"person10X")
    )
    lines = lines.replace(b"person101", b"person100").replace(b"person10X", b"person101")
    resealed(staged, manifest.METADATA_FILE, lines)


def add_metadata(staged: StagedBuild) -> None:
    """Put one entry more than there are vectors into the metadata."""
    lines = (staged.directory / manifest.METADATA_FILE).read_bytes()
    resealed(staged, manifest.METADATA_FILE, lines.removesuffix(b"\n]\n") + b',\n{"id": 1}\n]\n')


def in_entries(statement: str) -> Callable[[StagedBuild], None]:
    """Return what changes the entries by a statement of SQL."""

    def act(staged: StagedBuild) -> None:
        """Change them."""
        path = staged.directory / manifest.ENTRIES_FILE
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(statement)
        resealed(staged, manifest.ENTRIES_FILE, path.read_bytes())

    return act


def garble_entries(staged: StagedBuild) -> None:
    """Make the file of entries something else."""
    resealed(staged, manifest.ENTRIES_FILE, b"not a database" * 400)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (swap_vectors, "does not find itself first"),
        (spoil_a_vector, "not finite and of length 1"),
        (swap_metadata, "differ at row 0"),
        (add_metadata, "holds more than its entries"),
        (in_entries("DELETE FROM entries WHERE row = 9"), "lists 9 entries, expected 10"),
        (
            in_entries("UPDATE entries SET id = '999' WHERE row = 4"),
            "row 4 of metadata.json is another entry",
        ),
        (
            in_entries("INSERT INTO words (rowid, g0) VALUES (10, 'x')"),
            "of 11 entries, expected 10",
        ),
        (in_entries("UPDATE words_data SET block = zeroblob(20) WHERE id > 10"), "is damaged"),
        (garble_entries, "cannot be read as entries"),
    ],
)
def test_a_spoiled_build_is_found(
    make: Make, stage: Stage, builds: Builds, spoil: Callable[[StagedBuild], None], message: str
) -> None:
    """Each kind of damage is named, and the build in service stays."""
    make(PEOPLE[:5])
    before = builds.read_current_manifest()
    staged = stage(PEOPLE)
    spoil(staged)
    with pytest.raises(InconsistentError, match=message):
        verify_build(staged, count=10)
    assert before is not None
    assert builds.read_current_manifest() == before


def test_a_count_that_differs_from_the_database_is_found(stage: Stage) -> None:
    """The number of tagged people decides, not the number of rows that were written."""
    staged = stage(PEOPLE)
    with pytest.raises(InconsistentError, match="holds 10 entries, expected 11"):
        verify_build(staged, count=11)


@pytest.mark.parametrize(
    "spoiled", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 2, "number": "x"}', b"\xff\xfe"]
)
def test_a_manifest_of_any_bytes_is_an_error_of_ours(tmp_path: Path, spoiled: bytes) -> None:
    """Whatever stands in manifest.json, the answer is a sentence and no traceback."""
    (tmp_path / manifest.MANIFEST_FILE).write_bytes(spoiled)
    with pytest.raises(InconsistentError, match="cannot be read as a manifest"):
        manifest.read_manifest(tmp_path)


def test_the_hash_follows_text_facts_and_fields_alone() -> None:
    """A change of rate or score leaves an entry up to date; another text, facts (a person's tags) or fields do not."""
    known = Entry("1", "text", {"Hourly Rate": 1.0}, ["a"])
    assert content_hash(known) == content_hash(Entry("1", "text", {"Hourly Rate": 2.0}, ["a"]))
    others = [Entry("1", "text.", {}, ["a"]), Entry("1", "text", {}, ["b"]), Entry("1", "text", {})]
    fields = [
        Entry("1", "text", {}, ["a"], one)
        for one in ({"a": "bc"}, {"a": "b", "c": ""}, {"ab": "c"})
    ]
    assert len({content_hash(each) for each in [known, *others, *fields]}) == 7
