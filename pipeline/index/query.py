"""What a search is about: a question with its phrases and exclusions, and what WHERE=, TAG= and MIN_SCORE= let pass.

Every entry is looked at, so the best that pass are the best of all that do. A phrase is looked for in the entries that
have all its words. What WHERE= means is told in `pipeline.tables.where_sql`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.ranking import RankMode
from pipeline.core.text import UNSOUND
from pipeline.core.where_parser import Comparison, Expression, Junction, parse_where
from pipeline.index import tokenizer

if TYPE_CHECKING:
    import sqlite3

    import numpy as np
    from numpy.typing import NDArray

    from pipeline.engine.task import IndexedTask
    from pipeline.index.build_reader import Index

    Mask = NDArray[np.bool_]

MAX_QUESTION = 8_000  # characters; about what the smaller embedding models read
_QUOTES = {'"': '"', "“": "”", "„": "“”", "«": "»"}  # what opens a phrase, and what closes it
_OPENING = re.compile(rf"(?<!\S)(?P<without>-?)(?P<quote>[{''.join(_QUOTES)}])")
_WITHOUT = re.compile(r"(?<!\S)-(?=\w)(?P<word>\S+)")
TAGS = ("tags", "concepts")  # columns of tags, and before the names of an answer's fields
ANSWER = "answer."
SOURCE_ROW = "row"  # the column that holds those of the source


@dataclass(frozen=True)
class SearchQuery:
    """A question: its words without signs of ours, the phrases that must stand in a text, and what must not."""

    text: str
    phrases: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def parse_question(given: str) -> SearchQuery:
    """Return a question, its white space collapsed.

    A phrase stands between quotation marks that begin a word; what is excluded has a hyphen before it. A hyphen inside
    of a word, or between blanks, is none.
    """
    text = _checked(given)
    words = []
    phrases = list[str]()
    without = list[str]()
    at = 0
    while opening := _OPENING.search(text, at):
        mark = opening.start("quote") + 1
        closing = re.compile(f"[{_QUOTES[opening['quote']]}]").search(text, opening.end())
        if closing is None:
            raise InputError(
                f"the quotation mark at character {mark} of the question is not closed",
                hint="close it, or leave it out: a phrase between quotation marks must stand in the text as it is",
            )
        phrase = text[opening.end() : closing.start()].strip()
        if not any(map(str.isalnum, phrase)):
            raise _empty(f"between the quotation marks at character {mark} stands no word")
        words.append(_split_words(text[at : opening.start()], without))
        if opening["without"]:
            without.append(phrase)
        else:
            phrases.append(phrase)
            words.append(phrase)
        at = closing.end()
    words.append(_split_words(text[at:], without))
    plain = " ".join(" ".join(words).split())
    if not plain:
        raise _empty("the question says only what is not wanted")
    return SearchQuery(plain, tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(without)))


def _split_words(text: str, without: list[str]) -> str:
    without += [found["word"] for found in _WITHOUT.finditer(text)]
    return _WITHOUT.sub(" ", text)


def _empty(why: str = "") -> InputError:
    return InputError(
        f"there is nothing to search for{why and ': '}{why}",
        hint=f"`{CommandHint('search', q='who knows water law')}`",
    )


def _checked(question: str) -> str:
    """Return a question with its white space collapsed; refuse what cannot be one."""
    text = " ".join(question.split())
    if not text:
        raise _empty()
    if UNSOUND.search(text):
        raise InputError(
            "the question holds what is no text (NUL, or bytes that are no UTF-8)",
            hint="type it anew",
        )
    if len(text) > MAX_QUESTION:
        raise InputError(
            f"the question has {len(text):,} characters, the limit is {MAX_QUESTION:,}",
            hint="shorten it",
        )
    return text


@dataclass(frozen=True)
class SearchOptions:
    """How many entries are wanted, by what they are ranked, and what they must be, whatever the question."""

    k: int = 10
    rank: RankMode = RankMode.HYBRID
    tags: tuple[str, ...] = ()
    min_score: float | None = None
    where: str = ""


def mask_of(
    index: "Index",
    collection: "IndexedTask",
    options: SearchOptions,
    question: SearchQuery | None = None,
) -> "Mask | None":
    """Return which entries pass, bool (entries,); None where all do, as nothing is asked of them."""
    import numpy as np

    masks = []
    columns = paths_of(index.metadata_at(0))
    wanted = list[Expression]()
    tagged = [name for name in columns if name in TAGS or name.startswith(ANSWER)] or [TAGS[0]]
    for tag in options.tags:
        wanted.append(
            Junction(
                is_every=False, parts=tuple(Comparison(name, "=", (tag,), "TAG") for name in tagged)
            )
        )
    if options.min_score is not None:
        if (score := collection.columns.get("score")) is None:
            raise InputError(
                f"of a {collection.word} there is no score",
                hint=f"{OptionHint('where')} compares any number",
            )
        wanted.append(Comparison(score, ">=", (options.min_score,), "MIN_SCORE"))
    if options.where.strip():
        wanted.append(parse_where(options.where))
    if wanted:
        masks.append(np.zeros(len(index), dtype=bool))
        masks[0][
            [*passing(index.entries, Junction(is_every=True, parts=tuple(wanted)), columns)]
        ] = True
    if question:
        masks += [_holding(index, collection, phrase) for phrase in question.phrases]
        masks += [~_holding(index, collection, phrase) for phrase in question.without]
    return np.logical_and.reduce(masks) if masks else None


def paths_of(metadata: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return where each column of an entry stands in its JSON; of one that holds others, `answer`, theirs."""
    plain = {name: (name,) for name, cell in metadata.items() if not isinstance(cell, dict)}
    inner = (
        (name, key) for name, cell in metadata.items() if isinstance(cell, dict) for key in cell
    )
    return plain | {f"{name}.{key}": (name, key) for name, key in inner}


