"""Write a build into a staging directory in constant memory, and verify it.

Entries are written to `metadata.json` and `entries.sqlite` as they arrive, with their terms. Their
vectors come from the cache and are written to `faiss.index`. The manifest is written last. All
files are on disk when `write_build` returns.

An untagged row has no answer and no vector; only its words are written. The floor of a build is the
scores that most meaningless queries do not reach; hits below it are weak. The meaningless queries
are the nonsense queries in `nonsense.txt`.

A build must not be linked before it is verified. The verification reads the files back from disk
and the vectors from the cache; it uses nothing that was in memory when they were written.
"""

import functools
import itertools
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

import numpy as np
import orjson

from askrows.pipeline.core import files, tokenizer
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import InconsistentError, InputError
from askrows.pipeline.core.ranking import Entry, Ranking
from askrows.pipeline.index import manifest
from askrows.pipeline.index.build_reader import Index
from askrows.pipeline.index.manifest import (
    Floor,
    Manifest,
    RefusedText,
    StagedBuild,
    hash_entry_content,
    scale_word_score_by_matched_share,
)
from askrows.pipeline.index.vector_cache import (
    ENTRY_TASK_TYPE,
    UNIT_TOLERANCE,
    VectorCache,
    Vectors,
    check_unit_length_rows,
)
from askrows.pipeline.index.vector_file import BLOCK_ROWS, stores_exact_vectors, write_faiss_index
from askrows.pipeline.store.database import split_into_pages

# Bytes before, between and after the lines of metadata.json.
METADATA_START = b"[\n"
METADATA_SEPARATOR = b",\n"
METADATA_END = b"\n]\n"

# Rows of a new build that must find themselves first.
MAX_SELF_SEARCH_ROWS = 64
# Closer similarities are equal; float32 sums of 3,072 products differ by less.
SIMILARITY_TOLERANCE = 1e-5
# Allowed deviation from length 1 of a vector of 8-bit numbers.
QUANTIZED_UNIT_TOLERANCE = 0.02
# Similarities of two vectors of 8-bit numbers deviate in opposite directions.
QUANTIZED_SIMILARITY_TOLERANCE = 2 * QUANTIZED_UNIT_TOLERANCE

# Share of meaningless queries whose best hits are below the floor.
FLOOR_QUANTILE = 0.94
# Minimum spread of word scores, as a share of the IDF of the rarest term. If few meaningless
# queries find a word at all, their measured spread is too small.
MIN_WORD_SPREAD_SHARE = 0.2
# Minimum floor for words only, as a share of the same IDF: about a rare word in a query of five.
MIN_WORDS_ALONE_SHARE = 0.05

# Some hundred entries with their cache keys and vectors.
EntryPage = tuple[Sequence[Entry], Sequence[bytes], Vectors]


@dataclass(frozen=True)
class BuildInput:
    """What one snapshot of the database gives a build."""

    # Entries in vector order with their keys and vectors.
    pages: Iterable[EntryPage]
    # Expected number of entries.
    count: int
    # Weights of the fields.
    ranking: Ranking
    # A counter of the database, which grows with each change of a task's rows.
    position: int
    # Entries that are left out, by their ids.
    refused_texts: Mapping[str, RefusedText]
    # Rows without an answer that only their words find.
    untagged_rows: Iterable[Entry]


# One row per entry in vector order: content hash, cache key of the vector, metadata as JSON.
_CREATE_ENTRIES = (
    "\nCREATE TABLE entries (\n"
    "  row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content TEXT NOT NULL, "
    "vector BLOB NOT NULL, metadata TEXT NOT NULL\n)"
)
# The other columns of the source, as JSON, of rows that have any.
_CREATE_EXTRA_CELLS = "CREATE TABLE extra_cells (row INTEGER PRIMARY KEY, cells TEXT NOT NULL)"
# A column per group of fields. Texts are terms separated by spaces, so FTS5 only splits them.
_CREATE_WORDS = (
    "\nCREATE VIRTUAL TABLE words USING fts5 ({}, content='', "
    "tokenize = \"unicode61 remove_diacritics 0 categories 'L* N* M*'\")\n"
)
_SELECT_OTHER_ID = (
    "SELECT row, id FROM entries WHERE CAST(json_extract(metadata, '$.id') AS TEXT) <> id LIMIT 1"
)


