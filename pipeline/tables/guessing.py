"""Guess of any table which column is the key, which holds the text to ask about, and which says what a row is.

By the columns' names in a dozen languages, then by what stands in the cells. A key must be in every row
and in none twice, whatever it is called.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from pipeline.core.declaration import MADE_KEY, column_named, columns_in
from pipeline.core.errors import InputError
from pipeline.tables.column_names import COLUMN_NAMES, fold
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.item_values import value_text
from pipeline.tables.items import KEY_KINDS
from pipeline.tables.items_file import SourceRow
from pipeline.tables.view import ANSWERED_AT, EXTRACTOR, SYSTEM

SAMPLED = 1_000  # rows whose texts are measured and compared
LIKE_LONGEST = 0.25  # of the longest column's mean length that one has whose name is only like a text's
TEXTS = tuple(map(fold, ("text", *COLUMN_NAMES["any_text"])))
KEYS = COLUMN_NAMES["key"]  # of the likeliest first; what is called so is a key where it can be one
NAMES = ("name", "slug", "url", "username", "email", "title")  # a key where none is called like one
TITLES = COLUMN_NAMES["row_title"]
_ENDS_LIKE_KEY = re.compile(r"[\s_.-](?i:id|key|nr|no|code|number|nummer)$|(?<=[a-z])I[dD]$")
_WORDS = re.compile(r"(?:[^\W\d_](?<![A-Z]))+|[A-Z](?:[^\W\d_](?<![A-Z]))*")  # letters, anew where a capital begins
_IMAGE = re.compile(r"\S.*\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|heic)(?:\?\S*)?\s*$", re.IGNORECASE)
_NO_WORD = re.compile(r"\W+")
_TAKEN = frozenset({EXTRACTOR, ANSWERED_AT, *SYSTEM, MADE_KEY})  # no key can be called so


class TableGuess(NamedTuple):
    """The columns of a table: its key ("row" where none is one), its text, and what says what a row is, if any does.

    `names` are what a prompt calls the columns to ask about, the text the last. `can_be_quoted` is whether the text is
    one, and no number or other value. `notes` say why, a line each. `images` hold images; where there is nothing to ask
    beside them, the text is empty.
    """

    key: str
    text: str
    title: str | None
    names: tuple[str, ...]
    can_be_quoted: bool
    notes: tuple[str, ...]
    images: tuple[str, ...] = ()


class _Keys:
    """Columns that may be the key, and what speaks against each, while rows are read."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.against: dict[str, str] = {}
        self._seen: dict[str, set[str]] = {name: set() for name in names}

    def read(self, row: SourceRow) -> None:
        for name, seen in self._seen.items():
            value = value_text(row.values.get(name))
            if not value.strip():
                self.against[name] = f"is blank in row {row.line}"
            elif value in seen:
                self.against[name] = f"has {excerpt(value)!r} twice, again in row {row.line}"
            seen.add(value)
        for name in self.against.keys() & self._seen.keys():
            del self._seen[name]

    @property
    def is_settled(self) -> bool:
        return not self._seen

    def guess(self) -> tuple[str, str]:
        key = next((name for name in self.names if name not in self.against), None)
        if key is not None:
            return key, f"key: {excerpt(key)!r}, which is in every row and in none twice"
        why = "; ".join(f"{excerpt(name)!r} {said}" for name, said in list(self.against.items())[:3])
        return MADE_KEY, f'key: "{MADE_KEY}", a hash of each row, for {why or "no column is called like a key"}'


