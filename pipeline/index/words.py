"""The words of a build: SQLite's FTS5 over terms of ours, a column for each group of fields, in `entries.sqlite`.

Terms are made as `pipeline.index.terms` says and stand between blanks, so that FTS5 cuts nothing else. What a text of
several groups is worth is FTS5's BM25, with the weights of its groups.
"""

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.errors import InconsistentError
from pipeline.core.ranking import Entry, Ranking, ranking_from_json
from pipeline.core.step import Option, Step
from pipeline.index import terms

# what is kept of each entry, in vector order: hash of what makes it up to date, key of its vector, metadata
SCHEMA = """
CREATE TABLE entries (
  row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content TEXT NOT NULL, vector BLOB NOT NULL, metadata TEXT NOT NULL
)"""
_WORDS = """
CREATE VIRTUAL TABLE words USING fts5 ({}, content='', tokenize = "unicode61 remove_diacritics 0 categories 'L* N* M*'")
"""
_VOCABULARY = "CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab (main, words, row)"


def reading(path: Path) -> sqlite3.Connection:
    """Return the entries of a build, which nothing changes any more; the file stays open if it is removed.

    Raises:
        FileNotFoundError: it is not there.
        InconsistentError: it is no such file.
    """
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        db.execute("SELECT 1 FROM entries, words LIMIT 0")  # or it would be opened once it is first asked
    except sqlite3.DatabaseError as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise InconsistentError(f"{path} cannot be read as entries: {error}", hint=f"run `{Step('index')}`") from None
    return db


def begin(path: Path, ranking: Ranking) -> sqlite3.Connection:
    """Make the empty file of a build's entries, in one transaction that its caller ends, and makes durable."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute(SCHEMA)
    db.execute(_WORDS.format(", ".join(_columns(ranking))))
    db.execute("BEGIN")
    return db


def add_words(db: sqlite3.Connection, first: int, entries: Sequence[Entry], ranking: Ranking) -> None:
    """Add the words of entries, whose rows follow one another from `first` on."""
    texts = (ranking.texts(entry.fields or {"text": entry.text}) for entry in entries)
    rows = ((row, *(" ".join(terms.terms_of(text)) for text in groups)) for row, groups in enumerate(texts, first))
    columns = _columns(ranking)
    put = f"INSERT INTO words (rowid, {', '.join(columns)}) VALUES (?{', ?' * len(columns)})"  # noqa: S608 - names of ours
    db.executemany(put, rows)


def _columns(ranking: Ranking) -> list[str]:
    return [f"g{number}" for number in range(len(ranking.groups))]


class Words:
    """The words of one build, open for questions."""

    def __init__(self, db: sqlite3.Connection, told: Mapping[str, Any], count: int) -> None:
        """Take an open build, what its manifest says of its words, and the number of its entries.

        Raises:
            InconsistentError: the terms were made in another way than this version makes them.
        """
        if told.get("terms") != terms.NAME:
            raise InconsistentError(
                f"the index has words made by {told.get('terms')}, and this version makes {terms.NAME}",
                hint=f"run `{Step('index')}`, or search with {Option(rank='vectors')}",
            )
        self._db, self._count, self.ranking = db, count, ranking_from_json(told)
        self._rank = f"bm25({', '.join(str(group.weight) for group in self.ranking.groups)})"

    def scores(self, question: Iterable[str], *, most: int = -1) -> dict[int, float]:
        """Return what BM25 gives the entries that have any term of a question, by row, the `most` best first."""
        found = "SELECT rowid, -rank FROM words WHERE words MATCH ? AND rank MATCH ? ORDER BY rank LIMIT ?"
        asked = " OR ".join(map(_quoted, dict.fromkeys(question)))
        return dict(self._db.execute(found, (asked, self._rank, most))) if asked else {}

    def holding(self, wanted: Iterable[str]) -> list[int]:
        """Return the rows of the entries that have every one of some terms, in whatever group."""
        asked = " AND ".join(map(_quoted, dict.fromkeys(wanted)))
        every = "SELECT row FROM entries WHERE ? = ''"
        found = "SELECT rowid FROM words WHERE words MATCH ?" if asked else every
        return [row for (row,) in self._db.execute(found, (asked,))]

    @cached_property
    def rarest(self) -> float:
        """How much a term tells that one entry has."""
        return math.log1p((self._count - 0.5) / 1.5)  # above 0 also where there are few, unlike FTS5's

    def idf(self, term: str) -> float:
        """Return how much a term tells, as FTS5 counts it; 0 where none has it."""
        found = self._vocabulary.execute("SELECT doc FROM temp.vocabulary WHERE term = ?", (term,)).fetchone()
        return _idf(self._count, found[0]) if found else 0.0

    def told(self, question: Iterable[str]) -> float:
        """Return how much all terms of a question tell; what no entry has tells as much as what one has."""
        return sum(self.idf(term) or self.rarest for term in dict.fromkeys(question))

    @cached_property
    def _vocabulary(self) -> sqlite3.Connection:
        self._db.execute(_VOCABULARY)
        return self._db


def _idf(count: int, held: int) -> float:
    return max(math.log((count - held + 0.5) / (held + 0.5)), 1e-6)  # the least is FTS5's own


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'
