"""Write a build beside the builds in service, at flat memory, each file durable, and verify it.

The entries go to `metadata.json` and `entries.sqlite` as they come, with their words, and their vectors, fetched from
the cache, to the index; the manifest is last. The one thing to know: nothing may point at what is written here before
it was verified: the files are read back from disk and the cache is asked again, and nothing is believed that was held
in memory when they were written.
"""

import functools
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from importlib import resources
from itertools import chain
from pathlib import Path

import numpy as np
import orjson

from pipeline.core import files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.ranking import Entry, Ranking
from pipeline.index import manifest, tokenizer
from pipeline.index.build_reader import Index
from pipeline.index.manifest import Floor, Manifest, RefusedText, StagedBuild, come_to, content_hash
from pipeline.index.vector_cache import (
    TASK_TYPE,
    UNIT_TOLERANCE,
    VectorCache,
    Vectors,
    check_unit_rows,
)
from pipeline.index.vector_file import BLOCK, is_exact, write_vectors

OPEN = b"[\n"  # before, between and behind the lines of metadata.json
BETWEEN = b",\n"
CLOSE = b"\n]\n"
SAMPLE = 64  # rows that must find themselves first
TIE = 1e-5  # similarities closer than this are equal: float32 sums of 3,072 products differ by less
ROUNDED = 0.02  # how far from 1 a vector of 8 bits a number may be
SHARE = 0.87  # of questions without meaning that are below the floor: their best cosine and their best words together
LEAST_SPREAD = 0.2  # of what one rare word gives: where few of them find a word at all, their spread says nothing
LEAST_ALONE = 0.05  # of the same: about what one rare word of five comes to
Page = tuple[
    Sequence[Entry], Sequence[bytes], Vectors
]  # entries with keys and vectors, some hundreds at a time

# what is kept of each entry, in vector order: hash of what makes it up to date, key of its vector, metadata
_ENTRIES = """
CREATE TABLE entries (
  row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content TEXT NOT NULL, vector BLOB NOT NULL, metadata TEXT NOT NULL
)"""
_WORDS = """
CREATE VIRTUAL TABLE words USING fts5 ({}, content='', tokenize = "unicode61 remove_diacritics 0 categories 'L* N* M*'")
"""  # terms are cut already, and stand between blanks


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
    refused: Mapping[str, RefusedText] | None = None,
) -> StagedBuild:
    """Write build `number` of `count` entries, whose vectors are in `cache`, on disk when this returns.

    Without a ranking, words count as they do where nothing is said. The floor is learnt from the vectors of
    `nonsense`, in its order; without them there is none. `refused` are the entries that are left out, by their ids.
    """
    ranking = ranking or Ranking()
    path = directory / manifest.ENTRIES
    done = 0
    groups = [f"g{number}" for number in range(len(ranking.groups))]
    sealed: dict[str, files.SealedFile] = {}
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as db,
        files.SealedWriter(directory / manifest.METADATA) as metadata,
    ):
        for begin in (
            f"PRAGMA user_version = {number}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            _ENTRIES,
        ):
            db.execute(begin)
        db.execute(_WORDS.format(", ".join(groups)))
        db.execute("BEGIN")

        def blocks() -> Iterator[Vectors]:
            nonlocal done
            for entries, keys, vectors in pages:
                documents = [_json(entry) for entry in entries]
                metadata.write((BETWEEN if done else OPEN) + BETWEEN.join(documents))
                rows = range(done, done + len(entries))
                kept = zip(rows, entries, keys, documents, strict=True)
                db.executemany(
                    "INSERT INTO entries VALUES (?, ?, ?, ?, ?)",
                    (
                        (row, one.id, content_hash(one), key, document.decode())
                        for row, one, key, document in kept
                    ),
                )
                texts = (ranking.texts(one.fields or {"text": one.text}) for one in entries)
                words = ([" ".join(tokenizer.terms_of(text)) for text in some] for some in texts)
                db.executemany(
                    f"INSERT INTO words (rowid, {', '.join(groups)}) VALUES (?{', ?' * len(groups)})",  # noqa: S608 - names of ours
                    ((row, *some) for row, some in zip(rows, words, strict=True)),
                )
                yield vectors
                done += len(entries)
            if not done:
                step = CommandHint("batch-submit")
                raise InputError(
                    "there is nothing to index", hint=f"run `{step}` to have rows answered first"
                )
            metadata.write(CLOSE)
            sealed[manifest.METADATA] = metadata.seal()

        sealed[manifest.INDEX] = write_vectors(
            directory / manifest.INDEX, blocks(), count=count, dim=cache.dim
        )
        db.execute("INSERT INTO words (words) VALUES ('optimize')")
        db.execute("COMMIT")
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
        words={"terms": tokenizer.NAME, **ranking.as_json()},
        refused=dict(refused or {}),
    )
    staged = StagedBuild(directory, written, cache)
    if nonsense is None:
        staged.seal()
        return staged
    with Index(directory, written) as index:
        staged.seal(floor=learn_floor(index, nonsense))
    return staged


def _json(entry: Entry) -> bytes:
    try:
        return orjson.dumps(
            entry.metadata if isinstance(entry.metadata, dict) else dict(entry.metadata)
        )
    except TypeError as error:
        raise InconsistentError(f"entry {entry.id!r} cannot be written as JSON: {error}") from None


