"""Write a build beside the builds in service, at flat memory, each file durable, and verify it.

The entries go to `metadata.json` and `entries.sqlite` as they come, with their words, and their vectors, fetched from
the cache, to the index; the manifest is last. The one thing to know: nothing may point at what is written here before
it was verified: the files are read back from disk and the cache is asked again, and nothing is believed that was held
in memory when they were written.
"""

import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.files import ReadHandle
from pipeline.core.ranking import Entry, Ranking
from pipeline.core.step import Step
from pipeline.index import flat_file, manifest, terms, words
from pipeline.index.manifest import Manifest, Staged, content_hash
from pipeline.index.vectors import TASK_TYPE, VectorCache, Vectors, check_unit_rows

OPEN, BETWEEN, CLOSE = b"[\n", b",\n", b"\n]\n"  # before, between and behind the lines of metadata.json

SAMPLE = 64  # rows that must find themselves first
TIE = 1e-5  # similarities closer than this are equal: float32 sums of 3,072 products differ by less
Page = tuple[Sequence[Entry], Sequence[bytes], Vectors]  # entries with keys and vectors, some hundreds at a time


def write_build(
    directory: Path,
    pages: Iterable[Page],
    cache: VectorCache,
    *,
    count: int,
    number: int,
    position: int,
    built_at: datetime,
    ranking: Ranking | None = None,
    nonsense: Vectors | None = None,
) -> Staged:
    """Write build `number` of `count` entries, whose vectors are in `cache`, on disk when this returns.

    Without a ranking, words count as they do where nothing is said. The floor is learnt from the vectors of
    `words.nonsense`, in its order; without them there is none.

    Raises:
        InputError: there are no entries.
        InconsistentError: an entry's metadata is no JSON.
    """
    ranking = ranking or Ranking()
    highest, path, done = words.Highest(nonsense), directory / manifest.ENTRIES, 0
    sealed: dict[str, files.Sealed] = {}
    with (
        closing(words.begin(path, ranking)) as db,
        files.SealedWriter(directory / manifest.METADATA) as metadata,
    ):

        def blocks() -> Iterator[Vectors]:
            nonlocal done
            for entries, keys, vectors in pages:
                metadata.write((BETWEEN if done else OPEN) + BETWEEN.join(_write_page(db, done, entries, keys)))
                words.add_words(db, done, entries, ranking)
                yield vectors
                done += len(entries)
            if not done:
                raise InputError(
                    "there is nothing to index", hint=f"run `{Step('batch-submit')}` to have rows answered first"
                )
            metadata.write(CLOSE)
            sealed[manifest.METADATA] = metadata.seal()

        vectors = highest.seen(blocks())
        sealed[manifest.INDEX] = flat_file.write_flat(directory / manifest.INDEX, vectors, count=count, dim=cache.dim)
        db.execute("INSERT INTO words (words) VALUES ('optimize')")
        db.execute("COMMIT")
        told = {"terms": terms.NAME, **ranking.as_json()}
        found = words.Words(db, told, done)
        floor = None if nonsense is None else words.learn_floor(highest.cosines.tolist(), found)
    sealed[manifest.ENTRIES] = files.sync_part(path)
    written = Manifest(
        number=number,
        count=done,
        model=cache.model,
        dim=cache.dim,
        task_type=TASK_TYPE,
        position=position,
        built_at=built_at,
        hashes={name: sealed[name].sha256 for name in manifest.PARTS},
        sizes={name: sealed[name].size for name in manifest.PARTS},
        floor=floor,
        words=told,
    )
    manifest.seal_manifest(directory, written)
    return Staged(directory, written, cache)


def _write_page(db: sqlite3.Connection, first: int, entries: Sequence[Entry], keys: Sequence[bytes]) -> list[bytes]:
    """Write entries, whose rows follow one another from `first` on; return their metadata as JSON."""
    documents = [_json(entry) for entry in entries]
    rows = (
        (row, entry.id, content_hash(entry), key, document.decode())
        for row, (entry, key, document) in enumerate(zip(entries, keys, documents, strict=True), first)
    )
    db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)
    return documents


def _json(entry: Entry) -> bytes:
    """Return an entry's metadata as one line of JSON."""
    try:
        return orjson.dumps(entry.metadata if isinstance(entry.metadata, dict) else dict(entry.metadata))
    except TypeError as error:
        raise InconsistentError(f"entry {entry.id!r} cannot be written as JSON: {error}") from None


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
    path = staged.directory / manifest.INDEX
    index = flat_file.open_flat(ReadHandle(path))
    if (index.ntotal, index.d) != (count, dim):
        raise InconsistentError(f"the index holds {index.ntotal} x {index.d} numbers, expected {count} x {dim}")
    numbers, queries = np.array(chosen, np.int64), staged.cache.fetch(keys)
    best = np.full(len(numbers), -np.inf, dtype=np.float32)
    own, first = best.copy(), 0
    for block in flat_file.read_flat_blocks(path, count=count, dim=dim):
        check_unit_rows(block, what=f"the build, rows from {first}")
        best = np.maximum(best, flat_file.highest_similarity(queries, block))
        here = (numbers >= first) & (numbers < first + len(block))
        own[here] = np.einsum("ij,ij->i", queries[here], block[numbers[here] - first])
        first += len(block)
    lost = np.flatnonzero(~(own >= best - TIE))  # another row of equal similarity is another entry of equal text
    if len(lost):
        raise InconsistentError(f"row {numbers[lost[0]]} does not find itself first: {len(lost)} of {len(numbers)} so")
