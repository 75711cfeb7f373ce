"""What a search is about: a question with its phrases and exclusions, and what WHERE=, TAG= and MIN_SCORE= let pass.

Every entry is looked at, so the best that pass are the best of all that do. A phrase is looked for in the entries that
have all its words. A list holds where any of its members does. A comparison with an empty cell (nothing, "" or an
empty list) is neither true nor false, as in SQL, so that NOT does not make it true. Case is not regarded.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.core.declaration import column_named
from pipeline.core.errors import InputError
from pipeline.core.step import Step
from pipeline.core.text import UNSOUND
from pipeline.core.where import Comparison, Expression, Junction, Negation, Operator, Scalar, parse_where
from pipeline.index import terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.engine.task import Indexed
    from pipeline.index.reader import Index

    Mask = NDArray[np.bool_]

MAX_QUESTION = 8_000  # characters; about what the smaller embedding models read
MAX_MARKED = 50  # phrases and exclusions, for each of which texts are looked through
_QUOTES = {'"': '"', "“": "”", "„": "“”", "«": "»"}  # what opens a phrase, and what closes it
_OPENING = re.compile(rf"(?<!\S)(?P<without>-?)(?P<quote>[{''.join(_QUOTES)}])")
_WITHOUT = re.compile(r"(?<!\S)-(?=\w)(?P<word>\S+)")
TAGS, ANSWER = ("tags", "concepts"), "answer."  # columns of tags, and before the names of an answer's fields
_COMPARED: Mapping[Operator, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "contains": operator.contains,
}


@dataclass(frozen=True)
class Question:
    """A question: its words without signs of ours, the phrases that must stand in a text, and what must not."""

    text: str
    phrases: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def parse_question(given: str) -> Question:
    """Return a question, its white space collapsed.

    A phrase stands between quotation marks that begin a word; what is excluded has a hyphen before it. A hyphen inside
    of a word, or between blanks, is none.

    Raises:
        InputError: it is blank, too long, no text, has a quotation mark that is not closed or too many phrases, or says
            only what is not wanted.
    """
    text = _checked(given)
    words, phrases, without = [], list[str](), list[str]()
    at = 0
    while opening := _OPENING.search(text, at):
        end = _closing(text, opening)
        phrase = text[opening.end() : end].strip()
        if not any(map(str.isalnum, phrase)):
            raise _empty(f"between the quotation marks at character {opening.start('quote') + 1} stands no word")
        words.append(_split_words(text[at : opening.start()], without))
        if opening["without"]:
            without.append(phrase)
        else:
            phrases.append(phrase)
            words.append(phrase)
        at = end + 1
    words.append(_split_words(text[at:], without))
    plain = " ".join(" ".join(words).split())
    if not plain:
        raise _empty("the question says only what is not wanted")
    asked = Question(plain, tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(without)))
    if (marked := len(asked.phrases) + len(asked.without)) > MAX_MARKED:
        said = f"the question has {marked:,} phrases and words to leave out, the limit is {MAX_MARKED}"
        raise InputError(said, hint="leave some of them out")
    return asked


def parse_one_of_many(given: str, place: str) -> Question:
    """Return one of many questions.

    Raises:
        InputError: as for one; the message begins with its place.
    """
    try:
        return parse_question(given)
    except InputError as error:
        raise InputError(f"{place}: {error.message}", hint=error.hint) from None


def _split_words(text: str, without: list[str]) -> str:
    without += [found["word"] for found in _WITHOUT.finditer(text)]
    return _WITHOUT.sub(" ", text)


def _closing(text: str, opening: re.Match[str]) -> int:
    """Return where a quotation mark is closed."""
    closing = re.compile(f"[{_QUOTES[opening['quote']]}]").search(text, opening.end())
    if closing is None:
        raise InputError(
            f"the quotation mark at character {opening.start('quote') + 1} of the question is not closed",
            hint="close it, or leave it out: a phrase between quotation marks must stand in the text as it is",
        )
    return closing.start()


def _empty(why: str) -> InputError:
    return InputError(f"there is nothing to search for: {why}", hint=f"`{Step('search', q='who knows water law')}`")


def _checked(question: str) -> str:
    """Return a question with its white space collapsed; refuse what cannot be one."""
    text = " ".join(question.split())
    if not text:
        raise InputError("there is nothing to search for", hint=f"`{Step('search', q='who knows water law')}`")
    if UNSOUND.search(text):
        raise InputError("the question holds what is no text (NUL, or bytes that are no UTF-8)", hint="type it anew")
    if len(text) > MAX_QUESTION:
        raise InputError(f"the question has {len(text):,} characters, the limit is {MAX_QUESTION:,}", hint="shorten it")
    return text


@dataclass(frozen=True)
class Filters:
    """What an entry must be to be found, whatever the question: all of it is optional."""

    tags: tuple[str, ...] = ()
    min_score: float | None = None
    where: str = ""

    def expressions(self, names: Sequence[str], score: str) -> Iterator[Expression]:
        """Yield what must hold, all of it, of entries with columns of these names; `score` is that of scores.

        Raises:
            InputError: WHERE= cannot be read.
        """
        tagged = [name for name in names if name in TAGS or name.startswith(ANSWER)] or [TAGS[0]]
        for tag in self.tags:
            named = tuple(Comparison(name, "=", (tag,), "TAG") for name in tagged)
            yield Junction(is_every=False, parts=named)
        if self.min_score is not None:
            yield Comparison(score, ">=", (self.min_score,), "MIN_SCORE")
        if self.where.strip():
            yield parse_where(self.where)


def mask_of(index: "Index", collection: "Indexed", filters: Filters, question: Question | None = None) -> "Mask | None":
    """Return which entries pass, bool (entries,); None where all do, as nothing is asked of them.

    Raises:
        InputError: a filter names a column that there is not, or a phrase has no word.
    """
    import numpy as np

    masks = []
    names = column_names(index.metadata_at(0)) if filters != Filters() else []
    if wanted := [*filters.expressions(names, collection.columns.get("score", "score"))]:
        holds = condition(Junction(is_every=True, parts=tuple(wanted)), names)
        masks.append(np.fromiter((holds(orjson.loads(one)) for _, one in index.metadata()), bool, len(index)))
    if question:
        masks += [_holding(index, collection, phrase) for phrase in question.phrases]
        masks += [~_holding(index, collection, phrase) for phrase in question.without]
    return np.logical_and.reduce(masks) if masks else None


def column_names(metadata: Mapping[str, Any]) -> list[str]:
    """Return the names of an entry's columns; of one that holds others, `answer`, theirs: `answer.mood`."""
    inner = [f"{name}.{key}" for name, cell in metadata.items() if isinstance(cell, dict) for key in cell]
    return [*(name for name, cell in metadata.items() if not isinstance(cell, dict)), *inner]


