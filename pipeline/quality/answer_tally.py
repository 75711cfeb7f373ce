"""Count what stands in the answers of a task of any schema: values by the paths of their fields, at flat memory.

A list counts by its length, as `path-count`, and by its members under its own path; a quotation is one value. A field
is a choice where its values are among those that the schema lets it choose from, or where they are few.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pipeline.core.answer_paths import is_stored_quotation
from pipeline.quality.statistics import Choice, divergence

MOST_VALUES = 12  # different values of a field that has bars; one with more that its schema does not list is no choice
COMPARED = 200  # answers whose texts are compared with each other
FEWEST_WORDS = 5  # of texts that are; shorter ones are alike by chance
ALIKE = 0.9  # share of words, of all in either, that nearly equal texts have in common
SEED = 7


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value in an answer with the path of its field; quotations whole, and a list as its length, too."""
    if isinstance(value, list):
        yield f"{path}-count", len(value)
        for one in value:
            yield from leaves(one, path)
    elif isinstance(value, dict) and not is_stored_quotation(value):
        for name, one in value.items():
            yield from leaves(one, f"{path}.{name}" if path else name)
    else:
        yield path, value


def texts_in(value: Any) -> Iterator[tuple[str, str]]:
    """Yield each text in an answer with the path of its field; of a quotation what it quotes."""
    for path, one in leaves(value):
        text = one["quote"] if is_stored_quotation(one) else one
        if isinstance(text, str):
            yield path, text


@dataclass
class Tally:
    """What one pass over some answers came to, by the paths of fields; `whole` are the answers by their hash.

    `listed` are the texts that fields of the schema choose among. `leaks` are texts of examples, by item id.
    """

    listed: frozenset[str] = frozenset()
    answers: int = 0
    values: dict[str, Counter[str]] = field(default_factory=dict)
    numbers: dict[str, Counter[float]] = field(default_factory=dict)  # rounded to one digit
    sums: Counter[str] = field(default_factory=Counter)
    quoted: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)  # nothing stands where another answer may quote
    whole: Counter[int] = field(default_factory=Counter)
    leaks: dict[str, list[str]] = field(default_factory=dict)
    compared: Choice[Any] = field(default_factory=lambda: Choice(COMPARED, seed=SEED))

    def add(self, item_id: str, answer: Any) -> None:
        """Count one answer, a JSON document."""
        self.answers += 1
        self.whole[hash(json.dumps(answer, sort_keys=True))] += 1
        self.compared.offer(item_id, answer)
        for path, value in leaves(answer):
            self._count(path, value)

    def _count(self, path: str, value: Any) -> None:
        if isinstance(value, dict):
            self.quoted[path] += 1
            return
        self.missing[path] += value is None
        if _is_number(value):
            self.numbers.setdefault(path, Counter())[float(f"{value:.1g}")] += 1
            self.sums[path] += value
        seen = self.values.setdefault(path, Counter())
        told = value if isinstance(value, str) else json.dumps(value)
        if len(seen) <= MOST_VALUES or told in seen or told in self.listed:
            seen[told] += 1

    def is_choice(self, path: str) -> bool:
        """Return whether a field's values are few, or listed in its schema."""
        seen = self.values.get(path, Counter())
        return len(seen) <= MOST_VALUES or seen.keys() <= self.listed | {"null"}

    def choices(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Yield (path, how often each value) of the fields that are choices or numbers."""
        for path, seen in self.values.items():
            if self.is_choice(path):
                found: Mapping[str, int] = dict(sorted(seen.items(), key=lambda pair: (-pair[1], pair[0])))
            else:
                found = {f"{number:g}": times for number, times in sorted(self.numbers.get(path, Counter()).items())}
            if found and path not in self.quoted:
                yield path, found

    def evidence(self) -> tuple[int, int]:
        """Return (quotations, places where one may stand)."""
        found = self.quoted.total()
        return found, found + sum(self.missing[path] for path in self.quoted)

    def divergences(self, other: "Tally") -> Iterator[tuple[str, float]]:
        """Yield (path, bits) for each choice and number that both have: how differently its values are distributed."""
        others = dict(other.choices())
        for path, mine in self.choices():
            found = divergence(mine, others[path]) if path in others else None
            if found is not None:
                yield path, found

    def near(self, most: int = COMPARED) -> tuple[int, int]:
        """Return (answers whose texts are nearly those of another one, answers that were compared), of a sample."""
        told = [self._words(one) for one in islice(self.compared, most)]
        kept = [words for words in told if len(words) >= FEWEST_WORDS]
        alike = sum(
            any(place != index and _is_alike(words, other) for index, other in enumerate(kept))
            for place, words in enumerate(kept)
        )
        return alike, len(kept)

    def _words(self, answer: Any) -> frozenset[str]:
        """Return the words of an answer's texts, but for those of fields that are choices."""
        free = (text for path, text in texts_in(answer) if not self.is_choice(path))
        return frozenset(word for text in free for word in re.findall(r"\w+", text.casefold()))


def _is_alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= ALIKE * len(one | other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