class _EntryWriter:
    """Writes entries to `entries.sqlite` and `metadata.json`."""

    def __init__(
        self,
        db: sqlite3.Connection,
        metadata: files.SealedWriter,
        ranking: Ranking,
        *,
        build_number: int,
    ) -> None:
        """Create the tables of entries and words in an empty database, and begin a transaction.

        SQLite's own protection against a crash is switched off.

        Args:
            db: Connection to the new `entries.sqlite`.
            metadata: Writer of `metadata.json`.
            ranking: Groups of fields; each group gets a column of words.
            build_number: Number of the build, stored in the database.
        """
        self.entry_count = 0
        self.untagged_count = 0
        # Sealed files by name.
        self.sealed: dict[str, files.SealedFile] = {}
        self._db = db
        self._metadata = metadata
        self._ranking = ranking

        columns = [f"g{group_index}" for group_index in range(len(ranking.groups))]
        placeholders = ", ?" * len(columns)
        self._insert_words = (
            f"INSERT INTO words (rowid, {', '.join(columns)}) "  # noqa: S608 - generated names
            f"VALUES (?{placeholders})"
        )

        db.execute(f"PRAGMA user_version = {build_number}")
        # The file is synced once it is complete, so SQLite need not protect it.
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute(_CREATE_ENTRIES)
        db.execute(_CREATE_EXTRA_CELLS)
        db.execute(_CREATE_WORDS.format(", ".join(columns)))
        db.execute("BEGIN")

    def write_entries_and_yield_vectors(self, pages: Iterable[EntryPage]) -> Iterator[Vectors]:
        """Write the entries and keys of each page, then yield its vectors, which are not written.

        The caller writes the vectors. After the last page, `metadata.json` is completed and synced
        to disk, and its hash is stored in `self.sealed`.

        Raises:
            InputError: There are no entries.
        """
        for entries, keys, vectors in pages:
            documents = [_encode_metadata(entry) for entry in entries]
            prefix = METADATA_SEPARATOR if self.entry_count else METADATA_START
            self._metadata.write(prefix + METADATA_SEPARATOR.join(documents))
            self._insert_entries_words_and_cells(
                entries, keys, documents, first_row=self.entry_count
            )
            self.entry_count += len(entries)
            yield vectors
        if not self.entry_count:
            step = CommandHint("batch-submit")
            raise InputError(
                "there is nothing to index",
                hint=f"run `{step}` to answer rows first",
            )
        self._metadata.write(METADATA_END)
        self.sealed[manifest.METADATA_FILE] = self._metadata.seal()

    def write_untagged_rows(self, rows: Iterable[Entry]) -> None:
        """Append untagged rows to the tables of entries and words, after all entries.

        Raises:
            InconsistentError: The metadata of a row cannot be written as JSON.
        """
        for page in split_into_pages(rows):
            self._insert_entries_words_and_cells(
                page,
                [b""] * len(page),
                [_encode_metadata(entry) for entry in page],
                first_row=self.entry_count + self.untagged_count,
            )
            self.untagged_count += len(page)

    def _insert_entries_words_and_cells(
        self,
        entries: Sequence[Entry],
        keys: Sequence[bytes],
        documents: Sequence[bytes],
        *,
        first_row: int,
    ) -> None:
        """Insert rows into the tables `entries`, `words` and `extra_cells` of the build's database.

        `words` gets the terms of each group of fields, and `extra_cells` the columns of the source
        that are not in the metadata.

        Args:
            entries: The entries or untagged rows.
            keys: The key of the vector of each entry; empty without a vector.
            documents: The metadata of each entry as JSON.
            first_row: Number of the first row.
        """
        records = []
        word_records = []
        cell_records = []
        for row, (entry, key, document) in enumerate(
            zip(entries, keys, documents, strict=True),
            start=first_row,
        ):
            records.append((row, entry.id, hash_entry_content(entry), key, document.decode()))
            group_texts = self._ranking.texts(entry.fields or {"text": entry.text})
            group_terms = [" ".join(tokenizer.extract_entry_terms(text)) for text in group_texts]
            word_records.append((row, *group_terms))
            if entry.extra_cells:
                cell_records.append((row, orjson.dumps(dict(entry.extra_cells)).decode()))
        self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", records)
        self._db.executemany(self._insert_words, word_records)
        self._db.executemany("INSERT INTO extra_cells VALUES (?, ?)", cell_records)

    def optimize_and_commit(self) -> None:
        """Optimize the word index and commit the transaction."""
        self._db.execute("INSERT INTO words (words) VALUES ('optimize')")
        self._db.execute("COMMIT")


