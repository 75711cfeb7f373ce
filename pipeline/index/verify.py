"""Verify a staged build before anything may point at it.

The files are read back from disk and the cache is asked again; nothing is believed that was held in memory when they
were written. All is read at flat memory, whatever is looked at in it.
"""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.files import ReadHandle
from pipeline.index import flat_file, manifest, words
from pipeline.index.manifest import Staged
from pipeline.index.vectors import check_unit_rows
from pipeline.index.write import BETWEEN, CLOSE, OPEN

SAMPLE = 64  # rows that must find themselves first
TIE = 1e-5  # similarities closer than this are equal: float32 sums of 3,072 products differ by less


def verify_build(staged: Staged, *, count: int) -> None:
    """Pass when the build on disk is whole, its parts agree, and it holds `count` entries.

    Raises:
        InconsistentError: it is not; the message says what differs.
    """
    found = manifest.read_manifest(staged.directory)
    if found != staged.manifest:
        raise InconsistentError(f"{staged.directory / manifest.MANIFEST} changed after it was written")
    if found.count != count:
        raise InconsistentError(f"the build holds {found.count} entries, expected {count}")
    for name, sha256 in staged.manifest.hashes.items():
        files.verify(staged.directory / name, sha256=sha256, what=f"{name} of the build")
    chosen = sorted(random.Random(count).sample(range(count), min(SAMPLE, count)))  # noqa: S311 - no secret
    try:
        with closing(words.reading(staged.directory / manifest.ENTRIES)) as db:
            _verify_entries(db, staged.directory / manifest.METADATA, count)
            keys = [db.execute("SELECT vector FROM entries WHERE row = ?", (row,)).fetchone()[0] for row in chosen]
        _verify_words(staged.directory / manifest.ENTRIES)
    except sqlite3.DatabaseError as error:
        raise InconsistentError(f"{manifest.ENTRIES} of the build is damaged: {error}") from None
    _verify_vectors(staged, chosen, keys)
    staged.verified = True


def _verify_entries(db: sqlite3.Connection, metadata: Path, count: int) -> None:
    """Pass when the entries are as many as expected, in order, and `metadata.json` tells of the same ones."""
    expected = 0
    with metadata.open("rb") as file:
        for row, entry_id, document in db.execute("SELECT row, id, metadata FROM entries ORDER BY row"):
            line = (BETWEEN if row else OPEN) + document.encode()
            if row != expected or file.read(len(line)) != line:
                raise InconsistentError(f"metadata and entries of the build differ at row {row}, entry {entry_id!r}")
            expected += 1
        if expected != count or file.read(len(CLOSE) + 1) != CLOSE:
            raise InconsistentError(
                f"the build lists {expected} entries, expected {count}, or holds more than its entries"
            )
    other = "SELECT row, id FROM entries WHERE CAST(json_extract(metadata, '$.id') AS TEXT) <> id LIMIT 1"
    if found := db.execute(other).fetchone():
        raise InconsistentError(f"row {found[0]} of metadata.json is another entry than {found[1]!r}")
    if found := db.execute("SELECT count(*) FROM words").fetchone()[0] - count:
        raise InconsistentError(f"the words of the build are of {count + found} entries, expected {count}")


def _verify_words(path: Path) -> None:
    """Pass when FTS5 finds its own structures sound; a command of its, for which the file is opened to be written."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO words (words) VALUES ('integrity-check')")


def _verify_vectors(staged: Staged, chosen: list[int], keys: list[bytes]) -> None:
    """Pass when faiss reads all rows, each is of unit length, and each of the sample finds itself first."""
    count, dim = staged.manifest.count, staged.manifest.dim
    handle = ReadHandle(staged.directory / manifest.INDEX)
    index = flat_file.open_flat(handle)
    if (index.ntotal, index.d) != (count, dim):
        raise InconsistentError(f"the index holds {index.ntotal} x {index.d} numbers, expected {count} x {dim}")
    numbers, queries = np.array(chosen, np.int64), staged.cache.fetch(keys)
    best = np.full(len(numbers), -np.inf, dtype=np.float32)
    own, first = best.copy(), 0
    for block in flat_file.read_flat_blocks(handle, count=count, dim=dim):
        check_unit_rows(block, what=f"the build, rows from {first}")
        best = np.maximum(best, flat_file.highest_similarity(queries, block))
        here = (numbers >= first) & (numbers < first + len(block))
        own[here] = np.einsum("ij,ij->i", queries[here], block[numbers[here] - first])
        first += len(block)
    lost = np.flatnonzero(~(own >= best - TIE))  # another row of equal similarity is another entry of equal text
    if len(lost):
        raise InconsistentError(f"row {numbers[lost[0]]} does not find itself first: {len(lost)} of {len(numbers)} so")
