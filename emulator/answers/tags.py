"""Tag a text with terms of a vocabulary: the longest known phrase at each place.

Rough on purpose, there is no grammar and no reasoning:

- A text is about the terms in its title or soon after it, about its frequent terms, and about
  terms of several words.
- If no term is sure, the nearest terms that the text mentions are its tags.
- Leisure and parts of proper names do not count.
- Equal texts get equal tags.

A term is an entry of the vocabulary, and a tag is a term that was chosen for the text. A hit is an
occurrence of a term. An aside is a part of a sentence about something else than the person's work.
"""

import math
from collections.abc import Sequence
from itertools import chain

from emulator.answers.text import Word, split_words, strip_markup
from emulator.answers.vocabulary import CJK_CHARACTER, Hit, Vocabulary, load_vocabulary

# A longer first line is no title.
_MAX_TITLE_WORDS = 15
# Words after the title in which a term is sure: a term of one word, and a term of several words.
_SURE_WORDS = 15
_SURE_WORDS_FOR_PHRASES = 60
# Words after which the weight of a position has fallen to a third.
_POSITION_FADE_WORDS = 40
# A term with this many occurrences is sure at any position.
_SURE_OCCURRENCES = 3
# Most tags that are sure, and most tags that are not sure.
_MAX_SURE_TAGS = 5
_MAX_UNSURE_TAGS = 2
# Words that decide the language.
_LANGUAGE_WORDS = 200
# Aside in which only pastimes do not count.
_LIKING_ASIDE = "-liking"


class _TermRanking:
    """Terms of a text with their hits, to be ranked."""

    def __init__(self, vocabulary: Vocabulary, text: str) -> None:
        """Find the terms of a text without mark-up.

        Hits in asides, in proper names and of terms in the list "never" are left out.
        """
        words = split_words(text)
        first_words = [word.surface.lower() for word in words[:_LANGUAGE_WORDS]]
        lists = vocabulary.lists
        english_count = len(lists["english"].intersection(first_words))
        is_foreign = len(lists["other"].intersection(first_words)) > english_count

        self._broad_names = lists["broad"]
        self._title_words = _count_title_words(text)
        cjk_count = sum(CJK_CHARACTER.match(word) is not None for word in first_words)
        is_mostly_cjk = 2 * cjk_count > len(first_words)
        # Words of this text for each word of an English text.
        self._pace = 2 if is_mostly_cjk else 1
        self._hits: dict[str, list[Hit]] = {}
        hits = vocabulary.find_hits(words, is_foreign=is_foreign)
        for hit in _remove_asides(vocabulary, hits, words):
            # A title, and a term about software, may be capitalized without being a name.
            may_be_name = (
                hit.word_index >= self._title_words and hit.name not in vocabulary.software_terms
            )
            is_in_name = may_be_name and _is_in_proper_name(hit, words)
            if hit.name not in lists["never"] and not is_in_name:
                self._hits.setdefault(hit.name, []).append(hit)

    def get_best_names(self) -> list[str]:
        """Return the sure narrow terms, else the best narrow terms, else the best broad terms.

        At most `_MAX_SURE_TAGS` sure terms, or `_MAX_UNSURE_TAGS` other terms, are returned, the
        heaviest first.
        """
        names = sorted(
            self._hits,
            key=lambda name: (-self._weigh(name), self._hits[name][0].word_index),
        )
        narrow_names = [name for name in names if name not in self._broad_names]
        sure_names = [name for name in narrow_names if self._is_sure(name)]
        return (
            sure_names[:_MAX_SURE_TAGS]
            or narrow_names[:_MAX_UNSURE_TAGS]
            or names[:_MAX_UNSURE_TAGS]
        )

    def _weigh(self, name: str) -> float:
        """Return the weight of a term: higher if it is early, frequent, in the title or a phrase.

        Broad terms are lighter.
        """
        hits = self._hits[name]
        position_weight = math.exp(-hits[0].word_index / (_POSITION_FADE_WORDS * self._pace))
        frequency_weight = 0.5 * math.log(1 + len(hits))
        phrase_bonus = 0.2 * any(hit.word_count > 1 for hit in hits)
        title_bonus = 0.4 * (hits[0].word_index < self._title_words)
        broad_penalty = 0.4 * (name in self._broad_names)
        return position_weight + frequency_weight + (phrase_bonus + title_bonus) - broad_penalty

    def _is_sure(self, name: str) -> bool:
        """Return whether a term is in the title or soon after it, or frequent."""
        hits = self._hits[name]
        has_phrase = any(hit.word_count > self._pace for hit in hits)
        sure_words = _SURE_WORDS_FOR_PHRASES if has_phrase else _SURE_WORDS
        sure_end = self._title_words + sure_words * self._pace
        return hits[0].word_index < sure_end or len(hits) >= _SURE_OCCURRENCES


def tag_text(text: str, *, min_count: int = 0, max_count: int = 8) -> list[str]:
    """Return the terms of the vocabulary that a text is about, the surest first.

    The list is empty for a blank text.

    Args:
        text: Text of any length; a short first line is its title.
        min_count: If fewer terms are found, broader terms are added, then terms of similar meaning.
        max_count: The largest number of terms, even if `min_count` is larger.
    """
    vocabulary = load_vocabulary()
    clean_text = strip_markup(text)
    names = _TermRanking(vocabulary, clean_text).get_best_names()
    if len(names) < min_count:
        broader_names = chain.from_iterable(map(vocabulary.get_ancestors, names))
        similar_names = vocabulary.rank_by_meaning(clean_text if clean_text.strip() else text)
        names = list(dict.fromkeys([*names, *broader_names, *similar_names]))[:min_count]
    return names[: max(0, max_count)]


def _count_title_words(text: str) -> int:
    """Return the number of words and breaks in the first line; 0 if it is no title."""
    first_line, _, other_lines = text.partition("\n")
    title_words = len(split_words(first_line)) if other_lines.strip() else 0
    return title_words if title_words <= _MAX_TITLE_WORDS else 0


def _remove_asides(vocabulary: Vocabulary, hits: Sequence[Hit], words: Sequence[Word]) -> list[Hit]:
    """Return the hits outside asides, without the hits that begin an aside.

    An aside reaches from a phrase such as "fan of" to the end of the sentence. In an aside about
    liking, only hits of pastimes are removed. In other asides, about leisure or studies, all hits
    of the aside are removed.
    """
    relevant_hits = []
    aside_name = ""
    aside_end = 0
    for hit in hits:
        if hit.word_index >= aside_end:
            aside_name = ""

        if hit.name.startswith("-"):
            aside_name = aside_name or hit.name
            # An aside ends with its sentence.
            indexes = range(hit.word_index, len(words))
            aside_end = next(
                (index for index in indexes if words[index].surface == "."), len(words)
            )
            continue

        if not aside_name or (
            aside_name == _LIKING_ASIDE and hit.name not in vocabulary.lists["pastimes"]
        ):
            relevant_hits.append(hit)
    return relevant_hits


def _is_in_proper_name(hit: Hit, words: Sequence[Word]) -> bool:
    """Return whether a term of one capitalized word is next to another capital letter.

    "Adobe Systems" is an example.
    """
    neighbour_indexes = (hit.word_index - 1, hit.word_index + 1)
    neighbours = [words[index].surface for index in neighbour_indexes if 0 <= index < len(words)]
    return (
        hit.word_count == 1
        and words[hit.word_index].surface.istitle()
        and any(surface[:1].isupper() for surface in neighbours)
    )
