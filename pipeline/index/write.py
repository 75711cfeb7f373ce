"""Write a build beside the builds in service, at flat memory, each file durable.

The entries go to `metadata.json` and `entries.sqlite` as they come, with their words, and their vectors, fetched from
the cache, to the index; the manifest is last. The one thing to know: nothing may point at what is written here before
`pipeline.index.verify` has read it back.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import orjson

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.ranking import Entry, Ranking
from pipeline.core.step import Step
from pipeline.index import flat_file, manifest, terms, words
from pipeline.index.floor import Highest, learn_floor
from pipeline.index.manifest import Manifest, Staged, content_hash
from pipeline.index.vectors import TASK_TYPE, VectorCache, Vectors

OPEN, BETWEEN, CLOSE = b"[\n", b",\n", b"\n]\n"  # before, between and behind the lines of metadata.json

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
    `floor.nonsense`, in its order; without them there is none.

    Raises:
        InputError: there are no entries.
        InconsistentError: an entry's metadata is no JSON.
    """
    ranking = ranking or Ranking()
    highest, path, done = Highest(nonsense), directory / manifest.ENTRIES, 0
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
        floor = None if nonsense is None else learn_floor(highest.cosines.tolist(), found)
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
