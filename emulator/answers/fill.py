"""Answer any schema from a text: the nearest choices, real quotations, key phrases, numbers and dates that stand there.

No model and no reasoning: an answer is of the right form, comes out of the text, and is the same for the same question.
What the text does not say is null where that is allowed, and the least that is allowed elsewhere. Of images it tells
what is measured of them; what only an eye can tell is an empty list.
"""

import datetime as dt
import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emulator.answers import encoder
from emulator.answers.concepts import concepts
from emulator.answers.text import sections, sentences
from emulator.media import ImageFeatures, told
from emulator.schema import SchemaNode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEW = 3
"""Entries of a list at most where the schema does not say."""
_PHRASE = 60
_SENTENCES = 440
"""Characters of a text that is no sentence, and of one that tells something in sentences."""
_LOOKED_AT = 20_000
_LOOKED_INTO = 50
"""Characters that are read of a section, and sentences or numbers that are compared."""
_PHRASES = 24
_SAID = 0.55
_NEAR_NAME = 0.5
_NEAR_BEST = 0.9
"""The likeness from which a text says what is asked, a number is of a name, and another choice is near the best."""
_EXACT = 2**53
"""Beyond, readers of JSON lose digits."""
_NO_DATE = dt.date(1970, 1, 1)
_QUOTED = re.compile(
    r"\b(?:quot(?:e|es|ed|ations?)|evidence|excerpts?|verbatim|snippets?|citations?|proof|cop(?:y|ied)"
    r"|word for word)\b",
    re.IGNORECASE,
)
"""What a name or a description says that asks for words of the text itself."""
_DATED = re.compile(
    r"\b(?:dates?|dated|deadline|birthday|when)\b|\bYYYY|\bISO[ -]?8601|ed at$", re.IGNORECASE
)
_TOLD = re.compile(
    r"\b(?:summary|reason(?:ing)?|explanation|rationale|justification|description|comment|note|gist|abstract|overview"
    r"|sentence|answer|advice)\b",
    re.IGNORECASE,
)
"""What the name of a text says that is told in sentences."""
_COLOURS = re.compile(r"\b(?:colou?rs?|palettes?|hues?|tags?|keywords?)\b", re.IGNORECASE)
_SEEN = "image"
_ASKING = re.compile(
    r"\b(?:is|are|was|has|have|had|does|do|did|mentions?|contains?|whether|the|any|if|true|says?)\b"
)
_DENIED = re.compile(
    r"\b(?:no|not|never|nothing|nobody|none|without|hardly|cannot)\b|n['\u2019]t\b", re.IGNORECASE
)
_MONEY = re.compile(r"[$\u20ac\u00a3]|\b(?:euros?|dollars?|pounds?|usd|eur|gbp)\b", re.IGNORECASE)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DATE = re.compile(
    r"(?<!\d)(?P<y1>\d{4})[-/.](?P<m1>\d{1,2})[-/.](?P<d1>\d{1,2})(?!\d)"
    rf"|(?:(?<!\d)(?P<d2>\d{{1,2}})(?:st|nd|rd|th)? )?\b(?P<m2>{'|'.join(_MONTHS)})[a-z]{{0,6}}\.?"
    r"(?: (?P<d3>\d{1,2}),?)? (?P<y2>[12]\d{3})(?!\d)",
    re.IGNORECASE,
)
_WORDS = [
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
]
_NUMBER = re.compile(
    r"(?<![\w.,-])-?(?:\d{1,3}(?:[,\u00a0\u202f]\d{3})+|\d{1,15})(?:\.\d{1,15})?(?![\w]*[-/]?\d)"
    rf"|\b(?:{'|'.join(_WORDS[2:])})\b",
    re.IGNORECASE,
)
_AROUND = 24
"""Characters before and behind a number that say what it counts."""


def answer(ask: SchemaNode, said: str, looks: Sequence[ImageFeatures | None] = ()) -> object:
    """Return the JSON document that answers what is asked about what is said, and about the images beside it."""
    return _Fill(said, looks).value(ask)


def is_tag(ask: SchemaNode) -> bool:
    """Return whether the items of a list are words about the text: no choices, quotations or dates."""
    is_text = ask.kind == "STRING" and not ask.choices and not ask.form
    return is_text and not (_QUOTED.search(ask.said) or _DATED.search(ask.name))


