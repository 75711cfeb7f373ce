"""Find values for a scalar schema in a text: choices, numbers, booleans and dates."""

import datetime as dt
import functools
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emulator.answers import encoder
from emulator.schema import SchemaNode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Characters of a section that are read.
MAX_SECTION_CHARS = 20_000
# Sentences or numbers that are compared with a question.
MAX_COMPARED = 50
# Likeness from which a sentence says what a boolean asks for.
_MIN_SENTENCE_LIKENESS = 0.55
# Likeness from which the words around a number fit its name.
_MIN_NUMBER_LIKENESS = 0.5
# Other choices in a list have at least this share of the best likeness.
_MIN_CHOICE_SHARE = 0.9
# From here on, readers of JSON lose digits.
_MAX_EXACT_NUMBER = 2**53
_DEFAULT_DATE = dt.date(1970, 1, 1)
# Values of the formats that are not searched in a text.
PLACEHOLDERS_BY_FORMAT = {"time": "00:00:00", "duration": "PT0S"}
# Words in a name or a description that ask for a quotation.
_QUOTE_HINT = re.compile(
    r"\b(?:quot(?:e|es|ed|ations?)|evidence|excerpts?|verbatim|snippets?|citations?|proof"
    r"|cop(?:y|ied)|word for word)\b",
    re.IGNORECASE,
)
# The section that a quotation is copied from, in a description.
QUOTED_SECTION = re.compile(r"\bcopied from <(\w+)>, word for word")
_DATE_HINT = re.compile(
    r"\b(?:dates?|dated|deadline|birthday|when)\b|\bYYYY|\bISO[ -]?8601|ed at$",
    re.IGNORECASE,
)
# Words in the name of a boolean that say nothing about its subject.
QUESTION_WORDS = re.compile(
    r"\b(?:is|are|was|has|have|had|does|do|did|mentions?|contains?"
    r"|whether|the|any|if|true|says?)\b",
)
NEGATION = re.compile(
    r"\b(?:no|not|never|nothing|nobody|none|without|hardly|cannot)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_CURRENCY = re.compile(
    r"[$\u20ac\u00a3]|\b(?:euros?|dollars?|pounds?|usd|eur|gbp)\b",
    re.IGNORECASE,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    r"(?<!\d)(?P<y1>\d{4})[-/.](?P<m1>\d{1,2})[-/.](?P<d1>\d{1,2})(?!\d)"
    rf"|(?:(?<!\d)(?P<d2>\d{{1,2}})(?:st|nd|rd|th)? )?\b(?P<m2>{'|'.join(_MONTHS)})[a-z]{{0,6}}\.?"
    r"(?: (?P<d3>\d{1,2}),?)? (?P<y2>[12]\d{3})(?!\d)",
    re.IGNORECASE,
)
# Number words; the index is the number.
_NUMBER_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_DIGIT_SEPARATOR = re.compile(r"[,\u00a0\u202f]")
_NUMBER = re.compile(
    r"(?<![\w.,-])-?(?:\d{1,3}(?:[,\u00a0\u202f]\d{3})+|\d{1,15})(?:\.\d{1,15})?(?![\w]*[-/]?\d)"
    rf"|\b(?:{'|'.join(_NUMBER_WORDS[2:])})\b",
    re.IGNORECASE,
)
# Characters before and after a number that say what it counts.
_NUMBER_CONTEXT_CHARS = 24


def is_tag(node: SchemaNode) -> bool:
    """Return whether a schema allows any text, and asks for neither a quotation nor a date."""
    is_free_text = node.kind == "STRING" and not node.choices and not node.format
    return is_free_text and not (_QUOTE_HINT.search(node.label) or _DATE_HINT.search(node.name))


def rank_choices(node: SchemaNode, text: str, *, only_near_best: bool) -> list[Any]:
    """Return the choices of a schema, sorted by falling similarity of meaning to the text.

    Only the first MAX_SECTION_CHARS characters of the text are compared. Equally similar choices
    keep their order.

    Args:
        only_near_best: Return only choices that are almost as similar as the best.
    """
    compared_text = text[:MAX_SECTION_CHARS]
    likenesses = [
        max(measure_likeness(words, compared_text) for words in meanings)
        for meanings in _list_meanings(node)
    ]

    order = sorted(range(len(likenesses)), key=lambda index: (-likenesses[index], index))
    if only_near_best:
        min_likeness = _MIN_CHOICE_SHARE * likenesses[order[0]]
        order = [index for index in order if likenesses[index] >= min_likeness]
    return [node.choices[index] for index in order]


