"""Escape text that others wrote, for a prompt, a line of Markdown or a cell of CSV.

- A phrase of a model loses mark-up, entities, control and invisible characters.
- In a prompt, data is between tags. Our tags inside data, and similar characters, lose their
  bracket; other mark-up stays.
- In a report a text is code.
- A cell that a spreadsheet would run as a formula gets an apostrophe before it, and so does a cell
  that already has one. `restore_formula` removes it, so that an exported cell is imported as it
  was.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import ROUND_DOWN, Decimal
from difflib import get_close_matches
from itertools import chain, count, pairwise
from typing import Any

# Characters of a result on a console.
MAX_LINE_CHARS = 110
# Smaller amounts are printed with more decimals.
CENT_USD = 0.01
# Units of a duration in words: name, seconds, and the least number that is written in this unit.
DURATION_UNITS = (("d", 86_400, 2), ("h", 3_600, 1), ("min", 60, 1), ("s", 1, 1))
# Durations from this number on are written without decimals.
MIN_WHOLE_AMOUNT = 10
# Longer texts are cut before cleaning, so that no answer takes long.
MAX_CLEANED_CHARS = 1_000  # characters
# Invisible letters and marks (Unicode Default_Ignorable_Code_Point and U+2800), in addition to
# category Cf.
INVISIBLE_LETTERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]",
)
# Surrogates: bytes that did not decode, or half a character. They are not valid in a text.
SURROGATES = re.compile("[\ud800-\udfff]")
# Surrogates and NUL. PostgreSQL stores no text with NUL.
INVALID_TEXT = re.compile("[\0\ud800-\udfff]")

# An entity of HTML, named or numbered.
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
_ELEMENT = re.compile(r"<!--.*?-->|</?[a-z!?][^<>]*>", re.IGNORECASE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")  # Markdown
_EMPHASIS = re.compile(r"\*\*|__|~~|`+")
_BULLET = re.compile(r"^(?:#{1,6}|[-*+>\u2022])\s+")


def plural(count: int, singular: str, plural_noun: str = "") -> str:
    """Return `1 batch` or `2 batches`."""
    noun = singular if count == 1 else plural_noun or f"{singular}s"
    return f"{count:,} {noun}"


def describe_requests(request_count: int, row_count: int) -> str:
    """Return the number of requests, and of the rows that they cover, in words."""
    if row_count == request_count:
        return plural(request_count, "row")
    return f"{plural(request_count, 'request')} for {plural(row_count, 'row')}"


def format_probability(probability: float) -> str:
    """Return a probability with two decimals, rounded down: 0.699 is not 0.70."""
    return str(Decimal(str(probability)).quantize(Decimal("0.01"), ROUND_DOWN))


def format_usd(amount: float) -> str:
    """Return an amount in USD, such as "$1.50".

    It has 2 decimals, also if it is 0. Another amount below 0.01 has 4, and below 0.0001 it has 6.
    """
    if amount >= CENT_USD or not amount:
        decimals = 2
    elif amount >= CENT_USD / 100:
        decimals = 4
    else:
        decimals = 6
    return f"${amount:,.{decimals}f}"


def format_duration(seconds: float | None) -> str:
    """Return a duration in words, for example "2.5 h"; None is "an unknown time".

    Days are written from two days on. Anything below a second is "a second".
    """
    if seconds is None:
        return "an unknown time"
    for unit, unit_seconds, min_amount in DURATION_UNITS:
        amount = seconds / unit_seconds
        if amount >= min_amount:
            decimals = 1 if amount < MIN_WHOLE_AMOUNT else 0
            return f"{amount:.{decimals}f} {unit}".replace(".0 ", " ")
    return "a second"


def make_short_repr(instance: Any) -> str:
    """Return an object on a line for its `__repr__`, such as `Class(name='a', count=2)`.

    Only texts and numbers are shown, and of these only values that are true: 0, "" and False are
    left out. A long line is shortened.

    Args:
        instance: A dict, a named tuple, or an object with attributes.
    """
    if isinstance(instance, dict):
        fields = instance
    elif hasattr(instance, "_asdict"):
        fields = instance._asdict()
    else:
        fields = vars(instance)
    plain_fields = (
        f"{name}={value!r}"
        for name, value in fields.items()
        if value and isinstance(value, str | int | float)
    )
    return shorten(f"{type(instance).__name__}({', '.join(plain_fields)})")


def shorten(text: str, max_chars: int = MAX_LINE_CHARS) -> str:
    """Return a text of at most `max_chars` characters, with an ellipsis if it was longer."""
    if len(text) <= max_chars:
        return text
    return f"{text[: max_chars - 1]}…"


def to_single_line(text: str) -> str:
    """Return a text with each run of spaces and unprintable characters replaced by one space."""
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())


def split_names(text: str) -> list[str]:
    """Return the parts between the commas of a text, without the blank ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


