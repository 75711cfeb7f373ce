"""Declare the task experts: the domains of knowledge that the biography of a person shows.

A model repeats text of a biography, and a stranger may have written the biography. Mark-up,
entities, control characters and invisible characters are therefore removed from each tag. A tag is
refused if it is still too long, contains mark-up or is an address.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from askrows import DatabaseTable, NoAnswer, Task, remove_markup

SYSTEM = """\
You tag people in a directory of experts so that others can find them by what they know.

You get one person: a username, a job title, and a biography, each between tags of its own name. \
The username only tells people apart; it proves nothing.

Name the domains of knowledge that the text shows this person to have, the most characteristic \
first, at most 8:
- each a short noun phrase in English, lower case, one to three words ("water law", "gradient \
boosting", "beekeeping"), in whatever language the text is;
- a field, craft, method or tool by its usual name: a hydrologist knows "hydrology", ecological \
work is "ecology";
- as narrow as the text: where it says water law, the tag is "water law", without "law" beside it.

What is no tag:
- padding: the parent of another tag, or a word that fits half of all people, such as science, \
research, technology, business, innovation, communication or leadership;
- a guess: what such people often know, where the text does not say that this one does;
- the name of an organisation, a product, a place or a person; a degree, a job title, a trait or \
an award;
- a hobby or a private interest;
- a placeholder such as "n/a", "test" or "coming soon".

