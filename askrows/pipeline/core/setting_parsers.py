"""Parse the text of settings."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path

from askrows.pipeline.core.redact import mask_url_secrets
from askrows.pipeline.core.text import split_names, suggest_similar

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})
# The folder of task files, in the current folder or in a workspace.
TASKS_FOLDER = "tasks"
# More than any table has rows, and well below the largest integer that a database accepts.
MAX_NUMBER = 10**15
# Amounts as people write them: 1,000 or 1k; 200MB; 90 min; $5 or 5 USD. A comma, an underscore, a
# blank or an apostrophe separates thousands, and a point the decimals. Ambiguous amounts (`0,50`,
# `1,00`) are refused with a ValueError, because a misread limit costs money.

# Separators of thousands.
_BLANKS = "[,_ '\u00a0\u202f]"
_WHOLE_NUMBER = rf"(?:\d{{1,3}}(?P<by>{_BLANKS})\d{{3}}(?:(?P=by)\d{{3}})*|\d+(?:_\d+)*)"
_NUMBER = rf"[+-]?(?:{_WHOLE_NUMBER}(?:\.\d*)?|\.\d+)"
_AMOUNT = re.compile(rf"(?P<number>{_NUMBER}(?:e[+-]?\d{{1,3}})?)\s*(?P<unit>[a-z]*)", re.ASCII)
_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
# Bytes by unit.
_SIZES = {
    **dict.fromkeys(("", "b"), 1),
    **dict.fromkeys(("k", "kb"), 1000),
    **dict.fromkeys(("m", "mb"), 1000**2),
    **dict.fromkeys(("g", "gb"), 1000**3),
    **dict.fromkeys(("t", "tb"), 1000**4),
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
# Seconds by unit.
_TIMES = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
_MONEY = re.compile(r"(?:us\s?)?\$|\busd\b|(?<=[\d.])usd|usd(?=[\d.])", re.IGNORECASE)


def _parse_amount(
    text: str,
    units: Mapping[str, float],
    expectation: str,
    *,
    must_be_integer: bool = False,
) -> Decimal:
    """Return a number times its unit: 90 min is 5400 if `min` is 60.

    Upper case and blanks inside a number do not matter.

    Args:
        text: The amount. It may have no unit.
        units: Size by unit; "" is the size of a number without unit.
        expectation: Description of valid amounts, for the message.
        must_be_integer: The amount must be an integer, and must not have an exponent.

    Raises:
        ValueError: The text is not such an amount.
    """
    text = text.strip().lower()
    amount = _AMOUNT.fullmatch(text)
    if amount is not None and amount["unit"] in units:
        digits = re.sub(_BLANKS, "", amount["number"])
        number = Decimal(digits) * Decimal(units[amount["unit"]])
        # Decimals are valid if the unit makes them whole.
        is_integer = "e" not in text and number == number.to_integral_value()
        if is_integer or not must_be_integer:
            return number
    raise ValueError(f"must be {expectation}")


def parse_count(text: str) -> int:
    """Return a whole number such as 1000, 1,000, 1_000 or 1k; raise ValueError for others."""
    return int(
        _parse_amount(
            text,
            _THOUSANDS,
            "a whole number, such as 50, 1,000 or 1k",
            must_be_integer=True,
        ),
    )


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 200MB, 1.5 GiB or 1000000; raise ValueError for others."""
    return int(
        _parse_amount(text, _SIZES, "a size, such as 200MB or 1000000", must_be_integer=True),
    )


def parse_duration(text: str, *, unit: float = 1) -> float:
    """Return a duration such as 150m, 90 min or 1d.

    Args:
        text: The duration.
        unit: Seconds in the unit of the result, which is also that of a number without unit.

    Raises:
        ValueError: The text is not a duration.
    """
    expectation = "a duration, such as 90s, 30m, 2.5h or 1d"
    return float(_parse_amount(text, {**_TIMES, "": unit}, expectation)) / unit


def parse_money(text: str) -> float:
    """Return an amount of USD such as 5, $5, 5 USD or $1,000.50; raise ValueError for others."""
    return float(
        _parse_amount(
            _MONEY.sub("", text, count=1),
            {"": 1},
            "an amount of USD, such as 5, $5 or 0.50",
        ),
    )


def _make_bounded_number_parser(
    parse_number: Callable[[str], float],
    *,
    minimum: float,
    maximum: float,
    expectation: str,
) -> Callable[[str], float]:
    """Return a parser that raises ValueError for numbers outside the bounds.

    Args:
        parse_number: Parses the text; its errors are raised unchanged.
        minimum: The smallest valid number.
        maximum: The largest valid number.
        expectation: Description of valid numbers, for the message.
    """

    def parse(text: str) -> float:
        number = parse_number(text)
        if not minimum <= number <= maximum:
            raise ValueError(f"must be {expectation}")
        return number

    return parse