class _Fill:
    def __init__(self, said: str, looks: Sequence[ImageFeatures | None]) -> None:
        shown = sections(said) or ([] if looks else [("", said)])
        self._told = " ".join(map(told, looks))
        self._colours = [word for one in looks if one for word in one.colours]
        written = [(name, text[:_LOOKED_AT]) for name, text in shown if text.strip()] or [
            (_SEEN, self._told)
        ]
        name, self.text = max(written, key=lambda one: (one[0] == "text", len(one[1])))
        self._is_seen = name == _SEEN
        self._others = [one for one in written if one != (name, self.text)]
        self._used: set[str] = set()

    @functools.cached_property
    def _sentences(self) -> list[str]:
        return list(dict.fromkeys(self.text[start:end] for start, end in sentences(self.text)))

    @functools.cached_property
    def _phrases(self) -> list[str]:
        return [concept["name"] for concept in concepts(self.text, at_most=_PHRASES)]

    @functools.cached_property
    def _telling(self) -> list[str]:
        lower = [phrase.lower() for phrase in self._phrases]

        def weight(sentence: str) -> float:
            return sum(
                1 / (2 + rank) for rank, phrase in enumerate(lower) if phrase in sentence.lower()
            )

        return sorted(self._sentences, key=weight, reverse=True)

    def value(self, ask: SchemaNode, part: str = "") -> Any:
        if ask.nullable and not self.text.strip():
            return None
        if ask.options:
            return self._option(ask, part)
        if ask.kind == "OBJECT":
            return {name: self.value(member, part) for name, member in ask.members}
        if ask.kind == "ARRAY":
            return self._list(ask, part)
        found = self._found(ask, part) if self.text.strip() else []
        self._used.update(str(one) for one in found[:1])
        return found[0] if found else None if ask.nullable else _least(ask)

    def _option(self, ask: SchemaNode, part: str) -> Any:
        """Return the first of the options that the text supports, else the first; beside a number a text is words."""
        is_decimal = any(option.kind == "NUMBER" for option in ask.options)
        for option in (one for one in ask.options if not (is_decimal and one.kind == "STRING")):
            found = self.value(replace(option, nullable=True), part)
            if found is not None:
                return found
        return None if ask.nullable else self.value(ask.options[0], part)

    def _list(self, ask: SchemaNode, part: str) -> list[Any]:
        """Return as many different entries as the text supports, within the bounds; the fewest whatever it says."""
        items = ask.items or ask
        most = max(FEW, ask.at_least) if ask.at_most is None else ask.at_most
        entries: list[Any] = []
        for value in self._entries(items, part, most) if self.text.strip() else ():
            if len(entries) < most and value is not None and value not in entries:
                entries.append(value)
                self._used.add(str(value))
        others = [choice for choice in items.choices if choice not in entries]
        while len(entries) < ask.at_least:  # the text has no more different values
            entries.append(others.pop(0) if others else self.value(items, part))
        return entries

    def _entries(self, items: SchemaNode, part: str, most: int) -> Iterator[Any]:
        if items.options or items.kind in ("OBJECT", "ARRAY"):
            chosen = set(self._telling[:most])
            for sentence in [part] if part else [one for one in self._sentences if one in chosen]:
                yield self.value(items, sentence)
        elif items.kind == "STRING" and self._is_seen and not items.choices:
            yield from (
                _fitted(items, word) for word in self._colours if _COLOURS.search(items.said)
            )
        else:
            yield from self._found(items, part, is_list=True)

    def _found(self, ask: SchemaNode, part: str, *, is_list: bool = False) -> list[Any]:
        every = part or "\n".join(text for _, text in [("", self.text), *self._others])
        if ask.choices:
            return _chosen(ask, every, is_list=is_list)
        if ask.kind in ("INTEGER", "NUMBER"):
            return _numbers(ask, every, is_any=is_list or not ask.nullable)
        if ask.kind == "BOOLEAN":
            return _truth(ask, [part] if part else self._sentences[:_LOOKED_INTO])
        if _is_date(ask):
            return [_date_text(ask, date) for date in _dates(part) or _dates(every)]
        if _is_quote(ask):
            places = [
                (self.text.find(one), len(one))
                for one in self._unused([part] if part else self._telling)
            ]
            return [
                _fitted(ask, self.text[start : start + max(size, ask.at_least)])
                for start, size in places
            ]
        return self._texts(ask, part, is_list=is_list)

    def _unused(self, found: Sequence[str]) -> list[str]:
        return sorted(found, key=lambda one: one in self._used)

    def _texts(self, ask: SchemaNode, part: str, *, is_list: bool) -> list[str]:
        """Return the column of that name, sentences where these are asked for, else key phrases."""
        column = [text for name, text in self._others if name.lower() == ask.name.replace(" ", "_")]
        if _TOLD.search(ask.name) and not is_list:
            found = [self._told] if self._told else [part] if part else self._telling
            most = _SENTENCES
        else:
            own = (
                [phrase for phrase in self._phrases if phrase.lower() in part.lower()]
                if part
                else self._phrases
            )
            found = own or [part or self.text]
            most = _PHRASE
        return [_fitted(ask, one.strip()[:most]) for one in column + self._unused(found)]