One tag that is right is enough. Never add one to have more. Where the text supports none, return \
an empty list."""

COLUMNS: dict[str, type] = {
    "username": str,
    "first_name": str,
    "last_name": str,
    "job_title": str,
    "company": str,
    "bio": str,
    "hourly_rate": float,
    "currency": str,
    "profile_url": str,
    "profile_url_utm": str,
    "category": str,
}
# The names of columns in files, and in the metadata of the index.
HEADERS = {
    "username": "Username",
    "first_name": "First Name",
    "last_name": "Last Name",
    "job_title": "Job Title",
    "company": "Company",
    "bio": "Bio",
    "hourly_rate": "Hourly Rate",
    "currency": "Currency",
    "profile_url": "Profile URL",
    "profile_url_utm": "Profile URL with UTM",
    "category": "category",
}
MAX_TAGS = 8
# A phrase of three words has about half as many characters; a longer tag is a sentence.
MAX_TAG_CHARS = 60
# Cleaning a text again and again takes long if it is long.
MAX_CLEANED_CHARS = 1_000
# Marks of emphasis and blanks at the ends of a tag. `#` also ends names of programming languages.
EMPHASIS_MARKS = "*_~ "
MARKUP_CHARACTER = re.compile(r"[<>{}\[\]\ufe64\ufe65\uff1c\uff1e]")

# Characters of a biography that earn all its points: min(40, length / 500 * 40).
FULL_BIO_CHARS = 500
# Points of the findability score; they add up to 100.
BIO_POINTS = 40
TAGS_POINTS = 25
PROFILE_URL_POINTS = 15
JOB_TITLE_POINTS = 10
HOURLY_RATE_POINTS = 10

# ---- cells of files

NAME_PARTS = ("first_name", "last_name")
# Texts that people type into a field that they leave empty. Every text field reads them as empty,
# whatever their case.
_DASHES_AND_DOTS = (
    *("-", "--", "---", "\u2013", "\u2014", "_"),
    *(".", "..", "...", "\u2026", "/", "?", "??", "???"),
)
_EMPTY_WORDS = (
    *("n/a", "n.a.", "#n/a", "null", "none", "nil", "na", "nan"),
    *("(none)", "undefined", "empty", "(empty)"),
)
_LATER_WORDS = (
    *("tbd", "tba", "tbc", "t.b.d.", "todo", "to do", "not available", "not applicable"),
    *("unknown", "coming soon"),
)
_SMILEYS = (":)", ":-)", ";)", ":d", "\U0001f642", "\U0001f60a")
_FOREIGN_WORDS = ("k.a.", "k. a.", "keine angabe", "s/o", "néant", "无", "暂无")
PLACEHOLDERS = frozenset(
    (*_DASHES_AND_DOTS, *_EMPTY_WORDS, *_LATER_WORDS, *_SMILEYS, *_FOREIGN_WORDS),
)
# Without those that are also names of people.
NAME_PLACEHOLDERS = PLACEHOLDERS - {"null", "none", "nil", "na", "nan", "todo"}
# An hourly rate in the currencies with the smallest units (VND, IDR) is lower.
MAX_RATE = 10_000_000
_CODES = {
    **dict.fromkeys(("us$", "usd$", "us dollar", "us dollars"), "USD"),
    **dict.fromkeys(("€", "euro", "euros"), "EUR"),
    **dict.fromkeys(("£", "sterling", "pound sterling", "pounds sterling"), "GBP"),
    **dict.fromkeys(("c$", "ca$", "cad$"), "CAD"),
    **dict.fromkeys(("a$", "au$", "aud$"), "AUD"),
    **dict.fromkeys(("s$", "sg$"), "SGD"),
    **dict.fromkeys(("yen", "円"), "JPY"),
    **dict.fromkeys(("yuan", "元"), "CNY"),
    **dict.fromkeys(("sfr", "sfr.", "swiss franc", "swiss francs"), "CHF"),
    "nz$": "NZD",
    "hk$": "HKD",
    "nt$": "TWD",
    "mx$": "MXN",
    "r$": "BRL",
    "₹": "INR",
    "₩": "KRW",
    "₽": "RUB",
    "₴": "UAH",
    "₺": "TRY",
    "₪": "ILS",
    "₫": "VND",
    "฿": "THB",
    "₱": "PHP",
    "₦": "NGN",
    "zł": "PLN",
    "kč": "CZK",
}
_MONEY = r"[^\W\d_]{0,3}[$€£¥₹₩₽₴₺₪₫฿₱₦]|[A-Z]{3}|kr\.?|zł|Kč"
_PER = r"\s*/\s*|\s*\b(?:per|an?|pro|por|par|p)\b[\s./]*|\s+"
_HOUR = rf"(?:(?:{_PER})?(?:h|hrs?|hours?|hourly|std|stunde|heure|ora|uur)\.?)?"
_RATE = re.compile(rf"({_MONEY})?\s*(\d(?:[\d.,'\u2019 \u00a0]*\d)?)\s*({_MONEY})?(?i:{_HOUR})")
# Each alternative captures its decimals in a group of its own.
_NUMBER = re.compile(
    r"\d+(?:[.,](\d{1,2}|\d{4,}))?|0[.,](\d{3})"
    r"|\d{1,3}(?:,\d{3})+(?:\.(\d+))?|\d{1,3}(?:\.\d{3})+,(\d+)|\d{1,3}(?:\.\d{3}){2,}"
    r"|\d{1,3}(?:[ \u00a0'\u2019]\d{3})+(?:[.,](\d+))?",
)


def convert_person_cells(
    cells: dict[str, Any],
) -> tuple[dict[str, Any], list[tuple[str, str, Any]]]:
    """Return the cells of a person to store, and a note on each cell that is stored otherwise.

    A whole name becomes first and last name. Numbers in text columns become texts, and placeholders
    such as `n/a` are read as empty. A rate such as `80 EUR/h` becomes a number, and its currency is
    stored if the row has no other. A currency becomes its code, without a note. The username is not
    changed.
    """
    cells = split_whole_name(cells)
    notes = list[tuple[str, str, Any]]()
    person = dict[str, Any]()
    for column, cell in cells.items():
        if column == "username":
            person[column], reason = cell, ""
        elif column == "hourly_rate":
            person[column], reason = convert_rate_cell(cell)
        else:
            person[column], reason = convert_text_cell(column, cell)
        if reason:
            notes.append((column, reason, cell))

    _, rate_currency = parse_rate_and_currency(str(cells.get("hourly_rate") or ""))
    currency = person.get("currency") or rate_currency
    if currency:
        person["currency"] = find_currency_code(currency)
    return person, notes


def split_whole_name(cells: dict[str, Any]) -> dict[str, Any]:
    """Return the cells with the whole name replaced by first and last name.

    First and last name of the row itself are kept. If the row has only one of them, and the whole
    name does not contain it, the whole name is the other: a column `Name` beside a first name has
    last names. A whole name that is not text becomes the first name if the row has no such column.
    """
    if "full_name" not in cells:
        return cells
    whole_name = cells["full_name"]
    other_cells = {name: cell for name, cell in cells.items() if name != "full_name"}
    if not isinstance(whole_name, str):
        return {"first_name": whole_name, **other_cells}

    whole_name = whole_name.strip()
    first_name, last_name = (str(other_cells.get(name) or "").strip() for name in NAME_PARTS)
    first_part, last_part = _split_name(whole_name)
    given_name = (first_name or last_name).casefold()
    if whole_name.casefold() == given_name:
        first_part = last_part = ""
    elif given_name not in whole_name.casefold():
        first_part = last_part = whole_name
    return {
        **other_cells,
        "first_name": first_name or first_part,
        "last_name": last_name or last_part,
    }


def _split_name(name: str) -> tuple[str, str]:
    """Return the first and the last name of a whole name.

    `Last, First` is split at the comma. Otherwise the last name is the last word. A single word is
    a first name, and the last name is then "".
    """
    before_comma, comma, after_comma = (part.strip() for part in name.partition(","))
    if comma and after_comma and before_comma:
        return after_comma, before_comma
    first_words, blank, last_word = before_comma.rpartition(" ")
    return (first_words, last_word) if blank else (last_word, "")


def convert_text_cell(column: str, cell: Any) -> tuple[str | None, str]:
    """Return the text of a cell without blanks at its ends, and a note of what was changed, or "".

    A number becomes its text. The text is None if the cell is empty, a placeholder of its column,
    or neither text nor number.
    """
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return str(cell), "a number, stored as text"
    if cell is not None and not isinstance(cell, str):
        return None, "not text; left empty"

    text = (cell or "").strip()
    placeholders = NAME_PLACEHOLDERS if column in NAME_PARTS else PLACEHOLDERS
    if text.casefold() in placeholders:
        return None, f"placeholder {text!r} read as empty"
    return text or None, ""


def convert_rate_cell(cell: Any) -> tuple[float | None, str]:
    """Return the hourly rate of a cell, or None; and how it differs from the cell, or "".

    There is no rate if the cell is empty, has no single number (such as "50-60"), or a number that
    is not from 0 to MAX_RATE.
    """
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        rate = _limit_rate(cell)
        reason = f"not a number from 0 to {MAX_RATE:,}; stored without a rate"
        return rate, reason if rate is None else ""

    text, reason = convert_text_cell("hourly_rate", cell)
    if text is None:
        return None, reason
    rate, _ = parse_rate_and_currency(text)
    if rate is None:
        return None, "not a single number with an optional currency; stored without a rate"
    is_plain_number = text.replace(".", "").isdecimal()
    return rate, "" if is_plain_number else f"read as {format_rate(rate)}"


def parse_rate_and_currency(text: str) -> tuple[float | None, str | None]:
    """Return the hourly rate in a text, and the sign or code of its currency as it is written.

    The result is (None, None) if the text does not have a single number in a known form, or has two
    currencies. `1.234` alone has no known form, because its point may separate thousands or
    decimals.
    """
    rate_match = _RATE.fullmatch(text.strip())
    if rate_match is None:
        return None, None
    currency_before, digits, currency_after = rate_match.groups()
    number_match = _NUMBER.fullmatch(digits)
    if number_match is None or (currency_before and currency_after):
        return None, None

    decimals = next(filter(None, number_match.groups()), "")
    integer_digits = re.sub(r"\D", "", number_match[0].removesuffix(decimals))
    rate = _limit_rate(float(f"{integer_digits}.{decimals}"))
    return rate, currency_before or currency_after


def _limit_rate(number: float) -> float | None:
    """Return a number as a rate, or None if it is negative or above MAX_RATE."""
    return float(number) if 0 <= number <= MAX_RATE else None


def format_rate(rate: float) -> str:
    """Return a rate as decimal text that `parse_rate_and_currency` reads back as the same number.

    Three decimals get a fourth, because `1.234` may also be a thousand: `65.125` is `65.1250`.
    """
    text = format(Decimal(repr(rate)), "f").removesuffix(".0")
    return f"{text}0" if re.search(r"\.\d{3}$", text) else text


def find_currency_code(text: str) -> str:
    """Return the code of a currency that is given as code, sign or name; else the text."""
    name = " ".join(text.split()).casefold()
    if name in _CODES:
        return _CODES[name]
    return name.upper() if re.fullmatch("[a-z]{3}", name) else text


# ---- tags


def clean_tag(tag: str) -> str:
    """Return a tag in lower case, with single blanks and no mark-up or invisible characters.

    A tag of more than MAX_CLEANED_CHARS characters is too long to be valid, and is not cleaned.
    """
    text = " ".join(tag.lower().split())
    if len(text) > MAX_CLEANED_CHARS:
        return text

    # Removing mark-up may reveal more mark-up.
    while (cleaner_text := remove_markup(text).lower().strip(EMPHASIS_MARKS)) != text:
        text = cleaner_text
    return text


def find_tag_fault(tag: str) -> str:
    """Return why a clean tag is invalid, as a predicate, or "" if it is valid."""
    if not tag:
        return "is blank"
    if len(tag) > MAX_TAG_CHARS:
        return f"is longer than {MAX_TAG_CHARS} characters"
    if MARKUP_CHARACTER.search(tag):
        return "contains mark-up"
    if "://" in tag:
        return "contains ://, as in a web address"
    return ""


class Tags(BaseModel):
    """The answer: the domains that the text supports, none where it supports none."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tags: list[str] = Field(
        description="domains of knowledge that the text shows, lower case, most characteristic "
        "first; empty where it shows none",
        json_schema_extra={"minItems": 0, "maxItems": MAX_TAGS},
    )

    @field_validator("tags")
    @classmethod
    def _drop_invalid_tags_or_raise(cls, tags: list[str]) -> list[str]:
        """Return the clean tags in their order, without invalid tags and duplicates.

        An empty list is returned unchanged.

        Raises:
            ValueError: There were tags, and no tag is valid.
        """
        faults = {tag: find_tag_fault(tag) for tag in map(clean_tag, tags)}
        valid_tags = [tag for tag, fault in faults.items() if not fault]
        if tags and not valid_tags:
            first_fault = next(iter(faults.values()))
            raise ValueError(f"no tag is valid: the first tag {first_fault}")
        return valid_tags