def _named(name: str, known: Sequence[str]) -> str | None:
    """Return which of the columns a name means; one inside of another, as `answer.mood`, by its own name, too."""
    inner = {one.rpartition(".")[2]: one for one in reversed(known)}
    return column_named(name, known) or inner.get(column_named(name, inner) or "")


def condition(expression: Expression, names: Sequence[str]) -> Callable[[Mapping[str, Any]], bool]:
    """Return what says of an entry's metadata whether it passes.

    Raises:
        InputError: there is no column of a name.
    """
    truth = _truth(expression, names)
    return lambda metadata: truth(metadata) is True


def _truth(expression: Expression, names: Sequence[str]) -> Callable[[Mapping[str, Any]], bool | None]:
    if isinstance(expression, Comparison):
        return _compared(expression, names)
    if isinstance(expression, Negation):
        inner = _truth(expression.inner, names)
        return lambda one: None if (found := inner(one)) is None else not found
    parts, decides = [_truth(part, names) for part in expression.parts], not expression.is_every

    def joined(one: Mapping[str, Any]) -> bool | None:
        found = {part(one) for part in parts}
        return decides if decides in found else None if None in found else not decides

    return joined


def _compared(comparison: Comparison, names: Sequence[str]) -> Callable[[Mapping[str, Any]], bool | None]:
    """Return what says of an entry whether a comparison is true; None where the cell holds nothing of its kind.

    Of a list, != holds where it holds of every member.
    """
    name = _named(comparison.column, names)
    if name is None:
        said = f"{comparison.place}: there is no column {comparison.column!r}"
        raise InputError(said, hint=f"there are {', '.join(names)}")
    outer, _, key = name.partition(".") if name.count(".") else (name, "", "")
    wanted = [(_kind(value), _folded(value)) for value in comparison.values]
    every, compare = (all if comparison.operator == "!=" else any), _COMPARED.get(comparison.operator)

    def truth(one: Mapping[str, Any]) -> bool | None:
        cell = one.get(name)
        if cell is None and key:
            cell = (one.get(outer) or {}).get(key)
        scalars = [*_scalars(cell)]
        if compare is None:
            return not scalars
        told = [
            any(found)
            for scalar in scalars
            if (found := [compare(_folded(scalar), value) for kind, value in wanted if kind == _kind(scalar)])
        ]
        return every(told) if told else None

    return truth


def _scalars(cell: Any) -> Iterator[Scalar]:
    if isinstance(cell, list | dict):
        for one in cell.values() if isinstance(cell, dict) else cell:
            yield from _scalars(one)
    elif cell is not None and cell != "":
        yield cell


def _kind(value: Scalar) -> type:
    return str if isinstance(value, str) else bool if isinstance(value, bool) else float


def _folded(value: Scalar) -> Scalar:
    return value.casefold() if isinstance(value, str) else value


def _holding(index: "Index", collection: "Indexed", phrase: str) -> "Mask":
    import numpy as np

    pattern = phrase_pattern(phrase)
    mask = np.zeros(len(index), dtype=bool)
    for row in index.words.holding(terms.terms_of(phrase)):
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
