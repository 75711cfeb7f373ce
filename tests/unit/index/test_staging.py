"""A build is verified before it can be promoted."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson
import pytest

from askrows.pipeline.core import files
from askrows.pipeline.core.errors import InconsistentError, InputError
from askrows.pipeline.core.ranking import Entry
from askrows.pipeline.index import manifest, vector_file
from askrows.pipeline.index.builds import Builds
from askrows.pipeline.index.manifest import StagedBuild, hash_entry_content
from askrows.pipeline.index.vector_cache import Vectors
from askrows.pipeline.index.write import verify_and_mark_build
from tests.unit.index.conftest import Make, Stage
from tests.unit.index.toy import DIM, entry, vectors_of

PEOPLE = [entry(number) for number in range(100, 110)]


def replace_part(staged: StagedBuild, name: str, data: bytes) -> None:
    """Replace a part of a staged build and update the manifest, as a bug in staging could do."""
    sealed = files.seal_bytes(staged.directory / name, data)
    document = orjson.loads((staged.directory / manifest.MANIFEST_FILE).read_bytes())
    document["hashes"][name] = sealed.sha256
    document["sizes"][name] = sealed.size
    (staged.directory / manifest.MANIFEST_FILE).write_bytes(orjson.dumps(document))
    staged.manifest = manifest.read_manifest(staged.directory)


def test_invalid_entries_are_refused(stage: Stage) -> None:
    """A build needs entries, and their texts must be valid."""
    with pytest.raises(InputError, match="nothing to index"):
        stage([])
    with pytest.raises(InconsistentError, match="entry '7' cannot be written as JSON"):
        stage([Entry("7", "fine", {"id": 7, "Bio": "\ud800"})])


def replace_vectors(staged: StagedBuild, rows: Vectors) -> None:
    """Put other vectors into a staged build."""
    path = vector_file.write_faiss_index(
        staged.directory / manifest.INDEX_FILE, [rows], row_count=len(rows), dim=DIM
    ).path
    replace_part(staged, manifest.INDEX_FILE, path.read_bytes())


def swap_vectors(staged: StagedBuild) -> None:
    """Exchange the vectors of two rows."""
    replace_vectors(staged, vectors_of([person.text for person in PEOPLE])[[1, 0, *range(2, 10)]])


def spoil_a_vector(staged: StagedBuild) -> None:
    """Put a NaN into one row."""
    rows = vectors_of([person.text for person in PEOPLE])
    rows[3, 3] = np.nan
    replace_vectors(staged, rows)


def swap_metadata(staged: StagedBuild) -> None:
    """Exchange two entries of the metadata."""
    lines = (
        (staged.directory / manifest.METADATA_FILE).read_bytes().replace(b"person100", b"person10X")
    )
    lines = lines.replace(b"person101", b"person100").replace(b"person10X", b"person101")
    replace_part(staged, manifest.METADATA_FILE, lines)


def add_metadata(staged: StagedBuild) -> None:
    """Add an entry without a vector to the metadata."""
    lines = (staged.directory / manifest.METADATA_FILE).read_bytes()
    replace_part(
        staged, manifest.METADATA_FILE, lines.removesuffix(b"\n]\n") + b',\n{"id": 1}\n]\n'
    )


def make_entries_change(statement: str) -> Callable[[StagedBuild], None]:
    """Return a function that changes the entries by a statement of SQL."""

    def act(staged: StagedBuild) -> None:
        """Run the statement on the entries."""
        path = staged.directory / manifest.ENTRIES_FILE
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(statement)
        replace_part(staged, manifest.ENTRIES_FILE, path.read_bytes())

    return act


def garble_entries(staged: StagedBuild) -> None:
    """Replace the file of entries with garbage."""
    replace_part(staged, manifest.ENTRIES_FILE, b"not a database" * 400)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (swap_vectors, "not the nearest of their own vector"),
        (spoil_a_vector, "not finite and of length 1"),
        (swap_metadata, "differ at row 0"),
        (add_metadata, "has more lines than entries"),
        (make_entries_change("DELETE FROM entries WHERE row = 9"), "lists 9 entries, expected 10"),
        (
            make_entries_change("UPDATE entries SET id = '999' WHERE row = 4"),
            "row 4 of metadata.json has another id",
        ),
        (
            make_entries_change("INSERT INTO words (rowid, g0) VALUES (10, 'x')"),
            "for 11 rows, expected 10",
        ),
        (
            make_entries_change("UPDATE words_data SET block = zeroblob(20) WHERE id > 10"),
            "is damaged",
        ),
        (garble_entries, "cannot be read as a database of entries"),
    ],
)
def test_spoiled_build_is_detected(
    make: Make, stage: Stage, builds: Builds, spoil: Callable[[StagedBuild], None], message: str
) -> None:
    """Each kind of damage is named, and the build in service stays."""
    make(PEOPLE[:5])
    current_manifest = builds.read_current_manifest()
    staged = stage(PEOPLE)
    spoil(staged)
    with pytest.raises(InconsistentError, match=message):
        verify_and_mark_build(staged, count=10)
    assert current_manifest is not None
    assert builds.read_current_manifest() == current_manifest


def test_count_that_differs_from_the_database_is_detected(stage: Stage) -> None:
    """The number of tagged people decides, not the number of rows that were written."""
    staged = stage(PEOPLE)
    with pytest.raises(InconsistentError, match="the build has 10 entries, expected 11"):
        verify_and_mark_build(staged, count=11)


@pytest.mark.parametrize(
    "spoiled", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 2, "number": 1}', b"\xff\xfe"]
)
def test_unreadable_manifest_is_refused(tmp_path: Path, spoiled: bytes) -> None:
    """An invalid manifest.json raises an InconsistentError."""
    (tmp_path / manifest.MANIFEST_FILE).write_bytes(spoiled)
    with pytest.raises(InconsistentError, match="cannot be read as a manifest"):
        manifest.read_manifest(tmp_path)


@pytest.mark.parametrize(
    "spoiled_members",
    [
        {"number": "x"},
        {"hashes": []},
        {"format": 1},
        {"built_at": "yesterday"},
        {"refused": {"7": "no"}},
        {"floors": {"latin": {"cosine": 0, "words": 1, "alone": 1}}},
        {"floors": {"latin": {"cosine": "x", "words": 1, "alone": 1}}},
        {"unknown": 1},
    ],
)
def test_manifest_with_a_wrong_member_is_refused(
    stage: Stage, spoiled_members: dict[str, object]
) -> None:
    """A manifest reads back equal; a member of another type or value makes it unreadable."""
    staged = stage(PEOPLE)
    path = staged.directory / manifest.MANIFEST_FILE
    assert manifest.read_manifest(staged.directory) == staged.manifest
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **spoiled_members}))
    with pytest.raises(InconsistentError, match="cannot be read as a manifest"):
        manifest.read_manifest(staged.directory)


def test_hash_depends_only_on_text_facts_and_fields() -> None:
    """A changed rate keeps the hash; changed texts, facts or fields do not."""
    base_entry = Entry("1", "text", {"Hourly Rate": 1.0}, ["a"])
    assert hash_entry_content(base_entry) == hash_entry_content(
        Entry("1", "text", {"Hourly Rate": 2.0}, ["a"])
    )
    other_entries = [
        Entry("1", "text.", {}, ["a"]),
        Entry("1", "text", {}, ["b"]),
        Entry("1", "text", {}),
    ]
    fields = [
        Entry("1", "text", {}, ["a"], texts)
        for texts in ({"a": "bc"}, {"a": "b", "c": ""}, {"ab": "c"})
    ]
    assert (
        len(
            {
                hash_entry_content(hashed_entry)
                for hashed_entry in [base_entry, *other_entries, *fields]
            }
        )
        == 7
    )