@functools.lru_cache(maxsize=64)
def _list_meanings(node: SchemaNode) -> list[list[str]]:
    """Return the words and the explanation of each choice, in the order of the choices.

    A choice may be explained in the description: "billing: invoices; delivery: parcels". Otherwise
    its explanation is empty.
    """
    meanings = []
    for choice in node.choices:
        explanation = re.search(
            rf"(?<!\w){re.escape(str(choice))}: ([^;.\n]{{3,200}})",
            node.description,
        )
        meanings.append([str(choice).replace("_", " "), explanation[1] if explanation else ""])
    return meanings


def find_numbers(node: SchemaNode, text: str, *, has_fallback: bool) -> list[float]:
    """Return the numbers of a text that fit a schema, in order and without duplicates.

    A number fits if it is within the bounds, and the words around it are similar to the name of the
    value. Dates are skipped, and only the first `MAX_COMPARED` numbers are read. Whole numbers are
    ints.

    Args:
        has_fallback: Append the other numbers within the bounds, whatever the words around them.
    """
    undated_text = _DATE.sub(lambda match: " " * len(match[0]), text)
    fitting_numbers: list[float] = []
    other_numbers: list[float] = []
    for match in list(_NUMBER.finditer(undated_text))[:MAX_COMPARED]:
        number = _parse_number(match[0].lower())
        if not _is_allowed_number(node, number):
            continue

        text_before = undated_text[max(0, match.start() - _NUMBER_CONTEXT_CHARS) : match.start()]
        text_after = undated_text[match.end() : match.end() + _NUMBER_CONTEXT_CHARS]
        context = _CURRENCY.sub(" price amount cost ", f"{text_before} {text_after}")
        is_fitting = measure_likeness(node.name, context) >= _MIN_NUMBER_LIKENESS
        numbers = fitting_numbers if is_fitting else other_numbers
        numbers.append(int(number) if number.is_integer() else number)

    if has_fallback:
        fitting_numbers += other_numbers
    return list(dict.fromkeys(fitting_numbers))


def _parse_number(text: str) -> float:
    """Return the number of a text in lower case: digits with separators, or a number word."""
    if text in _NUMBER_WORDS:
        return float(_NUMBER_WORDS.index(text))
    return float(_DIGIT_SEPARATOR.sub("", text))


def find_boolean(node: SchemaNode, sentences: Sequence[str]) -> list[bool]:
    """Return at most one bool: whether the sentence most similar to the name affirms it.

    A sentence with a negation gives False. If no sentence is similar, the list is empty for a
    nullable value, else it has False.
    """
    subject = QUESTION_WORDS.sub(" ", node.name).strip() or node.label
    best_sentence = max(
        sentences,
        key=lambda sentence: measure_likeness(subject, sentence),
        default="",
    )
    if measure_likeness(subject, best_sentence) >= _MIN_SENTENCE_LIKENESS:
        return [NEGATION.search(best_sentence) is None]
    return [] if node.nullable else [False]


@functools.lru_cache(maxsize=1 << 12)
def measure_likeness(words: str, text: str) -> float:
    """Return how similar a text is to some words, about 0 to 1; 0 if either is blank.

    It is the mean over the words of the similarity to the most similar word of the text.
    """
    word_meanings = _get_meanings(words)
    text_meanings = _get_meanings(text)
    if word_meanings is None or text_meanings is None:
        return 0.0

    return float((word_meanings @ text_meanings.T).max(axis=1).mean())


# Many questions in a row are about the same text.
@functools.lru_cache(maxsize=64)
def _get_meanings(text: str) -> "NDArray[np.float32] | None":
    """Return the meanings of the words of a text, (words, 256); None for a blank text.

    The array is cached, so callers must not change it.
    """
    import numpy as np

    words = encoder.count_words(text)
    if not words:
        return None
    return np.stack([encoder.get_word_meaning(word) for word in words])


