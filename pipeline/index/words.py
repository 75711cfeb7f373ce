"""The words of a build: SQLite's FTS5 over terms of ours, a column for each group of fields, in `entries.sqlite`.

Terms are made as `pipeline.index.terms` says and stand between blanks, so that FTS5 cuts nothing else. What a text of
several groups is worth is FTS5's BM25, with the weights of its groups.

What a hit is worth that means nothing is learnt from questions that mean nothing: the floor of a build. A hit is weak
below a line between two points: a cosine that is enough where no word is found, and a sum of words that is enough where
the vectors say nothing. The line is as steep as the best hits of such questions are spread, and so high that most of
them are below it. So it follows the model, the texts and their number by itself. Where words alone rank there is no
cosine, and a sum of words says little: one rare word may be all that is asked, or one of ten. So that sum times the
share of the question that it makes up has a floor of its own.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipeline.core.errors import InconsistentError
from pipeline.core.ranking import Entry, Ranking, ranking_from_json
from pipeline.core.step import Option, Step
from pipeline.index import terms

if TYPE_CHECKING:
    from pipeline.index.vectors import Vectors

SHARE = 0.87  # of questions without meaning that are below the floor: their best cosine and their best words together
LEAST_SPREAD = 0.2  # of what one rare word gives: where few of them find a word at all, their spread says nothing
REACHED = 0.9  # of what the terms of a question tell; tried on 278 questions, see docs/search.md
LEAST_ALONE = 0.05  # of the same: about what one rare word of five comes to
LEAST = 1e-6  # what FTS5 counts for a term that more than half of the entries have

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

    def telling(self, question: Iterable[str]) -> list[str]:
        """Return the terms of a question that at most half of the entries have, or all where there are no others."""
        terms = list(dict.fromkeys(question))
        return [term for term in terms if self.idf(term) > LEAST] or terms

    def scores(self, question: Iterable[str], *, most: int = -1) -> dict[int, float]:
        """Return what BM25 gives the entries that have any term of a question, by row, the `most` best first."""
        found = "SELECT rowid, -rank FROM words WHERE words MATCH ? AND rank MATCH ? ORDER BY rank LIMIT ?"
        asked = " OR ".join(map(_quoted, dict.fromkeys(question)))
        return dict(self._db.execute(found, (asked, self._rank, most))) if asked else {}

    def holding(self, wanted: Iterable[str], among: Sequence[int] = ()) -> set[int]:
        """Return the rows of the entries that have every one of some terms, in whatever group, or those among some."""
        asked = " AND ".join(map(_quoted, dict.fromkeys(wanted)))
        found = "SELECT rowid FROM words WHERE words MATCH ?" if asked else "SELECT row FROM entries WHERE ? = ''"
        found += f" AND rowid IN ({', '.join(map(str, among))})" if among else ""
        return {row for (row,) in self._db.execute(found, (asked,))}

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
    return max(math.log((count - held + 0.5) / (held + 0.5)), LEAST)


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


@dataclass(frozen=True)
class Floor:
    """The cosine that is enough alone, and the score of words that is; together, they are enough in part.

    `alone` is what words must come to that rank alone.
    """

    cosine: Annotated[float, Field(gt=0)]
    words: Annotated[float, Field(gt=0)]
    alone: Annotated[float, Field(ge=0)]

    def is_weak(self, cosine: float | None, words: float, told: float) -> bool:
        """Return whether a hit with these scores is no better than what a question without meaning finds.

        Of a short question, whose terms tell less than the floor, a part of what they tell is enough. Without a cosine
        it was found by words alone.
        """
        if cosine is None:
            return come_to(words, told) < self.alone
        enough = min(self.words, REACHED * told) or self.words
        return cosine / self.cosine + words / enough < 1


def come_to(words: float, told: float) -> float:
    """Return what a score of words comes to alone: times its share of what all the question's terms tell."""
    return words * words / told if told else 0.0


@cache
def nonsense() -> tuple[str, ...]:
    """Return the questions that mean nothing."""
    lines = files("pipeline.index").joinpath("nonsense.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


class Highest:
    """The highest cosine of each of some questions with any entry, of entries that come in blocks."""

    def __init__(self, questions: "Vectors | None") -> None:
        """Begin with the vectors of the questions, float32 (questions, dim), and no entry."""
        import numpy as np

        self._questions = np.empty((0, 0), np.float32) if questions is None else questions
        self.cosines = np.full(len(self._questions), -np.inf, np.float32)

    def seen(self, blocks: "Iterable[Vectors]") -> "Iterator[Vectors]":
        """Yield blocks of entries as they come, float32 (entries, dim), and look at each."""
        import numpy as np

        from pipeline.index.flat_file import highest_similarity

        for block in blocks:
            if len(self.cosines):
                np.maximum(self.cosines, highest_similarity(self._questions, block), out=self.cosines)
            yield block


def learn_floor(cosines: Sequence[float], found: Words) -> Floor:
    """Return the floor of a build, of the highest cosine of each question without meaning, and of its words."""
    import numpy as np

    asked = [terms.terms_of_question(one) for one in nonsense()]
    words = [max(found.scores(some, most=1).values(), default=0.0) for some in asked]
    alone = [come_to(score, found.told(some)) for score, some in zip(words, asked, strict=True)]
    slope = max(float(np.std(cosines)), 1e-3) / max(float(np.std(words)), LEAST_SPREAD * found.rarest)
    height = max(float(np.quantile(np.array(cosines) + slope * np.array(words), SHARE)), 1e-3)
    least = max(float(np.quantile(alone, SHARE)), LEAST_ALONE * found.rarest)
    return Floor(round(height, 4), round(height / slope, 4), round(least, 4))