def join_first(names: Sequence[str], max_names: int = 3) -> str:
    """Return the first `max_names` names and the number of further names, for a message."""
    listed_names = ", ".join(names[:max_names])
    more_count = len(names) - max_names
    if more_count > 0:
        return f"{listed_names} and {more_count:,} more"
    return listed_names


def drop_empty_and_repeated_texts(texts: Iterable[str]) -> list[str]:
    """Return texts in their order without empty texts and repeats; case makes no difference.

    The first spelling of a repeated text stays.
    """
    text_by_fold: dict[str, str] = {}
    for text in texts:
        text_by_fold.setdefault(text.casefold(), text)
    return [text for text in text_by_fold.values() if text]


def make_names_unique(
    names: Sequence[str],
    *,
    is_exempt: Callable[[str], bool] = frozenset[str]().__contains__,
) -> list[str]:
    """Return names in their order, with a number after each name that an earlier one equals.

    The second `Other` is called `Other (2)`. A number is skipped if another name has it. Case does
    not matter.

    Args:
        names: The names; empty names are returned as they are.
        is_exempt: Returns whether a repeated name is kept as it is.
    """
    used_names = set(map(str.casefold, names))
    numbers_by_name = dict[str, Iterator[int]]()
    unique_names = list[str]()
    for name in names:
        is_first = name.casefold() not in numbers_by_name
        numbers = numbers_by_name.setdefault(name.casefold(), count(2))
        spellings = (f"{name} ({number})" for number in numbers)
        free_spellings = (text for text in spellings if text.casefold() not in used_names)
        is_kept = is_first or not name or is_exempt(name)
        unique_names.append(name if is_kept else next(free_spellings))
    return unique_names


def suggest_similar(name: str, names: Iterable[str]) -> str:
    """Return `did you mean 'NAME'?` with the most similar of some names; "" if none is similar.

    Args:
        name: A name that does not exist.
        names: The names that exist.
    """
    similar_name = find_most_similar(name, names)
    if not similar_name:
        return ""
    return f"did you mean {similar_name!r}?"


def find_most_similar(name: str, names: Iterable[str]) -> str:
    """Return the most similar of some names, whatever their case; "" if none is similar."""
    names_by_folded_name = {existing.casefold(): existing for existing in names}
    similar_names = get_close_matches(name.casefold(), names_by_folded_name, n=1)
    return names_by_folded_name[similar_names[0]] if similar_names else ""


def remove_markup(text: str) -> str:
    """Return a phrase on a line, without mark-up and invisible characters, entities decoded.

    An entity is decoded once, so `&amp;lt;` becomes `&lt;`. The text of a link stays; its address
    is removed. White space is collapsed, and a bullet at the start is removed.
    """
    import html

    # Most phrases are plain words.
    if text.isascii() and text.replace(" ", "").isalnum():
        return " ".join(text.split())

    text = ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    text = _EMPHASIS.sub("", _LINK.sub(r"\1", _ELEMENT.sub(" ", text)))
    text = INVISIBLE_LETTERS.sub("", text)
    if not text.isprintable():
        characters = (" " if char.isspace() or char < " " else char for char in text)
        text = "".join(char for char in characters if char.isprintable())
    return _BULLET.sub("", " ".join(text.split()))


# `<` and similar characters. The pattern also matches its entities, and then looks ahead for a
# name after other characters.
_BRACKETS = "<\u00ab\u02c2\u1438\u2039\u226a\u27e8\u276e\u2770\u29fc\u3008\u300a\ufe64\uff1c"
_OPENING = re.compile(
    rf"(?:[{_BRACKETS}]|&(?:lt|#0{{0,6}}60|#x0{{0,6}}3c);)"
    rf"(?=\s*+([^a-z0-9{_BRACKETS}]{{0,200}}.{{0,40}}))",
    re.IGNORECASE | re.DOTALL,
)
# Letters of a name that are compared. The lookahead contains as many, even with other characters
# between them.
_COMPARED_LETTERS = 10
# Letters of other scripts that resemble the letters of the names, after NFKD and lower case.
_LOOKALIKES = str.maketrans("аеорсуіјѕһьвгԁɡıοαριυντεκ", "aeopcyijshbbrdgioapiuvtek")


def neutralize_prompt_tags(data: str, *, names: Iterable[str]) -> str:
    """Return a text in which "<" is replaced by "(" if it begins one of our tags.

    So data in a prompt cannot begin or end the part that we marked by tags. Opening and closing
    tags are replaced, also with a character that looks like "<" or with an entity for it. A tag is
    ours if its name begins with one of the names, of which the first _COMPARED_LETTERS letters
    count: `<rows>` is ours if `row` is. Letters that look alike are equal. All other tags stay.

    Args:
        names: The names of our tags.
    """
    has_bracket = "<" in data or "&" in data
    if not has_bracket and not data.isascii():
        has_bracket = any(map(data.__contains__, _BRACKETS))
    if not has_bracket:
        return data

    prefixes = tuple(_fold_lookalikes(name)[:_COMPARED_LETTERS] for name in names)

    def replace_bracket(bracket: re.Match[str]) -> str:
        if _fold_lookalikes(bracket[1]).startswith(prefixes):
            return "("
        return bracket[0]

    return _OPENING.sub(replace_bracket, data)