def clean(answer: Tags, _row: Mapping[str, Any]) -> tuple[Tags, int]:
    """Return an answer with its first `MAX_TAGS` tags, and the number of dropped tags.

    The first tags are the most characteristic.

    Raises:
        NoAnswer: The answer has no tag.
    """
    if not answer.tags:
        raise NoAnswer("tag")
    cut_tags = answer.tags[MAX_TAGS:]
    return answer.model_copy(update={"tags": answer.tags[:MAX_TAGS]}), len(cut_tags)


# ---- values of a row


def compute_findability_score(row: Mapping[str, Any], answer: Mapping[str, Any] | None) -> float:
    """Return the findability score, 0 to 100 with one decimal.

    A bio earns points in proportion to its length without blanks at its ends: 40 points from 500
    characters on. Tags earn 25 points, a profile URL 15, a job title 10, and a positive hourly rate
    10.
    """
    bio_length = min(len(get_text(row, "bio")), FULL_BIO_CHARS)
    points = bio_length / FULL_BIO_CHARS * BIO_POINTS
    if answer:
        points += TAGS_POINTS
    if get_text(row, "profile_url"):
        points += PROFILE_URL_POINTS
    if get_text(row, "job_title"):
        points += JOB_TITLE_POINTS
    if read_number(row["hourly_rate"]) > 0:
        points += HOURLY_RATE_POINTS
    return round(points, 1)