def _chosen(ask: SchemaNode, text: str, *, is_list: bool) -> list[Any]:
    """Return the choices, nearest in meaning first, as a description tells them ("billing: invoices; delivery: …")."""
    near = []
    for choice in ask.choices:
        meant = re.search(rf"(?<!\w){re.escape(str(choice))}: ([^;.]{{3,200}})", ask.about)
        words = [str(choice).replace("_", " "), meant[1] if meant else ""]
        near.append(max(likeness(one, text[:_LOOKED_AT]) for one in words))
    order = sorted(range(len(near)), key=lambda place: (-near[place], place))
    return [
        ask.choices[place]
        for place in order
        if not is_list or near[place] >= _NEAR_BEST * near[order[0]]
    ]


def _numbers(ask: SchemaNode, text: str, *, is_any: bool) -> list[float]:
    """Return the numbers within the bounds, those first whose words are near to the name; others only if `is_any`."""
    rest = _DATE.sub(lambda found: " " * len(found[0]), text)
    near: list[float] = []
    far: list[float] = []
    for found in list(_NUMBER.finditer(rest))[:_LOOKED_INTO]:
        word = found[0].lower()
        value = float(
            _WORDS.index(word) if word in _WORDS else re.sub(r"[,\u00a0\u202f]", "", word)
        )
        around = f"{rest[max(0, found.start() - _AROUND) : found.start()]} {rest[found.end() : found.end() + _AROUND]}"
        is_near = likeness(ask.name, _MONEY.sub(" price amount cost ", around)) >= _NEAR_NAME
        if _fits(ask, value):
            (near if is_near else far).append(int(value) if value.is_integer() else value)
    return list(dict.fromkeys(near + far * is_any))


def _truth(ask: SchemaNode, said: Sequence[str]) -> list[bool]:
    """Return whether one of some sentences says what is asked; nothing where that may be left open, and is."""
    wanted = _ASKING.sub(" ", ask.name).strip() or ask.said
    best = max(said, key=lambda sentence: likeness(wanted, sentence), default="")
    is_said = likeness(wanted, best) >= _SAID
    return [_DENIED.search(best) is None] if is_said else [] if ask.nullable else [False]


@functools.lru_cache(maxsize=1 << 12)
def likeness(words: str, text: str) -> float:
    """Return how near a text comes to saying each of some words, about 0 to 1; 0 where either has none."""
    wanted = _meanings(words)
    found = _meanings(text)
    return 0.0 if wanted is None or found is None else float((wanted @ found.T).max(axis=1).mean())


def _meanings(text: str) -> "NDArray[np.float32] | None":
    import numpy as np

    words = encoder.words_of(text)
    return np.stack([encoder.meaning_of(word) for word in words]) if words else None


def _dates(text: str) -> list[dt.date]:
    found: dict[dt.date, None] = {}
    for match in _DATE.finditer(text):
        month = match["m1"] or match["m2"]
        day = match["d1"] or match["d2"] or match["d3"]
        number = int(month) if month.isdecimal() else _MONTHS.index(month.lower()) + 1
        try:
            found[dt.date(int(match["y1"] or match["y2"]), number, int(day or 0))] = None
        except ValueError:  # no calendar has it
            continue
    return list(found)


def _is_date(ask: SchemaNode) -> bool:
    if ask.kind != "STRING" or ask.form in ("date", "date-time"):
        return ask.kind == "STRING"
    length = len(str(_NO_DATE))
    has_room = ask.at_least <= length <= (length if ask.at_most is None else ask.at_most)
    return has_room and (_DATED.search(ask.said) or _DATED.search(ask.name)) is not None


def _is_quote(ask: SchemaNode) -> bool:
    return (
        ask.kind == "STRING"
        and not ask.choices
        and not _is_date(ask)
        and _QUOTED.search(ask.said) is not None
    )


def _date_text(ask: SchemaNode, date: dt.date) -> str:
    return f"{date.isoformat()}T00:00:00Z" if ask.form == "date-time" else date.isoformat()


def _fits(ask: SchemaNode, value: float) -> bool:
    low = ask.lowest
    high = ask.highest
    is_within = (low is None or value >= low) and (high is None or value <= high)
    return is_within and abs(value) < _EXACT and (ask.kind == "NUMBER" or value.is_integer())


def _fitted(ask: SchemaNode, text: str) -> str:
    """Return a text within the lengths of the schema, cut, or followed by dots."""
    return text[: ask.at_most].ljust(ask.at_least, ".")


def _least(ask: SchemaNode) -> Any:
    if ask.choices or ask.kind == "BOOLEAN":
        return ask.choices[0] if ask.choices else False
    if ask.kind in ("INTEGER", "NUMBER"):
        least = (
            ask.lowest
            if ask.lowest is not None
            else min(0, ask.highest if ask.highest is not None else 0)
        )
        near = (
            math.ceil(least * 100) / 100 if abs(least) < _EXACT / 100 else least
        )  # 0.01 reads better than next to 0
        least = near if ask.highest is None or near <= ask.highest else least
        return int(least) if float(least).is_integer() and abs(least) < _EXACT else least
    return _date_text(ask, _NO_DATE) if _is_date(ask) else _fitted(ask, "")
