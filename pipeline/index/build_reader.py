"""Answer searches from one build.

An `Index` opens the files of its build at once and holds on to them, so whatever is promoted or removed
meanwhile, vectors and metadata are of the same build. Nothing is read before it is asked for: faiss maps its file, and
of the metadata only the hits are read. That keeps one search quick at any size. Words are SQLite's FTS5 over terms of
ours: what a text of several groups of fields is worth is FTS5's BM25, with the weights of its groups.
"""

import math
import os
import sqlite3
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import FindableError, InconsistentError
from pipeline.core.ranking import ranking_from_json
from pipeline.core.text import one_line
from pipeline.index import manifest, tokenizer
from pipeline.index.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.engine.task import IndexedTask
    from pipeline.index.query import Mask
    from pipeline.index.scoring import Snippet

LEAST = 1e-6  # what FTS5 counts for a term that more than half of the entries have
_VOCABULARY = "CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab (main, words, row)"


@dataclass(frozen=True)
class Hit:
    """One entry found: its rank from 1, the inner product with the query, and its row of `metadata.json`.

    It has no similarity where words alone rank. `score` is what the entries are ranked by. `why` says it in words,
    `snippet` is the sentence that matched best, `tags` are those that match; whether it `is_weak` is known where a
    question was asked, and the build has a floor.
    """

    rank: int
    similarity: float | None
    metadata: Mapping[str, Any]
    score: float
    why: str = ""
    snippet: "Snippet | None" = None
    tags: tuple[str, ...] = ()
    is_weak: bool | None = None

    __repr__ = one_line

    @property
    def document(self) -> dict[str, Any]:
        """Return a flat row: rank and score, the metadata, and the snippet's text."""
        own = {"rank": self.rank, "score": self.score, "why": self.why, "is_weak": self.is_weak}
        return {**own, **self.metadata, "snippet": self.snippet.text if self.snippet else None}


