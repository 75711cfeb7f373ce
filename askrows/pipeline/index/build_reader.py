"""Read a build: nearest vectors, word scores and metadata of its entries.

An `Index` opens all files of its build at once and keeps them open. Vectors and metadata are of the
same build, even if another build is promoted or this build is deleted meanwhile. Files are read on
demand: faiss maps its file, and only the metadata of hits is read. So a search is quick at any
size.

Rows are numbered from 0: first the entries, then the untagged rows, which have no answer and no
vector and are found by words only.

Words are searched with SQLite's FTS5 over the terms of `askrows.pipeline.core.tokenizer`. The
score of an entry is FTS5's BM25 with the weights of its groups of fields.
"""

import math
import os
import sqlite3
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from askrows.pipeline.core import tokenizer
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import AskrowsError, InconsistentError
from askrows.pipeline.core.ranking import parse_ranking
from askrows.pipeline.index import manifest
from askrows.pipeline.index.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askrows.pipeline.index import vector_file

    # Whether each row of a build passes the filters.
    Mask = NDArray[np.bool_]

# IDF that FTS5 uses for a term of more than half of the entries.
MIN_IDF = 1e-6
_CREATE_VOCABULARY = "CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab (main, words, row)"
_SCORE_WORDS = """
SELECT rowid, -rank FROM words WHERE words MATCH ? AND rank MATCH ? ORDER BY rank LIMIT ?
"""


