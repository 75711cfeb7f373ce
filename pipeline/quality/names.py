"""Judge names for the quality report: what is none, what stands twice, or nearly so, in one answer."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rapidfuzz import fuzz

from pipeline.quality.figures import Figure
from pipeline.quality.measures import ListTally, Shown, share
from pipeline.quality.statistics import Choice

MAX_NAME = 60  # characters
MAX_WORDS = 8  # a noun phrase has fewer; "support vector machine with radial basis function" has seven
LIKE = 90.0  # percent of characters in common: a plural, a hyphen, a spelling
MOST_COMPARED = 100  # names of one answer; more are no answer of ours, and pairs grow with the square

COMPARED = 1_000  # answers in which near duplicates are looked for
EXAMPLES = 20  # of each kind
SEED = 7

_ENDS_AS_SENTENCE = re.compile(r"(?:[a-z]{3,}\.|[!?])$")
# a word between others that only a sentence has there; "is" and "can" at the ends may be names
_VERB = re.compile(
    r"\S\s(?:is|are|was|were|be|been|has|have|had|can|cannot|will|would|should|may|might|must|does|do|did)\s\S",
    re.IGNORECASE,
)
_BEGINS_AS_SENTENCE = re.compile(
    r"(?:we|they|you|it|there|this|these|those|our|their|however|therefore)\s\S+\s\S", re.IGNORECASE
)
_DIGITS = re.compile(r"\d+|\b[ivxIVX]+\b")


@dataclass
class NameTally(ListTally[Shown]):
    """What one pass over answers that are lists of names came to; `examples` say of names what is wrong."""

    garbage: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    compared: Choice[Sequence[str]] = field(default_factory=lambda: Choice(COMPARED, seed=SEED))

    def add(self, key: str, members: Sequence[str], shown: Shown) -> None:
        """Count and judge the names of one answer."""
        super().add(key, members, shown)
        self.repeated += count_repeated(members)
        for name in members:
            if wrong := why_no_name(name):
                self.garbage += 1
                if len(self.examples) < EXAMPLES:
                    self.examples.setdefault(name, wrong)
        self.compared.offer(key, members)

    def near(self) -> tuple[float | None, list[tuple[str, str]]]:
        """Return the share of names that are nearly like another of their answer, in a sample, and the first pairs."""
        pairs = [nearly_repeated_names(names) for names in self.compared]
        compared = sum(min(len(names), MOST_COMPARED) for names in self.compared)
        return share(sum(map(len, pairs)), compared), [pair for some in pairs for pair in some][:EXAMPLES]

    def figures(self, near: float | None, *, one: str) -> Iterator[Figure]:
        """Yield what share of the names is wrong, and how; `near` is that of names nearly like another."""
        whole, items = sum(length * times for length, times in self.lengths.items()), self.answers
        for name, value, told, answers in (
            ("garbage", share(self.garbage, whole), "names that are none: too long, no letters, a sentence", items),
            ("duplicates", share(self.repeated, whole), f"names that stand twice in one {one}, in any case", items),
            ("near-duplicates", near, f"names nearly like another of their {one}, in a sample", len(self.compared)),
        ):
            yield Figure(name, value, "share", told, answers)


def why_no_name(name: str) -> str:
    """Return what makes a text no name of a thing; an empty text where nothing does."""
    if len(name) > MAX_NAME:
        return "too long"
    if not any(map(str.isalpha, name)):
        return "no letters"
    is_sentence = (
        name.count(" ") >= MAX_WORDS - 1
        or _ENDS_AS_SENTENCE.search(name)
        or _VERB.search(name)
        or _BEGINS_AS_SENTENCE.match(name)
    )
    return "like a sentence" if is_sentence else ""


def count_repeated(names: Sequence[str]) -> int:
    """Return how many of some names repeat an earlier one, in any case."""
    return len(names) - len(set(map(_fold, names)))


def nearly_repeated_names(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (name, one before it that it is nearly) for each of some names that has one; equal ones count once.

    Names that differ in a number, Arabic or Roman, are different things: GPT-3 is not GPT-4.
    """
    found: list[tuple[str, str]] = []
    seen: dict[str, tuple[list[str], str]] = {}
    for name in names[:MOST_COMPARED]:
        folded = _fold(name)
        if folded in seen:
            continue
        numbers = _DIGITS.findall(folded)
        for other, (others, first) in seen.items():
            if others == numbers and fuzz.ratio(folded, other, score_cutoff=LIKE):
                found.append((name, first))
                break
        seen[folded] = numbers, name
    return found


def _fold(name: str) -> str:
    return " ".join(name.casefold().split())