def guess_columns(
    columns: Mapping[str, str], rows: Iterable[SourceRow | Finding], *, keys: Sequence[str] | None = None
) -> TableGuess:
    """Return what the columns of a table (with their kinds) seem to be; `keys` are the only ones that may be the key.

    Raises:
        InputError: a prompt cannot name the column that holds the text.
    """
    may_be = [name for name in columns if columns[name] in KEY_KINDS and name.casefold() not in _TAKEN]
    found = _Keys([name for name in (_like_keys(may_be) if keys is None else keys) if name in may_be])
    cells = _read(columns, rows, found)
    key, why_key = found.guess()
    images = tuple(name for name in columns if name != key and columns[name] == "text" and _are_images(cells[name]))
    told = tuple(f"images: {excerpt(name)!r}, whose cells are images, or name some" for name in images)
    there = {name: cells[name] for name in columns if (name != key or len(columns) == 1) and name not in images}
    if images and not any(columns[name] == "text" and _has_letters(texts) for name, texts in there.items()):
        return TableGuess(key, "", None, (), can_be_quoted=False, notes=(why_key, *told), images=images)
    text, why = _text(columns, there)
    name = _name_in_prompt(text, columns)
    if name is None:
        raise InputError(
            f"{excerpt(text)!r} is the text, {why}, and a prompt cannot name it, for there is no letter in it or "
            "another column is called alike; nothing was written",
            hint="give the column another name in the source (in a query with AS), then run it again",
        )
    title = _title({one: texts for one, texts in there.items() if one not in {key, text}})
    titled = None if title is None else _name_in_prompt(title, columns)
    beside = () if titled is None else (f"beside it: {excerpt(title)!r}, which by its name says what it is about",)
    notes = (why_key, *told, f"text: {excerpt(text)!r}, {why}", *beside)
    names = (name,) if titled is None else (titled, name)
    can_be_quoted = columns[text] == "text" and not images
    return TableGuess(key, text, title if titled else None, names, can_be_quoted, notes, images)


def _read(columns: Mapping[str, str], rows: Iterable[SourceRow | Finding], keys: _Keys) -> dict[str, list[str]]:
    cells: dict[str, list[str]] = {name: [] for name in columns}
    sound = (row for row in rows if not isinstance(row, Finding))
    for number, row in enumerate(sound, start=1):
        keys.read(row)
        if number <= SAMPLED:
            for name, texts in cells.items():
                texts.append(value_text(row.values.get(name)))
        elif keys.is_settled:
            break
    return cells


def _like_keys(names: Sequence[str]) -> list[str]:
    by_name = {fold(name): name for name in reversed(names)}
    exact = [by_name[one] for one in map(fold, KEYS) if one in by_name]
    ending = [name for name in names if _ENDS_LIKE_KEY.search(name)]
    last = [by_name[one] for one in NAMES if one in by_name]
    return list(dict.fromkeys([*exact, *ending, *last]))


def _text(columns: Mapping[str, str], cells: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    wordy = {name: texts for name, texts in cells.items() if columns[name] == "text" and _has_letters(texts)}
    by_name = {fold(name): name for name in reversed(wordy)}
    known = next((by_name[one] for one in TEXTS if one in by_name), None)
    if known is not None:
        return known, "by its name"
    lengths = {name: fmean(map(len, texts)) if texts else 0.0 for name, texts in (wordy or cells).items()}
    longest = max(lengths, key=lambda name: lengths[name])
    liked = max(filter(_has_word_of_text, wordy), key=lambda name: lengths[name], default=None)
    if liked is not None and lengths[liked] >= LIKE_LONGEST * lengths[longest]:
        return liked, "by its name, which is like one of a text"
    return longest, f"the longest with {lengths[longest]:,.0f} characters in the mean"


def _are_images(texts: Iterable[str]) -> bool:
    """Return whether most cells that hold something stood for bytes, or end as the names of images do."""
    found = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(found) * 2 > len(found)


def _has_word_of_text(name: str) -> bool:
    """Return whether one of the words of a name, such as `customer_review` or `reviewBody`, is one of a text."""
    return any(fold(word) in TEXTS for word in _WORDS.findall(name)) and not _ENDS_LIKE_KEY.search(name)


def _title(cells: Mapping[str, Sequence[str]]) -> str | None:
    """Return the column that says what a row is about, None where there is none."""
    by_name = {fold(name): name for name in reversed(list(cells)) if _has_letters(cells[name])}
    return next((by_name[one] for one in map(fold, TITLES) if one in by_name), None)


def _has_letters(texts: Sequence[str]) -> bool:
    return any(char.isalpha() for text in texts for char in text)


def _name_in_prompt(column: str, columns: Iterable[str]) -> str | None:
    """Return what a prompt calls a column, None where it cannot: `Review Text` is `Review_Text` there."""
    name = column if columns_in(f"{{{column}}}") else _NO_WORD.sub("_", column).strip("_")
    name = f"_{name}" if name[:1].isdecimal() else name
    is_one = columns_in(f"{{{name}}}") == (name,) and column_named(name, columns) == column
    return name if is_one else None