def write_build(
    directory: Path,
    build_input: BuildInput,
    cache: VectorCache,
    *,
    number: int,
    built_at: datetime,
    meaningless_vectors: Vectors | None,
) -> StagedBuild:
    """Write a build into a staging directory; it is on disk when this returns.

    The build is not verified. The manifest is written last.

    Args:
        directory: The staging directory.
        build_input: The entries and all else that was read from the database.
        cache: The cache that contains the vectors; names their model and width.
        number: Number of the build.
        built_at: Now, in UTC.
        meaningless_vectors: Vectors of `load_meaningless_queries` in its order, from which the
            floor is computed, or None for a build without a floor.

    Raises:
        InputError: There are no entries.
        InconsistentError: The metadata of an entry cannot be written as JSON.
    """
    entries_path = directory / manifest.ENTRIES_FILE
    with (
        closing(sqlite3.connect(entries_path, isolation_level=None)) as db,
        files.SealedWriter(directory / manifest.METADATA_FILE) as metadata,
    ):
        writer = _EntryWriter(db, metadata, build_input.ranking, build_number=number)
        sealed_index = write_faiss_index(
            directory / manifest.INDEX_FILE,
            writer.write_entries_and_yield_vectors(build_input.pages),
            row_count=build_input.count,
            dim=cache.dim,
        )
        writer.write_untagged_rows(build_input.untagged_rows)
        writer.optimize_and_commit()
    sealed = {
        **writer.sealed,
        manifest.INDEX_FILE: sealed_index,
        manifest.ENTRIES_FILE: files.sync_part(entries_path),
    }

    build_manifest = Manifest(
        number=number,
        count=writer.entry_count,
        untagged=writer.untagged_count,
        model=cache.model,
        dim=cache.dim,
        task_type=ENTRY_TASK_TYPE,
        position=build_input.position,
        built_at=built_at,
        hashes={name: sealed[name].sha256 for name in manifest.PART_FILES},
        sizes={name: sealed[name].size for name in manifest.PART_FILES},
        words={"terms": tokenizer.TERMS_VERSION, **build_input.ranking.as_json()},
        refused=dict(build_input.refused_texts),
    )
    staged = StagedBuild(directory, build_manifest, cache)
    if meaningless_vectors is None:
        staged.seal_manifest()
        return staged

    with Index(directory, build_manifest) as index:
        staged.seal_manifest(
            floors={
                script: compute_weakness_floor(index, meaningless_vectors, script=script)
                for script in tokenizer.SCRIPTS
            },
        )
    return staged


def _encode_metadata(entry: Entry) -> bytes:
    """Return the metadata of an entry as one line of JSON, or raise InconsistentError."""
    try:
        return orjson.dumps(dict(entry.metadata))
    except TypeError as error:
        raise InconsistentError(f"entry {entry.id!r} cannot be written as JSON: {error}") from None