class Index(AbstractContextManager["Index"]):
    """One build, open for searching; closing it is allowed and not needed.

    `entries` is the database of its entries and their words, which nothing changes any more.
    """

    def __init__(self, directory: Path, found: Manifest) -> None:
        """Open the files of the build in `directory`, by its manifest."""
        if (made := found.words.get("terms")) != tokenizer.NAME:
            said = f"the index has words made by {made}, and this version makes {tokenizer.NAME}"
            raise InconsistentError(said, hint=f"run `{CommandHint('index')}`")
        self._directory = directory
        self.manifest = found
        self.ranking = ranking_from_json(found.words)
        self._bm25 = f"bm25({', '.join(str(group.weight) for group in self.ranking.groups)})"
        self._vectors = os.open(directory / manifest.INDEX, os.O_RDONLY)
        self._close = weakref.finalize(
            self, os.close, self._vectors
        )  # once, and where nobody closes it
        self.entries = _read_entries(directory / manifest.ENTRIES, found.number)

    def __len__(self) -> int:
        return self.manifest.count

    def close(self) -> None:
        """Give the files back to the system; nothing can be asked afterwards."""
        self._close()
        self.entries.close()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Close the files. What failed is told as damage where they have other bytes than the build was made with."""
        self.close()
        if isinstance(error, Exception) and not isinstance(error, FindableError):
            for said in manifest.changed(self._directory, self.manifest):
                raise InconsistentError(said, hint=f"run `{CommandHint('index')}`") from error

    @cached_property
    def faiss(self) -> Any:
        """The index, mapped; faiss is imported here, so that counting needs none of it."""
        from pipeline.index import vector_file

        return vector_file.open_vectors(self._directory / manifest.INDEX, self._vectors)

    def nearest(
        self, vector: "NDArray[np.float32]", k: int, mask: "Mask | None" = None
    ) -> "tuple[NDArray[np.float32], NDArray[np.int64]]":
        """Return similarities and rows of the `k` entries most like `vector`, shape (dim,), or of those that pass.

        Most similar first, equal ones in vector order.
        """
        import numpy as np

        from pipeline.index import vector_file

        return vector_file.nearest(
            self.faiss, np.asarray(vector, dtype=np.float32).reshape(1, -1), k, mask
        )

    def telling(self, question: Iterable[str]) -> list[str]:
        """Return the terms of a question that at most half of the entries have, or all where there are no others."""
        asked = list(dict.fromkeys(question))
        return [term for term in asked if self.idf(term) > LEAST] or asked

    def word_scores(self, question: Iterable[str], *, most: int = -1) -> dict[int, float]:
        """Return what BM25 gives the entries that have any term of a question, by row, the `most` best first."""
        found = "SELECT rowid, -rank FROM words WHERE words MATCH ? AND rank MATCH ? ORDER BY rank LIMIT ?"
        asked = " OR ".join(map(_quoted, dict.fromkeys(question)))
        return dict(self.entries.execute(found, (asked, self._bm25, most))) if asked else {}

    def holding(self, wanted: Iterable[str], among: Sequence[int] = ()) -> set[int]:
        """Return the rows of the entries that have every one of some terms, in whatever group, or those among some."""
        asked = " AND ".join(map(_quoted, dict.fromkeys(wanted)))
        found = (
            "SELECT rowid FROM words WHERE words MATCH ?"
            if asked
            else "SELECT row FROM entries WHERE ? = ''"
        )
        found += f" AND rowid IN ({', '.join(map(str, among))})" if among else ""
        return {row for (row,) in self.entries.execute(found, (asked,))}

    @property
    def rarest(self) -> float:
        """How much a term tells that one entry has."""
        return math.log1p(
            (len(self) - 0.5) / 1.5
        )  # above 0 also where there are few, unlike FTS5's

    def idf(self, term: str) -> float:
        """Return how much a term tells, as FTS5 counts it; 0 where none has it."""
        found = self._vocabulary.execute(
            "SELECT doc FROM temp.vocabulary WHERE term = ?", (term,)
        ).fetchone()
        return (
            max(math.log((len(self) - found[0] + 0.5) / (found[0] + 0.5)), LEAST) if found else 0.0
        )

    def told(self, question: Iterable[str]) -> float:
        """Return how much all terms of a question tell; what no entry has tells as much as what one has."""
        return sum(self.idf(term) or self.rarest for term in dict.fromkeys(question))

    @cached_property
    def _vocabulary(self) -> sqlite3.Connection:
        self.entries.execute(_VOCABULARY)
        return self.entries

    def entry_of(self, entry_id: str) -> tuple[int, str] | None:
        """Return the row of an entry, counted from 0, and its hash; None where the build does not have it."""
        one = "SELECT row, content FROM entries WHERE id = ?"
        found: tuple[int, str] | None = self.entries.execute(one, (entry_id,)).fetchone()
        return found

    def metadata_at(self, row: int) -> Mapping[str, Any]:
        """Return the metadata of one row, counted from 0."""
        found = self.entries.execute(
            "SELECT metadata FROM entries WHERE row = ?", (row,)
        ).fetchone()
        if found is None:
            raise InconsistentError(
                f"the build in service has no row {row}",
                hint=f"run `{CommandHint('index')}`, or `{CommandHint('doctor')}`",
            )
        document: dict[str, Any] = orjson.loads(found[0])
        return document

    def content_hashes(self) -> dict[str, str]:
        """Return for each id, in vector order, the `content_hash` its entry had when the build was made."""
        return dict(self.entries.execute("SELECT id, content FROM entries ORDER BY row"))


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


def _read_entries(path: Path, number: int) -> sqlite3.Connection:
    """Return the entries of a build; the file stays open if it is removed."""
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        db.execute(
            "SELECT 1 FROM entries, words LIMIT 0"
        )  # or it would be opened once it is first asked
        (made,) = db.execute("PRAGMA user_version").fetchone()
    except (
        sqlite3.DatabaseError,
        UnicodeDecodeError,
    ) as error:  # the second of a name that is no text any more
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise InconsistentError(
            f"{path} cannot be read as entries: {error}", hint=f"run `{CommandHint('index')}`"
        ) from None
    if made not in {0, number}:  # 0: of a version that did not write it
        raise InconsistentError(
            f"{path} is of build {made}, and not of {number}", hint=f"run `{CommandHint('index')}`"
        )
    return db


def hit_document(collection: "IndexedTask", hit: Hit) -> dict[str, Any]:
    """Return a hit as programs read it; a similarity that was not asked for is null."""
    snippet = hit.snippet
    return {
        **collection.shown(hit.rank, hit.similarity, hit.metadata),
        "score": round(hit.score, 4),
        "weak": hit.is_weak,
        "why": hit.why,
        "matching_tags": list(hit.tags),
        "snippet": None
        if snippet is None
        else {"text": snippet.text, "marks": [list(mark) for mark in snippet.marks]},
    }


def heading(collection: "IndexedTask", hit: Hit) -> tuple[str, list[str]]:
    """Return the name by which people know what was found, and what is told beside it in a word or two."""
    found = collection.told(hit.metadata)
    key = collection.name_of(hit.metadata)
    name = next(str(one) for one in (found.get("name"), found.get("label"), key) if one)
    beside = [
        key,
        *(str(found[one]) for one in ("job_title", "company", "source") if found.get(one)),
    ]
    return name, [one for one in beside if one != name]
