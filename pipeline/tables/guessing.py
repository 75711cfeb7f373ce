"""Guess of any table which column is the key, which holds the text to ask about, and which says what a row is.

By the columns' names in a dozen languages; a text that is not called so is the longest column. A key must be in every
row and in none twice, whatever it is called.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from pipeline.core.declaration import MADE_KEY, column_named, columns_in
from pipeline.core.errors import InputError
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.headers import COLUMN_NAMES, fold
from pipeline.tables.item_values import value_text
from pipeline.tables.items import KEY_KINDS
from pipeline.tables.read import SourceRow
from pipeline.tables.view import ANSWERED_AT, EXTRACTOR, SYSTEM

SAMPLED = 1_000  # rows whose texts are measured
_LAST_KEYS = ("name", "slug", "url", "username", "email", "title")  # where none is called like a key
TEXTS = ("text", *COLUMN_NAMES["any_text"])
_ENDS_LIKE_KEY = re.compile(r"[\s_.-](?i:id|key|nr|no|code|number|nummer)$|(?<=[a-z])I[dD]$")
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


def guess_columns(
    columns: Mapping[str, str], rows: Iterable[SourceRow | Finding], *, keys: Sequence[str] | None = None
) -> TableGuess:
    """Return what the columns of a table (with their kinds) seem to be; `keys` are the only ones that may be the key.

    Raises:
        InputError: a prompt cannot name the column that holds the text.
    """
    may_be = [name for name in columns if columns[name] in KEY_KINDS and name.casefold() not in _TAKEN]
    if keys is None:
        ends = [name for name in may_be if _ENDS_LIKE_KEY.search(name)]
        keys = list(dict.fromkeys([*_called(may_be, COLUMN_NAMES["key"]), *ends, *_called(may_be, _LAST_KEYS)]))
    cells: dict[str, list[str]] = {name: [] for name in columns}
    key, notes = _read(rows, cells, [name for name in keys if name in may_be])
    images = tuple(name for name in columns if name != key and columns[name] == "text" and _are_images(cells[name]))
    notes += [f"images: {excerpt(name)!r}, whose cells are images, or name some" for name in images]
    there = {name: cells[name] for name in columns if (name != key or len(columns) == 1) and name not in images}
    wordy = [name for name in there if columns[name] == "text" and any(map(_has_letters, there[name]))]
    if images and not wordy:
        return TableGuess(key, "", None, (), can_be_quoted=False, notes=tuple(notes), images=images)
    lengths = {name: fmean(map(len, there[name])) if there[name] else 0.0 for name in wordy or there}
    text = next(iter(_called(wordy, TEXTS)), "")
    why = "by its name" if text else ""
    if not text:
        text = max(lengths, key=lambda name: lengths[name])
        why = f"the longest with {lengths[text]:,.0f} characters in the mean"
    name = _name_in_prompt(text, columns)
    if name is None:
        raise InputError(
            f"{excerpt(text)!r} is the text, {why}, and a prompt cannot name it, for there is no letter in it or "
            "another column is called alike; nothing was written",
            hint="give the column another name in the source (in a query with AS), then run it again",
        )
    notes.append(f"text: {excerpt(text)!r}, {why}")
    titles = _called(
        [one for one in there if one != text and any(map(_has_letters, there[one]))], COLUMN_NAMES["row_title"]
    )
    title = next((one for one in titles if _name_in_prompt(one, columns)), None)
    titled = title and _name_in_prompt(title, columns)
    if titled:
        notes.append(f"beside it: {excerpt(title)!r}, which by its name says what it is about")
    names = (titled, name) if titled else (name,)
    return TableGuess(key, text, title, names, columns[text] == "text" and not images, tuple(notes), images)


def _called(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return those of some names that are known, the best known first."""
    by_name = {fold(name): name for name in reversed(list(names))}
    return [by_name[one] for one in map(fold, known) if one in by_name]


def _read(
    rows: Iterable[SourceRow | Finding], cells: dict[str, list[str]], keys: Sequence[str]
) -> tuple[str, list[str]]:
    """Return the first of some columns that can be the key, and what says so; texts of the first rows go to `cells`."""
    seen: dict[str, set[str]] = {name: set() for name in keys}
    against: dict[str, str] = {}
    for number, row in enumerate((row for row in rows if isinstance(row, SourceRow)), start=1):
        for name in list(seen):
            value = value_text(row.values.get(name))
            if not value.strip() or value in seen[name]:
                twice = f"has {excerpt(value)!r} twice, again in row {row.line}"
                against[name] = twice if value.strip() else f"is blank in row {row.line}"
                del seen[name]
            else:
                seen[name].add(value)
        if number <= SAMPLED:
            for name, texts in cells.items():
                texts.append(value_text(row.values.get(name)))
        elif not seen:
            break
    if seen:
        key = next(iter(seen))
        return key, [f"key: {excerpt(key)!r}, which is in every row and in none twice"]
    why = "; ".join(f"{excerpt(name)!r} {said}" for name, said in list(against.items())[:3])
    return MADE_KEY, [f'key: "{MADE_KEY}", a hash of each row, for {why or "no column is called like a key"}']


def _are_images(texts: Iterable[str]) -> bool:
    """Return whether most cells that hold something stood for bytes, or end as the names of images do."""
    found = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(found) * 2 > len(found)


def _has_letters(text: str) -> bool:
    return any(map(str.isalpha, text))


def _name_in_prompt(column: str, columns: Iterable[str]) -> str | None:
    """Return what a prompt calls a column, None where it cannot: `Review Text` is `Review_Text` there."""
    name = column if columns_in(f"{{{column}}}") else _NO_WORD.sub("_", column).strip("_")
    name = f"_{name}" if name[:1].isdecimal() else name
    is_one = columns_in(f"{{{name}}}") == (name,) and column_named(name, columns) == column
    return name if is_one else None