def _fold_lookalikes(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).lower().translate(_LOOKALIKES)
    return "".join(filter(str.isalnum, folded))


# Replaces an invisible character, which could change the direction of the following text.
_REPLACEMENT = "\ufffd"
_ENDS_CODE = str.maketrans("`|", f"{_REPLACEMENT}\u00a6")
# Persian, Hindi and emoji of families change without these joiners.
_JOINERS = "\u200c\u200d"


def replace_invisible_characters(text: str, *, max_chars: int | None = None) -> str:
    """Return a text on a line, with U+FFFD for every invisible character.

    A text of more than `max_chars` characters is cut, with an ellipsis.
    """
    line = "".join(
        char if char.isprintable() or char in _JOINERS or char.isspace() else _REPLACEMENT
        for char in text
    )
    line = re.sub(r"\s+", " ", line)
    if max_chars is None:
        return line
    return shorten(line, max_chars)


def format_markdown_code(
    text: str,
    *,
    max_chars: int | None = None,
    bold: Sequence[tuple[int, int]] = (),
) -> str:
    """Return a text as Markdown code, for a line, a list or a table cell.

    Nothing in the text acts as mark-up: a backtick becomes U+FFFD, a bar a broken bar, and a line
    break a blank. An empty text becomes a blank. With bold parts, the result is a sequence of
    pieces of code, bold and not bold in turn, such as "`a`**`b`**`c`". Without bold parts, blanks
    at the ends are removed.

    Args:
        max_chars: Maximum length of each piece, which is cut with an ellipsis; None means no limit.
        bold: (start, end) offsets in `text` of the bold parts, ascending and separate.
    """
    cuts = sorted({0, len(text), *chain.from_iterable(bold)})
    parts: list[str] = []
    for start, end in pairwise(cuts):
        part = replace_invisible_characters(
            text[start:end] if bold else text.strip(), max_chars=max_chars
        )
        code = f"`{part.translate(_ENDS_CODE) or ' '}`"
        parts.append(f"**{code}**" if (start, end) in bold else code)
    return "".join(parts) or "` `"


# Beginnings that Excel, LibreOffice or Google Sheets read as a formula: these signs (also in full
# width, small, and the minus sign) after white space and invisible characters. White space that
# ends a cell early counts, too (OWASP, "CSV Injection", read 2026-11).
_FORMULA = re.compile(
    r"[\t\r\n]|[\s\x00-\x1f\u200b-\u200f\u2060\ufeff]*"
    r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u207b\u207c]",
)
_SIGNED = re.compile(r"[+-][0-9]+(?:[.,][0-9]+)*|-")
_MARKED = re.compile(rf"'+(?:{_FORMULA.pattern})")


def neutralize_formula(text: str) -> str:
    """Return a cell for a CSV file, with an apostrophe before a formula.

    A signed number or a single dash is not changed, because no program runs it.
    """
    is_formula = (_FORMULA.match(text) or _MARKED.match(text)) and not _SIGNED.fullmatch(text)
    return f"'{text}" if is_formula else text


def restore_formula(text: str) -> str:
    """Return the text that `neutralize_formula` made a cell of."""
    if text.startswith("'") and _MARKED.match(text):
        return text[1:]
    return text


class FormulaGuard:
    """Neutralizes formulas in cells of CSV, and counts the changed cells."""

    def __init__(self) -> None:
        """Start with no changed cells."""
        self.changed_cells = 0

    def __call__(self, cell: str) -> str:
        """Return a cell as it is written."""
        written_cell = neutralize_formula(cell)
        self.changed_cells += written_cell != cell
        return written_cell


def encode_csv_line(
    cells: Sequence[str | float],
    neutralize: Callable[[str], str] = neutralize_formula,
) -> bytes:
    r"""Return a CSV record as UTF-8, ending with `\r\n`, quoted as needed (RFC 4180).

    `neutralize` escapes the texts, except those that begin with a letter or a digit, as most do:
    they are no formulas. By default no text is a formula.
    """
    text = io.StringIO()
    # The line end also decides about quoting: with `\n` alone, Python 3.12 does not quote a single
    # carriage return.
    csv.writer(text, lineterminator="\r\n").writerow(
        [
            neutralize(cell) if isinstance(cell, str) and not cell[:1].isalnum() else cell
            for cell in cells
        ],
    )
    return text.getvalue().encode("utf-8", "replace")