def get_name(row: Mapping[str, Any], _answer: Mapping[str, Any] | None) -> str:
    """Return first and last name."""
    return f"{get_text(row, 'first_name')} {get_text(row, 'last_name')}".strip()


def make_index_text(row: Mapping[str, Any], answer: Mapping[str, Any] | None) -> str:
    """Return `First Last. Title at Company. bio Domains: tag1, tag2.`, without missing parts.

    If all are missing, returns the username.
    """
    name = get_name(row, answer)
    title = get_text(row, "job_title")
    company = get_text(row, "company")
    work = title
    if company:
        work = f"{title} at {company}" if title else f"Works at {company}"
    parts = [name and f"{name}.", work and f"{work}.", get_text(row, "bio")]
    if answer:
        parts.append(f"Domains: {', '.join(answer['tags'])}.")
    return " ".join(filter(None, parts)) or get_text(row, "username")


def read_number(cell: Any) -> float:
    """Return a cell as a number; 0 if it is none. Another program may have written a text."""
    try:
        return float(cell or 0)
    except ValueError:
        return 0.0


def get_text(row: Mapping[str, Any], column: str) -> str:
    """Return a cell as text without blanks at its ends; an empty cell is ""."""
    return str(row[column] or "").strip()


task = Task(
    name="experts",
    # The text of a version never changes: another wording needs another version.
    version=3,
    answer=Tags,
    items=DatabaseTable(
        "experts",
        columns=COLUMNS,
        file_key="username",
        headers={**HEADERS, "full_name": "Full name"},
        read=convert_person_cells,
        file_columns=["full_name"],
    ),
    requires=["bio"],
    label="{username}",
    prompt="{username}\n{job_title}\n{bio}",
    system=SYSTEM,
    clean=clean,
    write_to="experts.tags=tags",
    derive={"experts.findability_score": compute_findability_score, "name": get_name},
    index=make_index_text,
    question_words=[
        "expert",
        "experte",
        "experten",
        "expertin",
        "experto",
        "experts",
        "specialist",
        "specialists",
    ],
    # In the order in which other programs know them.
    metadata={
        "username": "username",
        "First Name": "first_name",
        "Last Name": "last_name",
        "Job Title": "job_title",
        "Company": "company",
        "Bio": "bio",
        "Hourly Rate": "hourly_rate",
        "Currency": "currency",
        "Profile URL": "profile_url",
        "Profile URL with UTM": "profile_url_utm",
        "tags": "tags",
        "findability_score": "findability_score",
        "category": "category",
    },
    gates={
        "answered": "off",
        "same": "off",
        "parked": "..0.5",
        "tags": "1..12",
        # Another such tag finds nobody else.
        "used-once": "..0.98",
        # A tag that most people have is useless in a search.
        "commonest": "..0.7",
        # If nearly all people have a single tag, the model stops too early.
        "at-minimum": "..0.75",
        # Of random tags, the text does not support 60 %.
        "unlike-text": "..0.15",
        "longest-tag": "..60",
    },
    list_columns=("username", "name", "job_title", "company", "tags", "findability_score"),
    words=("person", "people", "tagged", "no_bio"),
    # Eight tags need about sixty tokens; the rest is for thoughts.
    max_output_tokens=1024,
    # The mean of the local engine's answers.
    answer_tokens=11,
)
