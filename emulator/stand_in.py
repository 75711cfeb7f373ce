"""Answer any schema from a text: the nearest choices, real quotations, key phrases, numbers and dates that stand there.

No model and no reasoning: an answer is of the right form, comes out of the text, and is the same for the same question.
What the text does not say is null where that is allowed, and the least that is allowed elsewhere. Of images it tells
what is measured of them; what only an eye can tell is an empty list.
"""

import datetime as dt
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emulator.dialect import Ask, words_of
from emulator.models.choices import is_denied, judgement, likeness, ranked
from emulator.models.figures import dates_of, numbers_of
from emulator.models.looks import Look, told
from emulator.reading import IMAGE, Reading, with_images

FEW = 3
"""Entries of a list at most where the schema does not say."""
PHRASE = 60
"""Characters of a text that is no sentence; the dialect has no lengths to say what an answer is held against."""
SENTENCES = 440
"""Characters of a text that tells something in sentences."""
QUOTED = re.compile(
    r"\b(?:quot(?:e|es|ed|ation|ations)|evidence|excerpts?|verbatim|snippets?|citations?|proof|copy|copied"
    r"|word for word)\b",
    re.IGNORECASE,
)
"""What a name or a description says that asks for words of the text itself."""
_DATED = re.compile(r"\b(?:dates?|dated|deadline|birthday)\b|\bYYYY|\bISO[ -]?8601", re.IGNORECASE)
_WHEN = re.compile(r"^when\b|ed at$", re.IGNORECASE)
"""How the name of a date may read without that word."""
_TOLD = re.compile(
    r"\b(?:summary|reason|reasoning|explanation|rationale|justification|description|comment|note|gist|abstract|overview"
    r"|sentence|answer|advice)\b",
    re.IGNORECASE,
)
_MEASURED = tuple(
    (re.compile(rf"\b(?:{names})\b", re.IGNORECASE), tell)
    for names, tell in (
        ("colou?rs?|palettes?|hues?", lambda seen: seen.colours),
        ("text|lettering|ocr|writing|legible", lambda _: ()),
        ("styles?|techniques?", lambda seen: (seen.style,)),
        ("moods?|atmospheres?|tones?", lambda seen: (seen.mood, seen.brightness)),
        ("settings?|scenes?|backgrounds?|surroundings", lambda seen: (f"{seen.busyness} image",)),
        ("orientations?|aspects?|formats?|layouts?", lambda seen: (seen.orientation,)),
        ("subjects?", lambda seen: (f"{seen.orientation} image",)),
        ("objects?|things?|people|persons?|animals?|brands?|logos?", lambda _: ()),
    )
)
"""What the name of a field asks of an image, and the words for it."""
_FORMS = re.compile(r"date(?:-time)?")
_ASKING = re.compile(r"\b(?:is|are|was|has|have|had|does|do|did|mentions?|contains?|whether|the|any|if|true|says?)\b")
_NO_DATE = dt.date(1970, 1, 1)
_DATE_LENGTH = 10
_NEAR_NAME = 0.5
"""The likeness from which the words around a number are those of its name."""
_SAID = 0.55
"""The likeness from which a text says what a yes or no asks for."""
_HINTED_AT = 0.3
_RELATED = 0.35
"""The likeness from which a phrase is what a name asks for."""
_NEAR_BEST = 0.8
"""The share of the best choice's score that another one of a list reaches."""
_FIRST_PHRASES = 12
_MOST_NUMBERS = 50
_EXACT = 2**53
"""Beyond, readers of JSON lose digits."""


def answer(ask: Ask, said: str, looks: Sequence[Look | None] = ()) -> object:
    """Return the JSON document that answers what is asked about what is said, and about the images beside it."""
    shown = with_images(said, [told(one) for one in looks]) if looks else said
    return _Answer(Reading(shown), looks).value(ask)


def is_tag(name: str, *schemas: Mapping[str, Any]) -> bool:
    """Return whether the strings of a list are words about the text, rather than quotations of it or dates in it."""
    about = " ".join([words_of(name), *(str(schema.get("description", "")) for schema in schemas)])
    is_form = any(schema.get("format") for schema in schemas)
    return not (is_form or QUOTED.search(about) or _DATED.search(words_of(name)))


