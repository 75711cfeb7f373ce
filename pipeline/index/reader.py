"""Answer searches from one build.

An `Index` opens the files of its build at once and holds on to them, so whatever is promoted or removed
meanwhile, vectors and metadata are of the same build. Nothing is read before it is asked for: faiss maps its file, and
of the metadata only the hits are read. That keeps one search quick at any size.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.core.errors import InconsistentError
from pipeline.core.files import ReadHandle
from pipeline.core.step import Step
from pipeline.core.text import one_line
from pipeline.index import manifest, words
from pipeline.index.manifest import Manifest
from pipeline.index.words import Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.engine.task import Indexed
    from pipeline.index.fusion import Snippet
    from pipeline.index.question import Mask


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
    """One build, open for searching; closing it is allowed and not needed."""

    def __init__(self, directory: Path, found: Manifest) -> None:
        """Open the files of the build in `directory`, by its manifest.

        Raises:
            InconsistentError: the directory is no whole build.
            FileNotFoundError: the build was removed while it was opened.
        """
        self.manifest = found
        self._vectors = ReadHandle(directory / manifest.INDEX)
        self._db = words.reading(directory / manifest.ENTRIES)

    def __len__(self) -> int:
        """Return how many entries the build holds."""
        return self.manifest.count

    def nearest(
        self, vector: "NDArray[np.float32]", k: int, mask: "Mask | None" = None
    ) -> "tuple[NDArray[np.float32], NDArray[np.int64]]":
        """Return similarities and rows of the `k` entries most like `vector`, shape (dim,), or of those that pass.

        Most similar first, equal ones in vector order.

        Raises:
            InconsistentError: the vector is of another width than the build, or not finite.
        """
        import numpy as np

        query = np.asarray(vector, dtype=np.float32).reshape(1, -1)
        if query.shape[1] != self.manifest.dim or not np.isfinite(query).all():
            raise InconsistentError(
                f"the query's vector has {query.shape[1]} numbers, the index has {self.manifest.dim} per entry, "
                "all of them finite",
                hint=f"run `{Step('index')}` with the model and width that the query uses",
            )
        return self._nearest(query, max(0, k), mask)

    def similarities(self, vector: "NDArray[np.float32]", rows: "NDArray[np.int64]") -> "NDArray[np.float32]":
        """Return the inner products of `vector`, shape (dim,), with some rows, float32 (len(rows),)."""
        from pipeline.index import flat_file

        return flat_file.similarities_of(self._faiss, vector.reshape(-1), rows)

    @cached_property
    def words(self) -> Words:
        """By which words its entries are found.

        Raises:
            InconsistentError: the words were made in another way than this version makes them.
        """
        return Words(self._db, self.manifest.words, len(self))

    def vector_at(self, row: int) -> "NDArray[np.float32]":
        """Return the vector of one row, counted from 0, float32 (dim,)."""
        vector: NDArray[np.float32] = self._faiss.reconstruct(row)
        return vector

    def row_of(self, entry_id: str) -> int | None:
        """Return the row of an entry, counted from 0; None where the build does not have it."""
        found = self._db.execute("SELECT row FROM entries WHERE id = ?", (entry_id,)).fetchone()
        return None if found is None else int(found[0])

    def metadata_at(self, row: int) -> Mapping[str, Any]:
        """Return the metadata of one row, counted from 0.

        Raises:
            InconsistentError: there is no such row.
        """
        found = self._db.execute("SELECT metadata FROM entries WHERE row = ?", (row,)).fetchone()
        if found is None:
            raise InconsistentError(
                f"the build in service has no row {row}", hint=f"run `{Step('index')}`, or `{Step('doctor')}`"
            )
        document: dict[str, Any] = orjson.loads(found[0])
        return document

    def metadata(self) -> Iterator[tuple[int, str]]:
        """Yield the row and the metadata, as JSON, of every entry."""
        yield from self._db.execute("SELECT row, metadata FROM entries ORDER BY row")

    def content_hashes(self, among: Collection[str] | None = None) -> dict[str, str]:
        """Return for each id, in vector order, the `content_hash` its entry had when the build was made."""
        if among is None:
            return dict(self._db.execute("SELECT id, content FROM entries ORDER BY row"))
        one = "SELECT id, content FROM entries WHERE id = ?"
        return dict(found for key in among if (found := self._db.execute(one, (key,)).fetchone()))

    def close(self) -> None:
        """Give the files back to the system; nothing can be asked afterwards."""
        self._vectors.close()
        self._db.close()

    def __exit__(self, *failure: object) -> None:
        """Close the files."""
        self.close()

    @cached_property
    def _faiss(self) -> Any:
        """The index, mapped; faiss is imported here, so that counting needs none of it."""
        from pipeline.index import flat_file

        return flat_file.open_flat(self._vectors)

    def _nearest(
        self, query: "NDArray[np.float32]", k: int, mask: "Mask | None"
    ) -> "tuple[NDArray[np.float32], NDArray[np.int64]]":
        """Return similarities and rows of the `k` nearest, descending, equal ones in vector order.

        faiss may keep any of equally similar rows. Where the last place is shared, all who share it are asked for.
        """
        import numpy as np

        from pipeline.index import flat_file

        passing = len(self) if mask is None else int(np.count_nonzero(mask))
        k, among = min(k, passing), flat_file.among(mask)
        if not k:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        flat_file.single_threaded()
        similarities, rows = (found[0] for found in self._faiss.search(query, min(k + 1, passing), params=among))
        if len(rows) > k and similarities[k] == similarities[k - 1]:
            below = float(np.nextafter(similarities[k], np.float32(-np.inf)))
            _, similarities, rows = self._faiss.range_search(query, below, params=among)
        order = np.lexsort((rows, -similarities))[:k]
        return similarities[order], rows[order]


def hit_document(collection: "Indexed", hit: Hit) -> dict[str, Any]:
    """Return a hit as programs read it; a similarity that was not asked for is null."""
    snippet = hit.snippet
    return {
        **collection.shown(hit.rank, hit.similarity, hit.metadata),
        "score": round(hit.score, 4),
        "weak": hit.is_weak,
        "why": hit.why,
        "matching_tags": list(hit.tags),
        "snippet": None if snippet is None else {"text": snippet.text, "marks": [list(mark) for mark in snippet.marks]},
    }


def heading(collection: "Indexed", hit: Hit) -> tuple[str, list[str]]:
    """Return the name by which people know what was found, and what is told beside it in a word or two."""
    found, key = collection.told(hit.metadata), collection.name_of(hit.metadata)
    name = next(str(one) for one in (found.get("name"), found.get("label"), key) if one)
    beside = [key, *(str(found[one]) for one in ("job_title", "company", "source") if found.get(one))]
    return name, [one for one in beside if one != name]
