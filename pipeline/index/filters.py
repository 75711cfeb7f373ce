"""Say which entries of a build a search is about: what WHERE=, TAG= and MIN_SCORE= let pass, phrases, and exclusions.

Every entry is looked at, so the best that pass are the best of all that do. A phrase is looked for in the entries that
have all its words, by the build's postings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core.errors import InputError
from pipeline.core.where import Comparison, Expression, Junction, parse_where
from pipeline.index import terms
from pipeline.index.columns import passing
from pipeline.index.question import Question

if TYPE_CHECKING:
    from pipeline.engine.task import Indexed
    from pipeline.index.columns import Mask
    from pipeline.index.metadata import MetadataColumns
    from pipeline.index.reader import Index


TAGS, ANSWER = ("tags", "concepts"), "answer."  # columns of tags, and before the names of an answer's fields


@dataclass(frozen=True)
class Filters:
    """What an entry must be to be found, whatever the question: all of it is optional."""

    tags: tuple[str, ...] = ()
    min_score: float | None = None
    where: str = ""

    def expressions(self, columns: "MetadataColumns", score: str) -> Iterator[Expression]:
        """Yield what must hold, all of it; `score` is the column of scores.

        Raises:
            InputError: WHERE= cannot be read.
        """
        for tag in self.tags:
            named = [Comparison(name, "=", (tag,), "TAG") for name in _tag_columns(columns)]
            yield Junction(is_every=False, parts=tuple(named)) if len(named) > 1 else named[0]
        if self.min_score is not None:
            yield Comparison(score, ">=", (self.min_score,), "MIN_SCORE")
        if self.where.strip():
            yield parse_where(self.where)


def mask_of(index: "Index", collection: "Indexed", filters: Filters, question: Question | None = None) -> "Mask | None":
    """Return which entries pass, bool (entries,); None where all do, as nothing is asked of them.

    Raises:
        InputError: a filter names a column that there is not, or a phrase has no word.
    """
    mask = None
    for expression in filters.expressions(index.columns, collection.columns.get("score", "score")):
        mask = _every(mask, passing(expression, index.columns))
    for phrase in question.phrases if question else ():
        mask = _every(mask, _holding(index, collection, phrase))
    for phrase in question.without if question else ():
        mask = _every(mask, ~_holding(index, collection, phrase))
    return mask


def _tag_columns(columns: "MetadataColumns") -> list[str]:
    """Return where tags stand: in the column of that name, of concepts, or in the texts of the answer."""
    found = [name for name in columns.names if name in TAGS or name.startswith(ANSWER)]
    return [name for name in found if columns.has_text(name)] or [TAGS[0]]


def _every(one: "Mask | None", other: "Mask | None") -> "Mask | None":
    """Return which entries pass both of two masks; None is one that all pass."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _holding(index: "Index", collection: "Indexed", phrase: str) -> "Mask":
    import numpy as np

    pattern = phrase_pattern(phrase)
    mask = np.zeros(len(index), dtype=bool)
    for row in index.words.holding(set(terms.terms_of(phrase))).tolist():
        texts = collection.texts(index.metadata_at(row))
        mask[row] = any(pattern.search(terms.fold(text)) for text in texts)
    return mask


def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Return what finds a phrase in a folded text: its words, one behind the other, with no word between.

    Stems and stop words play no part: a phrase means what it says. Of a script without blanks, a word may stand next to
    it.

    Raises:
        InputError: it has no word.
    """
    words = re.findall(r"(?:[^\W_]|[\u0300-\u036f])+", terms.fold(phrase))
    if not words:
        raise InputError(f"there is no word in {phrase!r}", hint="leave it out")
    before = "" if terms.is_unspaced(words[0][0]) else r"(?<![^\W_])"
    behind = "" if terms.is_unspaced(words[-1][-1]) else r"(?![^\W_])"
    return re.compile(before + r"[\W_]+".join(map(re.escape, words)) + behind)