def passing(
    entries: "sqlite3.Connection", said: Expression, columns: Mapping[str, tuple[str, ...]]
) -> Iterator[int]:
    """Yield the rows of the entries of which it holds, by the places of columns in their JSON."""
    from sqlalchemy import Integer, Text, column, select, table
    from sqlalchemy.dialects import sqlite

    from pipeline.tables.where_sql import JsonCell, compile_where, register_functions

    stored = table("entries", column("row", Integer), column("metadata", Text))
    cells = {name: JsonCell(stored.c.metadata, path) for name, path in columns.items()}
    # A column of the source has its own name, as in a list; all others that stand in another one have theirs, too.
    of_source = {cell.path[-1]: cell for cell in cells.values() if cell.path[:-1] == (SOURCE_ROW,)}
    others = {name: cell for name, cell in cells.items() if cell.path[:-1] != (SOURCE_ROW,)}
    inner = cells | {cell.path[-1]: cell for cell in reversed(others.values())}
    query = select(stored.c.row).where(compile_where(said, (of_source, others, inner)))
    compiled = query.compile(
        dialect=sqlite.dialect(paramstyle="named"), compile_kwargs={"render_postcompile": True}
    )

    register_functions(entries)
    yield from (row for (row,) in entries.execute(str(compiled), compiled.params))


def _holding(index: "Index", collection: "IndexedTask", phrase: str) -> "Mask":
    import numpy as np

    pattern = phrase_pattern(phrase)
    mask = np.zeros(len(index), dtype=bool)
    for row in index.holding(tokenizer.terms_of(phrase)):
        texts = collection.texts(index.metadata_at(row))
        mask[row] = any(pattern.search(tokenizer.fold(text)) for text in texts)
    return mask


def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Return what finds a phrase in a folded text: its words, one behind the other, with no word between.

    Stems and stop words play no part: a phrase means what it says. Of a script without blanks, a word may stand next to
    it.
    """
    words = re.findall(r"(?:[^\W_]|[\u0300-\u036f])+", tokenizer.fold(phrase))
    if not words:
        raise InputError(f"there is no word in {phrase!r}", hint="leave it out")
    before = "" if tokenizer.is_unspaced(words[0][0]) else r"(?<![^\W_])"
    behind = "" if tokenizer.is_unspaced(words[-1][-1]) else r"(?![^\W_])"
    return re.compile(before + r"[\W_]+".join(map(re.escape, words)) + behind)