@functools.cache
def nonsense() -> tuple[str, ...]:
    """Return the questions that mean nothing."""
    lines = (
        resources.files("pipeline.index")
        .joinpath("nonsense.txt")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    return tuple(line for line in lines if not line.startswith("#"))


def learn_floor(index: Index, questions: Vectors) -> Floor:
    """Return the floor of a build, of the vectors of the questions without meaning, (questions, dim).

    The line is as steep as the best hits of such questions are spread, and so high that most of them are below it. So
    it follows the model, the texts and their number by itself. Where words alone rank there is no cosine, and a sum of
    words says little: one rare word may be all that is asked, or one of ten. So that sum times the share of the
    question that it makes up has a floor of its own.
    """
    cosines = index.faiss.search(questions, 1)[0].ravel()
    asked = [tokenizer.terms_of_question(one) for one in nonsense()]
    words = [max(index.word_scores(some, most=1).values(), default=0.0) for some in asked]
    alone = [come_to(score, index.told(some)) for score, some in zip(words, asked, strict=True)]
    slope = max(float(np.std(cosines)), 1e-3) / max(
        float(np.std(words)), LEAST_SPREAD * index.rarest
    )
    height = max(float(np.quantile(cosines + slope * np.array(words), SHARE)), 1e-3)
    least = max(float(np.quantile(alone, SHARE)), LEAST_ALONE * index.rarest)
    return Floor(round(height, 4), round(height / slope, 4), round(least, 4))


def verify_build(staged: StagedBuild, *, count: int) -> None:
    """Pass when the build on disk is whole, its parts agree, and it holds `count` entries."""
    found = manifest.read_manifest(staged.directory)
    path = staged.directory / manifest.ENTRIES
    if found != staged.manifest:
        raise InconsistentError(
            f"{staged.directory / manifest.MANIFEST} changed after it was written"
        )
    if found.count != count:
        raise InconsistentError(f"the build holds {found.count} entries, expected {count}")
    for name, sha256 in staged.manifest.hashes.items():
        files.verify(staged.directory / name, sha256=sha256, what=f"{name} of the build")
    try:
        with Index(staged.directory, found) as index:
            _verify_entries(index.entries, staged.directory / manifest.METADATA, count)
            # FTS5's own check is a command that writes
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute("INSERT INTO words (words) VALUES ('integrity-check')")
            _verify_vectors(index, staged.cache)
    except sqlite3.DatabaseError as error:
        raise InconsistentError(f"{manifest.ENTRIES} of the build is damaged: {error}") from None
    staged.verified = True


def _verify_entries(db: sqlite3.Connection, metadata: Path, count: int) -> None:
    """Pass when the entries are as many as expected, in order, and `metadata.json` tells of the same ones."""
    expected = 0
    with metadata.open("rb") as file:
        for row, entry_id, document in db.execute(
            "SELECT row, id, metadata FROM entries ORDER BY row"
        ):
            line = (BETWEEN if row else OPEN) + document.encode()
            if row != expected or file.read(len(line)) != line:
                raise InconsistentError(
                    f"metadata and entries of the build differ at row {row}, entry {entry_id!r}"
                )
            expected += 1
        if expected != count or file.read(len(CLOSE) + 1) != CLOSE:
            raise InconsistentError(
                f"the build lists {expected} entries, expected {count}, or holds more than its entries"
            )
    other = "SELECT row, id FROM entries WHERE CAST(json_extract(metadata, '$.id') AS TEXT) <> id LIMIT 1"
    if found := db.execute(other).fetchone():
        raise InconsistentError(
            f"row {found[0]} of metadata.json is another entry than {found[1]!r}"
        )
    if found := db.execute("SELECT count(*) FROM words").fetchone()[0] - count:
        raise InconsistentError(
            f"the words of the build are of {count + found} entries, expected {count}"
        )


def keys_at(index: Index, rows: Iterable[int]) -> list[bytes]:
    """Return the keys of the vectors of some rows in the cache."""
    one = "SELECT vector FROM entries WHERE row = ?"
    return [*chain.from_iterable(index.entries.execute(one, (row,)).fetchone() for row in rows)]


def _verify_vectors(index: Index, cache: VectorCache) -> None:
    """Pass when faiss reads all rows, each is of unit length, and each of a sample finds itself first.

    What 8 bits a number find is held against an exact scan, see `pipeline.index.evaluate`.
    """
    count = index.manifest.count
    dim = index.manifest.dim
    held = index.faiss
    if (held.ntotal, held.d) != (count, dim):
        raise InconsistentError(
            f"the index holds {held.ntotal} x {held.d} numbers, expected {count} x {dim}"
        )
    tolerance = UNIT_TOLERANCE if is_exact(count) else ROUNDED
    for first in range(0, count, BLOCK):
        block = held.reconstruct_n(first, min(BLOCK, count - first))
        check_unit_rows(block, what=f"the build, rows from {first}", tolerance=tolerance)
    if not is_exact(count):
        return
    rows = np.array(sorted(random.Random(count).sample(range(count), min(SAMPLE, count))))  # noqa: S311 - no secret
    queries = cache.fetch(keys_at(index, rows.tolist()))
    own = np.einsum("ij,ij->i", queries, held.reconstruct_batch(rows))
    lost = rows[
        ~(own >= held.search(queries, 1)[0].ravel() - TIE)
    ]  # equal ones are other entries of equal text
    if len(lost):
        raise InconsistentError(
            f"row {lost[0]} does not find itself first: {len(lost)} of {len(rows)} so"
        )