def find_dates(text: str) -> list[dt.date]:
    """Return the valid dates of a text, in order and without duplicates.

    A date has the form 2024-05-01 (also with dots or slashes), or the English name of its month, as
    in "1 May 2024" or "May 1, 2024". Dates such as 1.5.2024 are not found, and a date without a day
    is left out.
    """
    dates: dict[dt.date, None] = {}
    for match in _DATE.finditer(text):
        year = int(match["y1"] or match["y2"])
        month = _parse_month(match["m1"] or match["m2"])
        day = int(match["d1"] or match["d2"] or match["d3"] or 0)
        # The calendar may have no such date.
        with suppress(ValueError):
            dates[dt.date(year, month, day)] = None
    return list(dates)


def _parse_month(text: str) -> int:
    """Return the number of a month, from digits or from the first three letters of its name."""
    if text.isdecimal():
        return int(text)
    return _MONTHS.index(text.lower()) + 1


def is_date(node: SchemaNode) -> bool:
    """Return whether a schema asks for a date, as a text.

    It does if it is a text with the format of a date. A text of another format must ask for a date
    by its name or description, and its bounds must allow ten characters, such as 2024-05-01.
    """
    if node.kind != "STRING":
        return False
    if node.format in ("date", "date-time"):
        return True

    date_chars = len(str(_DEFAULT_DATE))
    is_too_short = node.max_size is not None and node.max_size < date_chars
    if is_too_short or node.min_size > date_chars:
        return False
    return any(_DATE_HINT.search(text) for text in (node.label, node.name))


def is_quote(node: SchemaNode) -> bool:
    """Return whether a schema asks for a quotation from the text, by its name or description.

    A schema with choices, or for a date or a number, does not.
    """
    is_free_text = node.kind == "STRING" and not node.choices and not is_date(node)
    return is_free_text and _QUOTE_HINT.search(node.label) is not None


def format_date(node: SchemaNode, date: dt.date) -> str:
    """Return a date in ISO 8601, as midnight UTC if the format is "date-time"."""
    if node.format == "date-time":
        return f"{date.isoformat()}T00:00:00Z"
    return date.isoformat()


def _is_allowed_number(node: SchemaNode, number: float) -> bool:
    """Return whether a number is within the bounds, exact in JSON and of the right kind."""
    is_within_bounds = node.minimum <= number <= node.maximum
    is_right_kind = node.kind == "NUMBER" or number.is_integer()
    return is_within_bounds and abs(number) < _MAX_EXACT_NUMBER and is_right_kind


def fit_length(node: SchemaNode, text: str) -> str:
    """Return a text with a length that the schema allows: cut, or followed by dots."""
    return text[: node.max_size].ljust(node.min_size, ".")


def get_fallback_value(node: SchemaNode) -> Any:
    """Return the value for a schema if the text has none.

    It is the first choice, False, the smallest number, 1970-01-01, midnight, no duration, or the
    shortest text.
    """
    if node.choices:
        return node.choices[0]
    if node.format in PLACEHOLDERS_BY_FORMAT:
        return PLACEHOLDERS_BY_FORMAT[node.format]
    if node.kind == "BOOLEAN":
        return False
    if node.kind in ("INTEGER", "NUMBER"):
        return _get_smallest_number(node)
    return format_date(node, _DEFAULT_DATE) if is_date(node) else fit_length(node, "")


def _get_smallest_number(node: SchemaNode) -> float:
    """Return the smallest number that a schema allows.

    If there is no minimum, it is 0, or the maximum if that is negative. The number is rounded
    upwards to a multiple of 0.01, unless that exceeds the maximum or the number is very large.
    A result without a fraction is an int, also if the schema allows fractions, unless the number is
    very large.
    """
    number = node.minimum
    if math.isinf(number):
        number = min(0, node.maximum)

    # After an open bound at 0, the value 0.01 reads better than the next float.
    if abs(number) < _MAX_EXACT_NUMBER / 100:
        rounded_number = math.ceil(number * 100) / 100
        if rounded_number <= node.maximum:
            number = rounded_number

    if float(number).is_integer() and abs(number) < _MAX_EXACT_NUMBER:
        return int(number)
    return number