parse_positive_count = _make_bounded_number_parser(
    parse_count,
    minimum=1,
    maximum=MAX_NUMBER,
    expectation=f"from 1 to {MAX_NUMBER:,}",
)
parse_positive_size = _make_bounded_number_parser(
    parse_size,
    minimum=1,
    maximum=MAX_NUMBER,
    expectation=f"from 1 to {MAX_NUMBER:,}",
)
parse_seconds = _make_bounded_number_parser(
    parse_duration,
    minimum=0,
    maximum=999_999_999,
    expectation="a number of seconds, 0 or more",
)
# The upper limit keeps dates within the calendar.
parse_days = _make_bounded_number_parser(
    partial(parse_duration, unit=86_400),
    minimum=0,
    maximum=100_000,
    expectation="a number of days, from 0 to 100,000",
)


# Infinity means: never ask.
parse_usd = _make_bounded_number_parser(
    lambda text: math.inf if text.strip().lower() == "inf" else parse_money(text),
    minimum=0,
    maximum=math.inf,
    expectation="an amount of USD, 0 or more",
)


parse_share = _make_bounded_number_parser(
    float, minimum=0, maximum=1, expectation="a number from 0 to 1"
)


def _make_pattern_parser(pattern: str, expectation: str) -> Callable[[str], str]:
    """Return a parser that returns a text unchanged if the whole text matches a pattern.

    It raises ValueError, "must be " and `expectation`, for any other text.
    """

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {expectation}")
        return text

    return parse


parse_backend = _make_pattern_parser(
    "gemini|openai|server|local", "'gemini', 'openai', 'server' or 'local'"
)
parse_tier = _make_pattern_parser("free|1|2|3", "free, 1, 2 or 3")
parse_table_name = _make_pattern_parser(
    r"[A-Za-z_][A-Za-z0-9_]{0,62}",
    "the name of a table: letters, digits, underscores",
)
parse_prompt_version = _make_pattern_parser(
    r"[^\s/\ud800-\udfff]{1,100}",
    "a name of at most 100 characters without blanks and slashes, such as passage-concepts@2",
)
_parse_name_or_path = _make_pattern_parser(
    r"[a-z][a-z0-9_]{0,40}|.*/.*|.*\.py",
    "experts, passages, the name of a task (a-z, 0-9 and _), or the path of its file",
)


def parse_task_name_or_path(text: str, *, suggested_names: Collection[str]) -> str:
    """Return the name of a task, or the path of its file; the task need not exist.

    Args:
        text: The text.
        suggested_names: Names of tasks, besides those of the files in the folder `tasks`.

    Raises:
        ValueError: The text is neither. The message suggests a similar name.
    """
    try:
        return _parse_name_or_path(text)
    except ValueError as error:
        file_names = [path.stem for path in Path(TASKS_FOLDER).glob("*.py")]
        suggestion = suggest_similar(text, [*suggested_names, *file_names])
        if not suggestion:
            raise
        raise ValueError(f"{error}; {suggestion}") from None


def parse_confirmed_values(text: str) -> tuple[str, ...]:
    """Return words separated by blanks or commas, with masked passwords and no final slash."""
    words = re.split(r"[\s,]+", text.strip())
    return tuple(mask_url_secrets(word).rstrip("/") for word in words if word)


def parse_unique_names(text: str, parse_name: Callable[[str], str] = str) -> tuple[str, ...]:
    """Return the names of a list with commas, in its order; `none` means no name.

    A repeated name is dropped.

    Args:
        text: The list.
        parse_name: Returns a name, or raises ValueError if it is invalid.

    Raises:
        ValueError: A name is invalid, or there is no name.
    """
    if text.strip().lower() == "none":
        return ()
    names = dict.fromkeys(map(parse_name, split_names(text)))
    if not names:
        raise ValueError("must be names separated by commas, or none")
    return tuple(names)


parse_prompt_versions = partial(parse_unique_names, parse_name=parse_prompt_version)


def parse_boolean(text: str) -> bool:
    """Return the truth of a word such as 1, yes, 0 or no; raise ValueError for any other."""
    word = text.strip().lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError("must be 1 or 0")
    return word in TRUE_WORDS


def parse_path(text: str) -> Path:
    """Return a path with `~` expanded, because some shells and `.env` files do not expand it.

    Raises:
        ValueError: There is no such home directory.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("that home directory does not exist") from error