class Index(AbstractContextManager["Index"]):
    """A build, open for searching. Closing is allowed but not necessary.

    `entries` is the read-only database of the entries and their terms.
    """

    def __init__(self, directory: Path, build_manifest: Manifest) -> None:
        """Open the files of the build in `directory`; they stay open until `close`.

        Args:
            build_manifest: The manifest of the build, already read and checked.

        Raises:
            InconsistentError: The terms are of another version, or the entries are damaged or of
                another build.
            FileNotFoundError: A file is missing; the build was deleted meanwhile.
        """
        terms_version = build_manifest.words.get("terms")
        if terms_version != tokenizer.TERMS_VERSION:
            message = (
                f"the index has words in the form {terms_version}, "
                f"but this version of askrows reads {tokenizer.TERMS_VERSION}"
            )
            raise InconsistentError(
                message,
                hint=f"run `{CommandHint('index')}`",
            )

        self._directory = directory
        self.manifest = build_manifest
        self.ranking = parse_ranking(build_manifest.words)
        weights = ", ".join(str(group.weight) for group in self.ranking.groups)
        self._bm25_function = f"bm25({weights})"
        self._vectors_descriptor = os.open(
            directory / manifest.INDEX_FILE,
            os.O_RDONLY,
        )
        # Closes the file once, also if nobody calls `close`.
        self._close_vectors = weakref.finalize(
            self,
            os.close,
            self._vectors_descriptor,
        )
        self.entries = _open_entries_database(
            directory / manifest.ENTRIES_FILE,
            build_manifest.number,
        )

    def __len__(self) -> int:
        """Return the number of entries, which are the rows with a vector."""
        return self.manifest.count

    @property
    def row_count(self) -> int:
        """Number of rows with words: the entries, then the untagged rows, which have no vector."""
        return self.manifest.count + self.manifest.untagged

    def close(self) -> None:
        """Close the files; the index cannot be used afterwards."""
        self._close_vectors()
        self.entries.close()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Close the files, and report an unexpected error as damage if the files have changed.

        Raises:
            InconsistentError: The block raised an unexpected exception, and a file has other bytes
                than the build was made with.
        """
        self.close()
        if not isinstance(error, Exception) or isinstance(error, AskrowsError):
            return
        for message in manifest.iterate_changed_file_messages(self._directory, self.manifest):
            raise InconsistentError(
                message,
                hint=f"run `{CommandHint('index')}`",
            ) from error

    @cached_property
    def faiss(self) -> Any:
        """The mapped faiss index. faiss is imported on first use only, because it is slow."""
        from askrows.pipeline.index import vector_file

        path = self._directory / manifest.INDEX_FILE
        return vector_file.open_faiss_index(path, self._vectors_descriptor)

    def find_nearest_entries(
        self,
        vector: "NDArray[np.float32]",
        k: int,
        mask: "Mask | None" = None,
    ) -> "vector_file.NearestRows":
        """Return similarities and row numbers of the `k` entries most similar to a vector.

        The most similar entry is first; equal entries are in row order. Untagged rows have no
        vector and are not returned.

        Args:
            vector: Array (dim,).
            k: Maximum number of entries.
            mask: Array bool (rows,) of the rows that may be returned, or None for all entries.
        """
        import numpy as np

        from askrows.pipeline.index import vector_file

        query = np.asarray(vector, dtype=np.float32).reshape(1, -1)
        entry_mask = None if mask is None else mask[: len(self)]
        return vector_file.find_nearest_rows(self.faiss, query, k, entry_mask)

    def drop_common_terms(self, query_terms: Iterable[str]) -> list[str]:
        """Return the terms that at most half of the entries contain, or else all terms.

        Repetitions are kept.
        """
        terms = list(query_terms)
        return [term for term in terms if self.compute_idf(term) > MIN_IDF] or terms

    def score_rows_by_words(
        self,
        query_terms: Iterable[str],
        *,
        limit: int = -1,
    ) -> dict[int, float]:
        """Return {row: BM25 score} of the rows that contain at least one query term, best first.

        Args:
            query_terms: Terms; a repeated term counts each time. If empty, so is the result.
            limit: Maximum number of rows; -1 means all.
        """
        terms_by_count = defaultdict[int, list[str]](list)
        for term, count in Counter(iter(query_terms)).items():
            terms_by_count[count].append(term)
        if len(terms_by_count) == 1:
            ((count, terms),) = terms_by_count.items()
            return {
                row: count * score for row, score in self._iterate_rows_with_any_term(terms, limit)
            }

        # A single FTS5 query with repetitions is slow: its time grows with their square.
        total_scores = defaultdict[int, float](float)
        for count, terms in terms_by_count.items():
            for row, score in self._iterate_rows_with_any_term(terms):
                total_scores[row] += count * score
        best_scores = sorted(total_scores.items(), key=lambda item: (-item[1], item[0]))
        return dict(best_scores if limit < 0 else best_scores[:limit])

    def _iterate_rows_with_any_term(
        self, terms: Iterable[str], limit: int = -1
    ) -> Iterator[tuple[int, float]]:
        """Yield (row, BM25 score) of the rows that contain any of the terms, best first."""
        fts_query = " OR ".join(map(_quote_fts_term, terms))
        return self.entries.execute(_SCORE_WORDS, (fts_query, self._bm25_function, limit))

    def find_rows_with_all_terms(
        self,
        required_terms: Iterable[str],
        candidate_rows: Sequence[int] = (),
    ) -> set[int]:
        """Return the numbers of the rows that contain every term, in any group of fields.

        Args:
            required_terms: The terms. Without terms, all searched rows match.
            candidate_rows: The rows to search. Empty means all rows of the build, not none.
        """
        fts_query = " AND ".join(map(_quote_fts_term, dict.fromkeys(required_terms)))
        if fts_query:
            statement = "SELECT rowid FROM words WHERE words MATCH ?"
        else:
            statement = "SELECT row FROM entries WHERE ? = ''"
        if candidate_rows:
            statement += f" AND rowid IN ({', '.join(map(str, candidate_rows))})"
        return {row for (row,) in self.entries.execute(statement, (fts_query,))}

    @property
    def rarest_idf(self) -> float:
        """IDF of a term that a single entry contains.

        Unlike FTS5's, it is above 0 also for few entries.
        """
        return math.log1p((self.row_count - 0.5) / 1.5)

    def compute_idf(self, term: str) -> float:
        """Return the inverse document frequency of a term as FTS5 computes it.

        It is 0 if no entry has the term, else at least MIN_IDF. The term must have the form in
        which the tokenizer stores it, such as lower case.
        """
        record = self._vocabulary.execute(
            "SELECT doc FROM temp.vocabulary WHERE term = ?",
            (term,),
        ).fetchone()
        if not record:
            return 0.0
        entry_count = record[0]
        odds = (self.row_count - entry_count + 0.5) / (entry_count + 0.5)
        return max(math.log(odds), MIN_IDF)

    def sum_idf(self, query_terms: Iterable[str]) -> float:
        """Return the sum of the IDF of the distinct terms; an unused term counts as a rarest."""
        distinct_terms = dict.fromkeys(query_terms)
        return sum(self.compute_idf(term) or self.rarest_idf for term in distinct_terms)

    @cached_property
    def _vocabulary(self) -> sqlite3.Connection:
        """The entries' connection, after the vocabulary table was attached to it."""
        self.entries.execute(_CREATE_VOCABULARY)
        return self.entries

    def find_row_and_content_hash(self, entry_id: str) -> tuple[int, str] | None:
        """Return the row number (from 0) and content hash of an entry or an untagged row, or None.

        Row numbers of untagged rows are not below `len(self)`.
        """
        statement = "SELECT row, content FROM entries WHERE id = ?"
        record: tuple[int, str] | None = self.entries.execute(statement, (entry_id,)).fetchone()
        return record

    def read_metadata(self, row: int) -> Mapping[str, Any]:
        """Return the metadata of an entry by its row number (from 0).

        Raises:
            InconsistentError: The build has no such row.
        """
        record = self.entries.execute(
            "SELECT metadata FROM entries WHERE row = ?",
            (row,),
        ).fetchone()
        if record is None:
            raise InconsistentError(
                f"the build in service has no row {row}",
                hint=f"run `{CommandHint('index')}`, or `{CommandHint('doctor')}`",
            )
        document: dict[str, Any] = orjson.loads(record[0])
        return document

    def read_extra_cells(self, row: int) -> Mapping[str, Any]:
        """Return {column: cell} of the source columns of a row that are not in its metadata.

        Rows are counted from 0. Returns {} if there are no such columns.
        """
        record = self.entries.execute(
            "SELECT cells FROM extra_cells WHERE row = ?",
            (row,),
        ).fetchone()
        if record is None:
            return {}
        cells: dict[str, Any] = orjson.loads(record[0])
        return cells

    def read_extra_column_names(self) -> list[str]:
        """Return the names of the other columns of the source, sorted; reads all their cells."""
        statement = "SELECT DISTINCT key FROM extra_cells, json_each(cells) ORDER BY key"
        return [name for (name,) in self.entries.execute(statement)]

    def read_content_hashes(self) -> dict[str, str]:
        """Return the content hash of each entry when the build was made, by id, in row order."""
        statement = "SELECT id, content FROM entries WHERE row < ? ORDER BY row"
        return dict(self.entries.execute(statement, (len(self),)))


def _quote_fts_term(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


def _open_entries_database(path: Path, build_number: int) -> sqlite3.Connection:
    """Open the entries of a build read-only; the file stays open if it is deleted.

    Args:
        build_number: Number that the file must have.

    Raises:
        FileNotFoundError: The file does not exist.
        InconsistentError: The file is damaged or belongs to another build.
    """
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        # SQLite would otherwise open the file at the first query.
        db.execute("SELECT 1 FROM entries, words LIMIT 0")
        (stored_number,) = db.execute("PRAGMA user_version").fetchone()
    # A damaged schema can contain names that are not UTF-8.
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise InconsistentError(
            f"{path} cannot be read as a database of entries: {error}",
            hint=f"run `{CommandHint('index')}`",
        ) from None

    if stored_number != build_number:
        raise InconsistentError(
            f"{path} belongs to build {stored_number}, expected build {build_number}",
            hint=f"run `{CommandHint('index')}`",
        )
    return db