@functools.cache
def load_meaningless_queries() -> tuple[str, ...]:
    """Return the meaningless queries from which builds learn their floors."""
    file = resources.files("askrows.pipeline.index").joinpath("nonsense.txt")
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def compute_weakness_floor(index: Index, query_vectors: Vectors, *, script: str) -> Floor:
    """Return a floor of a build: the scores below which a hit is weak.

    Each script has a floor of its own, because the vectors of a script that few entries have are
    near to each other, whatever they mean.

    The floor is learned from meaningless queries (nonsense), whose best hits show which scores mean
    nothing in this build. For each of them the best cosine and the best word score (BM25) are
    computed.

    - `cosine` and `words` are for searches by vectors and words. A hit is weak if (its cosine /
      `cosine`) + (its word score / `words`) is below 1. For example, with `cosine` 0.6 and `words`
      12, a hit with the cosine 0.3 needs a word score of 6 (less for a short query, see
      `Floor.is_weak`). Both are chosen so that the share FLOOR_QUANTILE of the best hits is weak.
      `cosine` / `words` is the standard deviation of the best cosines divided by that of the best
      word scores.
    - `alone` is for searches by words only, which have no cosine. The word score is multiplied by
      the share of the query that was matched, because a single rare word gets
      the same score whether it is the whole query or one of ten words. `alone` is the
      FLOOR_QUANTILE of these products.

    The floor would be too low if few of the queries find a word at all. Therefore there are two
    minimums, which are shares of the IDF (inverse document frequency) of the rarest term. The
    standard deviation of the word scores is at least the share MIN_WORD_SPREAD_SHARE, and `alone`
    is at least the share MIN_WORDS_ALONE_SHARE.

    Args:
        index: The open build.
        query_vectors: Vectors of `load_meaningless_queries`, (queries, dim), in its order.
        script: Learn from the queries of this script, one of `tokenizer.SCRIPTS`.
    """
    all_queries = load_meaningless_queries()
    is_learned = [tokenizer.find_script(query) == script for query in all_queries]
    best_cosines = index.faiss.search(query_vectors[is_learned], 1)[0].ravel()
    best_word_scores = []
    alone_scores = []
    for query in itertools.compress(all_queries, is_learned):
        # Weakness ignores repetitions, see `askrows.pipeline.index.hits.make_hits`.
        query_terms = list(dict.fromkeys(tokenizer.extract_query_terms(query)))
        scores_by_row = index.score_rows_by_words(query_terms, limit=1)
        best_word_score = max(scores_by_row.values(), default=0.0)
        best_word_scores.append(best_word_score)
        alone_scores.append(
            scale_word_score_by_matched_share(
                best_word_score,
                index.sum_idf(query_terms),
            ),
        )

    cosine_spread = max(float(np.std(best_cosines)), 1e-3)
    min_word_spread = MIN_WORD_SPREAD_SHARE * index.rarest_idf
    word_spread = max(float(np.std(best_word_scores)), min_word_spread)
    slope = cosine_spread / word_spread

    combined_scores = best_cosines + slope * np.array(best_word_scores)
    height = max(float(np.quantile(combined_scores, FLOOR_QUANTILE)), 1e-3)
    alone_quantile = float(np.quantile(alone_scores, FLOOR_QUANTILE))
    alone = max(alone_quantile, MIN_WORDS_ALONE_SHARE * index.rarest_idf)
    return Floor(
        cosine=round(height, 4),
        words=round(height / slope, 4),
        alone=round(alone, 4),
    )


def verify_and_mark_build(staged: StagedBuild, *, count: int) -> None:
    """Verify a staged build from disk, and mark it as verified.

    Checks the manifest, hashes, entry count, metadata, word index and vectors.

    Args:
        staged: The build.
        count: Expected number of entries.

    Raises:
        InconsistentError: A check failed.
    """
    stored_manifest = manifest.read_manifest(staged.directory)
    if stored_manifest != staged.manifest:
        raise InconsistentError(
            f"{staged.directory / manifest.MANIFEST_FILE} changed after it was written",
        )
    if stored_manifest.count != count:
        raise InconsistentError(
            f"the build has {stored_manifest.count} entries, expected {count}",
        )
    for name, sha256 in staged.manifest.hashes.items():
        files.verify_sealed_file(
            staged.directory / name,
            sha256=sha256,
            file_label=f"{name} of the build",
        )

    entries_path = staged.directory / manifest.ENTRIES_FILE
    try:
        with Index(staged.directory, stored_manifest) as index:
            _verify_entries(index, staged.directory / manifest.METADATA_FILE)
            # The check of FTS5 is an INSERT, so it needs a connection that may write.
            with closing(sqlite3.connect(entries_path, isolation_level=None)) as db:
                db.execute("INSERT INTO words (words) VALUES ('integrity-check')")
            _verify_vectors_and_sampled_searches(index, staged.cache)
    except sqlite3.DatabaseError as error:
        raise InconsistentError(
            f"{manifest.ENTRIES_FILE} of the build is damaged: {error}",
        ) from None
    staged.is_verified = True


