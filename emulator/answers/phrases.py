"""Find the key phrases of a text: runs of up to three words between common words.

Phrases and sentences are slices of the text, and equal texts give equal phrases.
"""

import bisect
import functools
import re
from importlib.resources import files
from typing import NamedTuple

from emulator.answers.text import CJK, blank_markup, find_sentence_spans

_MAX_PHRASE_CHARS = 60
_LETTERS = rf"[^\W_{CJK}]{{1,40}}"
_WORD = rf"(?:[{CJK}]{{1,12}}|(?!\d){_LETTERS}(?:[-'\u2019]{_LETTERS}){{0,3}}[+#]?)"
_PHRASE = re.compile(rf"{_WORD}(?:\s{_WORD}){{0,2}}")
# Endings of the forms of a verb, and of adverbs.
_ENDING = re.compile(r"(?:s|ed?|d|ing|ly)$")


class Phrase(NamedTuple):
    """A key phrase of a text."""

    text: str
    # The sentence of its first occurrence.
    sentence: str


def find_phrases(text: str) -> list[Phrase]:
    """Return the key phrases of a text, those of several words first, else in their order.

    Phrases that differ in case only count once. The list is empty if the text has no word.
    """
    sentences = find_sentence_spans(text)
    readable_text = re.sub(_WORD, _blank_common_word, blank_markup(text))
    phrases: dict[str, Phrase] = {}
    for match in _PHRASE.finditer(readable_text):
        sentence_index = bisect.bisect_right(sentences, (match.start(), len(text))) - 1
        start, end = sentences[sentence_index]
        phrase = Phrase(match[0][:_MAX_PHRASE_CHARS], text[start:end])
        phrases.setdefault(phrase.text.lower(), phrase)
    return sorted(phrases.values(), key=lambda phrase: " " not in phrase.text)


def _blank_common_word(match: re.Match[str]) -> str:
    """Return a word, or NUL characters of its length if it is common."""
    word = match[0].lower()
    base_form = _ENDING.sub("", word)
    common_words = _load_common_words()
    is_common = not common_words.isdisjoint((word, base_form, f"{base_form}e"))
    return "\0" * len(word) if is_common else match[0]


@functools.cache
def _load_common_words() -> frozenset[str]:
    path = files("emulator.answers").joinpath("common_words.txt")
    return frozenset(path.read_text(encoding="utf-8").split())