class _Answer:
    """One answer on its way, and what it has said already."""

    def __init__(self, reading: Reading, looks: Sequence[Look | None]) -> None:
        self._reading = reading
        self._looks = [one for one in looks if one is not None]
        self._used: set[str] = set()
        self._is_told = False
        """Whether a text of the answer tells of the other sections."""

    def value(self, ask: Ask, part: str | None = None, turn: int = 0) -> Any:
        """Return the value for one ask, about a part of the text where one is given; each `turn` another one."""
        text = self._reading.text if part is None else part
        if ask.nullable and self._reading.is_blank:
            return None
        if ask.options:
            return self._option(ask, text, turn)
        if ask.kind == "OBJECT":
            return {name: self.value(member, text, turn) for name, member in ask.members}
        if ask.kind == "ARRAY":
            return self._list(ask, text, turn)
        found = list(itertools.islice(self._found(ask, text), turn + 1))
        if turn < len(found) or (found and _is_quote(ask)):
            return self._noted(found[turn % len(found)])
        return None if ask.nullable and turn == 0 else _least(ask, turn - len(found))

    def _is_whole(self, text: str) -> bool:
        """Return whether a text is all of the running one, and no part."""
        return text == self._reading.text

    def _noted(self, value: Any) -> Any:
        """Return a value, its text remembered."""
        if isinstance(value, str):
            self._used.add(value)
        return value

    def _option(self, ask: Ask, text: str, turn: int) -> Any:
        """Return the first of the options that the text supports, the first of all where it supports none.

        Beside a number a text is that number in words of its own: so a decimal number is asked for.
        """
        is_decimal = any(option.kind == "NUMBER" for option in ask.options)
        for option in (one for one in ask.options if not (is_decimal and one.kind == "STRING")):
            found = self.value(replace(option, nullable=True), text, turn)
            if found is not None:
                return found
        return None if ask.nullable else self.value(ask.options[0], text, turn)

    def _list(self, ask: Ask, text: str, turn: int) -> list[Any]:
        """Return as many different entries as the text supports, within the bounds; the fewest whatever it says."""
        items = ask.items or ask
        most = max(FEW, ask.at_least) if ask.at_most is None else ask.at_most
        entries: list[Any] = []
        if not self._reading.is_blank:
            _fill(entries, itertools.islice(self._entries(items, text, most), turn, None), most)
        turns = range(turn, turn + 2 * ask.at_least + FEW) if len(entries) < ask.at_least else ()
        _fill(entries, (self.value(items, text, each) for each in turns), ask.at_least)
        while len(entries) < ask.at_least:  # the schema has no more different values
            entries.append(self.value(items, text, turn))
        return entries

    def _entries(self, items: Ask, text: str, most: int) -> Iterator[Any]:
        """Yield what a list of such items can hold, the surest first, or for parts of the text in its order."""
        if items.options or items.kind in ("OBJECT", "ARRAY"):
            for clause in self._parts(text, most):
                yield self.value(items, clause)
        else:
            yield from map(self._noted, self._found(items, text, most=most))

    def _parts(self, text: str, most: int) -> list[str]:
        """Return the clauses to look at one by one, in order: the most telling and some drawn."""
        if not self._is_whole(text):
            return [text]
        clauses, telling = self._reading.clauses, self._reading.telling
        if most < len(clauses):
            chosen = self._some(telling, most)
            return [clause for clause in clauses if clause in chosen]
        return clauses or [text]

    def _some(self, found: list[str], most: int) -> list[str]:
        """Return as many of what was found: half of them the surest, the others drawn."""
        sure = found[: most // 2]
        return found if len(found) <= most else sure + self._reading.drawn(found[len(sure) :], most - len(sure))

    def _found(self, ask: Ask, text: str, *, most: int = 0) -> Iterator[Any]:
        """Yield the values that the text has for one ask of no members, the surest first.

        For a list of at most so many, where `most` is not 0.
        """
        if self._reading.is_blank:
            return
        if ask.choices:
            yield from self._chosen(ask, text, most=most)
        elif ask.kind in ("INTEGER", "NUMBER"):
            yield from self._numbers(ask, text, most=most)
        elif ask.kind == "BOOLEAN":
            yield from self._truth(ask, text)
        elif _is_date(ask):
            for date in dates_of(text) or dates_of(self._reading.every()):
                yield _date_text(ask, date)
        elif _is_quote(ask):
            yield from self._quotes(ask, text, most=most)
        elif (measured := self._measured(ask)) is not None and (measured or most):
            yield from measured
        else:
            yield from self._texts(ask, text, most=most)

    def _chosen(self, ask: Ask, text: str, *, most: int) -> Iterator[Any]:
        """Yield the choices, the nearest first; for a list those near the best."""
        said = self._reading.every() if self._is_whole(text) else text
        order = ranked(said, [str(choice) for choice in ask.choices], about=ask.said)
        for place, score in order:
            if not most or score >= _NEAR_BEST * order[0][1]:
                yield ask.choices[place]

    def _numbers(self, ask: Ask, text: str, *, most: int) -> Iterator[float]:
        """Yield the numbers within the bounds, those first whose words are near to the name; all for a list."""
        told = self._reading.every() if self._is_whole(text) else text
        fitting = [number for number in numbers_of(told) if _fits(ask, number.value)][:_MOST_NUMBERS]
        near = [likeness(ask.name, number.around) >= _NEAR_NAME for number in fitting]
        is_any = most > 0 or not ask.nullable
        chosen = [number for number, is_near in zip(fitting, near, strict=True) if is_near]
        chosen += [number for number, is_near in zip(fitting, near, strict=True) if is_any and not is_near]
        for value in dict.fromkeys(number.value for number in chosen):
            yield int(value) if value.is_integer() else value

    def _truth(self, ask: Ask, text: str) -> Iterator[bool]:
        """Yield whether the text says what is asked; nothing where that may be left open, and is."""
        wanted = _ASKING.sub(" ", ask.name) if _ASKING.sub(" ", ask.name).strip() else ask.said
        felt = judgement(wanted, text)
        if felt is not None:
            yield felt
            return
        said = max((likeness(wanted, clause) for clause in self._clauses_of(text)), default=0.0)
        if said >= _SAID:
            yield not is_denied(wanted.split()[-1], text)
        elif not ask.nullable or said >= _HINTED_AT:
            yield False

    def _clauses_of(self, text: str) -> list[str]:
        return self._reading.clauses[:_MOST_NUMBERS] if self._is_whole(text) else [text]

    def _quotes(self, ask: Ask, text: str, *, most: int) -> Iterator[str]:
        """Yield slices of the text: the clauses, those not quoted yet first."""
        clauses = self._reading.telling if self._is_whole(text) else [text]
        clauses = sorted(clauses, key=lambda one: one in self._used)
        for clause in self._some(clauses, most) if most else clauses:
            start = self._reading.text.find(clause)
            long_enough = self._reading.text[start : start + max(len(clause), ask.at_least)]
            yield _fitted(ask, long_enough)

    def _texts(self, ask: Ask, text: str, *, most: int) -> Iterator[str]:
        """Yield key phrases, or clauses where a sentence is asked for; the first text of an answer tells of the row."""
        column = ask.name.replace(" ", "_")
        yield from (
            _fitted(ask, one.text.strip()[:PHRASE]) for one in self._reading.others if one.name.lower() == column
        )
        is_whole = self._is_whole(text)
        is_told = _TOLD.search(ask.name) is not None and not most
        found = self._phrases(ask, text)
        if is_told:
            found = self._reading.telling if is_whole else [text.strip()]
        ordered = sorted(found, key=lambda one: one in self._used)
        for one in self._some(ordered, most) if most and is_whole else ordered:
            is_first, self._is_told = not self._is_told, True
            among = ordered if is_whole and not most else []
            yield _fitted(ask, self._telling(one, among, most=SENTENCES if is_told else PHRASE) if is_first else one)

    def _measured(self, ask: Ask) -> list[str] | None:
        """Return what is measured of the images for one ask; None where it asks for something else.

        Beside a text, what only an eye can tell is looked for in that.
        """
        if not self._looks:
            return None
        if _TOLD.search(ask.name):
            return [" ".join(map(told, self._looks))[:SENTENCES]]
        tell = next((tell for names, tell in _MEASURED if names.search(ask.name)), None)
        found = [] if tell is None else [word for one in self._looks for word in tell(one)]
        is_alone = self._reading.running.name == IMAGE
        return (
            None if tell is None or not (found or is_alone) else [_fitted(ask, word) for word in dict.fromkeys(found)]
        )

    def _phrases(self, ask: Ask, text: str) -> list[str]:
        """Return the key phrases of a text, those first that the name asks for; its words where it has none."""
        phrases = self._reading.phrases_in(text)
        words = [text.strip()[:PHRASE]] if text.strip() else [one.text.strip()[:PHRASE] for one in self._reading.others]
        near = {phrase: likeness(ask.name, phrase) for phrase in phrases[:_FIRST_PHRASES]}
        related = sorted((one for one in near if near[one] >= _RELATED), key=lambda one: -near[one])
        return list(dict.fromkeys([*related, *phrases])) or words

    def _telling(self, text: str, among: list[str], *, most: int) -> str:
        """Return a text with what tells its row from others: one drawn among those like it, and the other values."""
        others = ", ".join(" ".join(one.text.split()) for one in self._reading.others)
        glue = " " if most == SENTENCES else ", "
        for drawn in self._reading.drawn([one for one in among if one not in text], 1):
            if len(text) + len(glue) + len(drawn) <= most:
                text = f"{text}{glue}{drawn}"
        if not others:
            return text
        text = text[: max(most // 2, most - len(others) - 3)].rstrip()
        return f"{text} ({others[: most - len(text) - 3].rstrip()})"


def _fill(entries: list[Any], values: Iterable[Any], most: int) -> None:
    """Add the values that are not there yet and say anything, until there are enough."""
    for value in values if len(entries) < most else ():
        if value is not None and value not in entries:
            entries.append(value)
        if len(entries) >= most:
            return


def _is_date(ask: Ask) -> bool:
    """Return whether a text must be a date: by its form, its name or its description."""
    if ask.kind != "STRING" or _FORMS.fullmatch(ask.form):
        return ask.kind == "STRING"
    has_room = ask.at_least <= _DATE_LENGTH and (ask.at_most is None or ask.at_most >= _DATE_LENGTH)
    return has_room and bool(_DATED.search(ask.said) or _WHEN.search(ask.name))


def _is_quote(ask: Ask) -> bool:
    """Return whether a text must be a slice of the one that is read."""
    return ask.kind == "STRING" and not ask.choices and not _is_date(ask) and QUOTED.search(ask.said) is not None


def _date_text(ask: Ask, date: dt.date) -> str:
    """Return a date as the form has it."""
    return f"{date.isoformat()}T00:00:00Z" if ask.form == "date-time" else date.isoformat()


def _fits(ask: Ask, value: float) -> bool:
    """Return whether a number may be the answer."""
    low, high = ask.lowest, ask.highest
    is_within = (low is None or value >= low) and (high is None or value <= high)
    return is_within and abs(value) < _EXACT and (ask.kind == "NUMBER" or value.is_integer())


def _fitted(ask: Ask, text: str) -> str:
    """Return a text within the lengths of the schema, cut, or followed by dots."""
    return text[: ask.at_most].ljust(ask.at_least, ".")


def _least(ask: Ask, turn: int) -> Any:
    """Return the least value that is allowed, each `turn` the next one as far as there are such."""
    if ask.choices:
        return ask.choices[turn % len(ask.choices)]
    if ask.kind == "BOOLEAN":
        return turn % 2 == 1
    if ask.kind in ("INTEGER", "NUMBER"):
        return _least_number(ask, turn)
    if _is_date(ask):
        return _date_text(ask, _NO_DATE + dt.timedelta(days=turn))
    return _fitted(ask, str(turn) if turn and not _is_quote(ask) else "")


def _least_number(ask: Ask, turn: int) -> float:
    """Return the lowest number, 0 where there is no lowest and that is allowed, or one `turn` above it."""
    least = ask.lowest if ask.lowest is not None else min(0, ask.highest if ask.highest is not None else 0)
    near = math.ceil(least * 100) / 100 if abs(least) < _EXACT / 100 else least  # 0.01 reads better than the next to 0
    least = near if ask.highest is None or near <= ask.highest else least
    value = least + turn
    if ask.highest is not None and value > ask.highest:
        share = math.modf(turn / 64)[0]  # between two bounds that are close, parts of the way
        value = least if ask.kind == "INTEGER" else least + (ask.highest - least) * share
    return int(value) if float(value).is_integer() and abs(value) < _EXACT else value