def _verify_entries(index: Index, metadata_path: Path) -> None:
    """Check that entries are consecutive, equal to `metadata.json`, and as many as in the manifest.

    Also checks the id in the metadata of each row, and the number of rows of words.

    Raises:
        InconsistentError: A check failed.
    """
    db = index.entries
    count = len(index)
    expected_row = 0
    with metadata_path.open("rb") as file:
        for row, entry_id, document in db.execute(
            "SELECT row, id, metadata FROM entries WHERE row < ? ORDER BY row",
            (count,),
        ):
            prefix = METADATA_SEPARATOR if row else METADATA_START
            line = prefix + document.encode()
            if row != expected_row or file.read(len(line)) != line:
                raise InconsistentError(
                    f"metadata and entries of the build differ at row {row}, entry {entry_id!r}",
                )
            expected_row += 1
        end = file.read(len(METADATA_END) + 1)
        if expected_row != count or end != METADATA_END:
            raise InconsistentError(
                f"the build lists {expected_row} entries, expected {count}, "
                "or has more lines than entries",
            )

    other_id = db.execute(_SELECT_OTHER_ID).fetchone()
    if other_id:
        raise InconsistentError(
            f"row {other_id[0]} of metadata.json has another id than {other_id[1]!r}",
        )
    (word_row_count,) = db.execute("SELECT count(*) FROM words").fetchone()
    if word_row_count != index.row_count:
        raise InconsistentError(
            f"the build has words for {word_row_count} rows, expected {index.row_count}",
        )


def read_vector_keys(index: Index, rows: Iterable[int]) -> list[bytes]:
    """Return the cache key of the vector of each row, in the given order."""
    statement = "SELECT vector FROM entries WHERE row = ?"
    return [index.entries.execute(statement, (row,)).fetchone()[0] for row in rows]


def _verify_vectors_and_sampled_searches(index: Index, cache: VectorCache) -> None:
    """Check number, width and unit length of all vectors, and that sampled rows find themselves.

    The nearest entry of each sampled vector must be its row, or an equally similar row.

    Raises:
        InconsistentError: A check failed.
    """
    count = index.manifest.count
    dim = index.manifest.dim
    if (index.faiss.ntotal, index.faiss.d) != (count, dim):
        raise InconsistentError(
            f"the index has {index.faiss.ntotal} x {index.faiss.d} numbers, "
            f"expected {count} x {dim}",
        )

    unit_tolerance = UNIT_TOLERANCE
    similarity_tolerance = SIMILARITY_TOLERANCE
    if not stores_exact_vectors(count):
        unit_tolerance = QUANTIZED_UNIT_TOLERANCE
        similarity_tolerance = QUANTIZED_SIMILARITY_TOLERANCE

    for first_row in range(0, count, BLOCK_ROWS):
        row_count = min(BLOCK_ROWS, count - first_row)
        block = index.faiss.reconstruct_n(
            first_row,
            row_count,
        )
        check_unit_length_rows(
            block,
            subject=f"the build, rows from {first_row}",
            tolerance=unit_tolerance,
        )

    sample_size = min(MAX_SELF_SEARCH_ROWS, count)
    sampled_rows = random.Random(count).sample(range(count), sample_size)  # noqa: S311 - no secret
    rows = np.array(sorted(sampled_rows))
    queries = cache.require_vectors_and_delete_damaged(read_vector_keys(index, rows.tolist()))
    own_similarities = np.einsum(
        "ij,ij->i",
        queries,
        index.faiss.reconstruct_batch(rows),
    )
    best_similarities = index.faiss.search(queries, 1)[0].ravel()
    # Entries of equal text are equally similar, so only the similarity counts, not the row. The
    # comparison is negated, because a comparison with NaN is false.
    lost_rows = rows[~(own_similarities >= best_similarities - similarity_tolerance)]
    if len(lost_rows):
        raise InconsistentError(
            f"{len(lost_rows)} of {len(rows)} rows are not the nearest of their own vector, "
            f"first row {lost_rows[0]}",
        )
