"""Extract the concepts of a text: its key phrases, each with the sentences that contain it.

- A phrase is a run of words between stop words, verbs and punctuation (RAKE: Rose, Engel, Cramer
  and Cowley, 2010).
- Phrases are weighed by how often and how early they occur, and by their number of words.
- The type of a concept follows from its last word.
- Names are words of the text, quotes are slices of it, and equal texts give equal concepts.

Words have kinds, such as "stop", "verb" or "noun"; concepts.txt lists them and describes each.
Words of the kinds "front" and "broad" are vague: they say little about a phrase.
"""

import bisect
import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain
from typing import Any, NamedTuple

from emulator.answers.text import blank_markup, find_sentence_spans, singularize

# All types of concepts.
TYPES = ("method", "domain", "model", "dataset", "metric", "task", "material", "process", "other")
MAX_NAME_CHARS = 60
# Confidence of the first concept, its decrease from concept to concept, and its minimum.
_MAX_CONFIDENCE = 0.95
_CONFIDENCE_STEP = 0.035
_MIN_CONFIDENCE = 0.5
# The share of the maximum number of concepts that is returned grows with the number of phrases:
# 61 % for so many phrases, 84 % for twice as many, and this limit for very many.
_SATURATION_PHRASES = 6.5
_MAX_SHARE = 0.9685
# Power of the number of occurrences in the weight of a phrase.
_FREQUENCY_POWER = 0.7
# Sentences after which the bonus of an early phrase has fallen to a third.
_EARLY_SENTENCES = 6
_EARLY_BONUS = 0.5
# Weight by number of words. People name most key phrases in two or three words. One word alone says
# little, and four words are often an accident.
_LENGTH_WEIGHTS = {1: 0.45, 2: 1.0, 3: 0.9}
# Factors of a phrase with an acronym, of a phrase without a type, and of a phrase for each better
# phrase with the same last word.
_ACRONYM_FACTOR = 2.5
_UNTYPED_FACTOR = 0.7
_SAME_HEAD_FACTOR = 0.6
# A longer phrase is cut to its last words.
_MAX_PHRASE_WORDS = 4
_CUT_PHRASE_WORDS = 3
_MIN_NAME_CHARS = 3
# A word of the kind "tail" is removed only from a phrase of more words.
_MAX_WORDS_WITH_TAIL = 2
# The first concepts have up to two quotes, the others a single quote.
_CONCEPTS_WITH_TWO_QUOTES = 4
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
# Characters of grammar. Japanese writes its grammar in hiragana.
_CJK_GRAMMAR = (
    "的了和是在与及对等为以其也都而被把将从到于由或但这那有不会能可他她它我你们\u3041-\u309f"
)
_WORD = re.compile(
    rf"[^\W_{_CJK}]+(?:[-\u2010\u2011._'\u2019][^\W_{_CJK}]+)*(?:\+\+|#(?!\w))?"
    rf"|(?:(?![{_CJK_GRAMMAR}])[{_CJK}]){{1,12}}",
)
_ANY_WORD = re.compile(rf"[^\W_]{{1,{MAX_NAME_CHARS}}}")
_ACRONYM = re.compile(r"\(([A-Z][A-Za-z]{0,9}[A-Z])s?\)")
# Endings of adjectives and participles. Nouns with these endings are in the word lists.
_ADJECTIVE = re.compile(
    r".{2,}(?:ous|[ai]ble|ive|al|ic|ful|less|ary|ile|ent|ant)"
    r"|.+-(?:based|specific|aware|free|level|driven|scale|dimensional|\w+(?:ing|ed|ive|al|ic))"
    r"|(?:non|multi|two|single|one|three|cross|inter|pre|post)-\w+|.{3,}[^e]ed",
)
# Endings of verbs, adverbs and contractions. Nouns with these endings are in the word lists.
_VERB_OR_ADVERB = re.compile(
    r".{3,}(?:i[sz](?:e|es|ing)|if(?:y|ies|ying))|.{3,}ly|.+(?:n't|'(?:re|ve|ll|m))",
)
_NUMBER_OR_CHARACTER = re.compile(r"[\d.,:/%\u00d7-]+[kmbx%]?|.")


@dataclass
class _Phrase:
    """A candidate for a concept."""

    # Words in the form that is compared.
    words: tuple[str, ...]
    # Number of words in the text.
    word_count: int = 1
    # Start and end offset of each occurrence.
    spans: list[tuple[int, int]] = field(default_factory=list)
    acronym: str = ""
    weight: float = 0.0


class _WordLists(NamedTuple):
    """Content of `concepts.txt`."""

    kinds_by_word: dict[str, frozenset[str]]
    # Types with their word endings; the first that fits counts.
    type_endings: list[tuple[str, tuple[str, ...]]]


def extract_concepts(text: str, *, min_count: int = 4, max_count: int = 14) -> list[dict[str, Any]]:
    """Return the concepts of a text, the surest first.

    Args:
        min_count: If there are fewer phrases, other words of the text become concepts.
        max_count: The largest number of concepts, even if `min_count` is larger. A text with few
            phrases gets fewer.

    Returns:
        Dicts with name, type, aliases, confidence (0.5 to 0.95) and quotes. A quote is a slice of
        the text, and the first contains the name. The list is empty if the text has no letter.
    """
    spans = find_sentence_spans(text)
    phrases = _find_phrases(text, blank_markup(text))
    for phrase in phrases:
        sentence_number = bisect.bisect_right(spans, (phrase.spans[0][0], math.inf))
        phrase.weight = _weigh_phrase(phrase, sentence_number=sentence_number)

    saturation = 1 - math.exp(-len(phrases) / _SATURATION_PHRASES)
    target_count = max(min_count, round(_MAX_SHARE * max_count * saturation))
    chosen_phrases = _choose_phrases(phrases, count=min(target_count, max_count))
    _add_single_words(text, chosen_phrases, min_count=min(min_count, max_count))
    return [
        _build_concept(text, phrase, spans, rank=rank) for rank, phrase in enumerate(chosen_phrases)
    ]


def _find_phrases(text: str, readable_text: str) -> list[_Phrase]:
    """Return the phrases of a text in the order of their first occurrence.

    Phrases that are vague, that have over MAX_NAME_CHARS characters, or in which a word occurs
    twice are left out. An acronym in parentheses is assigned to the phrase before it if the
    initials fit. Later occurrences of the acronym alone count as that phrase.

    Args:
        readable_text: The text with blanked mark-up, with equal offsets.
    """
    phrases: dict[tuple[str, ...], _Phrase] = {}
    words_by_acronym: dict[str, tuple[str, ...]] = {}
    for full_run in _iter_runs(readable_text):
        run = _trim_run(full_run)
        if not run:
            continue

        words = tuple(chain.from_iterable(_comparison_key(match[0]) for match in run))
        if len(words) == 1:
            words = words_by_acronym.get(words[0], words)

        start = run[0].start()
        end = run[-1].end()
        if (
            len(set(words)) < len(words)
            or end - start > MAX_NAME_CHARS
            or _is_vague(words, text[start:end])
        ):
            continue

        phrase = phrases.setdefault(words, _Phrase(words, len(run)))
        phrase.spans.append((start, end))

        acronym_match = _ACRONYM.match(text, end + 1)
        if acronym_match:
            acronym = acronym_match[1]
            initials = "".join(word[0] for word in words)
            if initials.endswith(acronym.lower()):
                phrase.acronym = acronym
                words_by_acronym[acronym.lower()] = words
    return list(phrases.values())


def _iter_runs(readable_text: str) -> Iterator[list[re.Match[str]]]:
    """Yield runs of words between stop words, verbs, numbers, punctuation and empty lines.

    A run is a list with the match of each word, in the order of the text, and is never empty.
    """
    run: list[re.Match[str]] = []
    for match in _WORD.finditer(readable_text):
        gap = readable_text[run[-1].end() : match.start()] if run else " "
        is_stop = _is_stop_word(match[0].lower())
        if run and (is_stop or not gap.isspace() or gap.count("\n") > 1):
            yield run
            run = []
        if not is_stop:
            run.append(match)
    if run:
        yield run


def _trim_run(run: Sequence[re.Match[str]]) -> Sequence[re.Match[str]]:
    """Return a run of words without the words at its ends that say little.

    Vague words (the kind "front") are removed from the start. Adjectives, vague words and, from
    long runs, words of the kind "tail" are removed from the end. If more than `_MAX_PHRASE_WORDS`
    words remain, the result is the last `_CUT_PHRASE_WORDS` of them. The result can be empty.
    """
    start = 0
    end = len(run)
    while start < end and "front" in _get_kinds(run[start][0].lower()):
        start += 1
    while start < end and _is_trimmed_end(run[end - 1][0].lower(), word_count=end - start):
        end -= 1

    if end - start > _MAX_PHRASE_WORDS:
        start = max(start, end - _CUT_PHRASE_WORDS)
    return run[start:end]


def _weigh_phrase(phrase: _Phrase, *, sentence_number: int) -> float:
    """Return the weight of a phrase: higher if it is frequent, early or has an acronym.

    A phrase of two or three words is heavier than any other. A phrase without a type (the kind of
    concept that its last word is known for) is lighter.

    Args:
        sentence_number: Sentence of the first occurrence, counted from 1.
    """
    position_weight = 1 + _EARLY_BONUS * math.exp(-sentence_number / _EARLY_SENTENCES)
    form_weight = _LENGTH_WEIGHTS.get(phrase.word_count, _LENGTH_WEIGHTS[1])
    if not _get_type(phrase.words[-1]):
        form_weight *= _UNTYPED_FACTOR

    weight = math.pow(len(phrase.spans), _FREQUENCY_POWER) * position_weight * form_weight
    if phrase.acronym:
        weight *= _ACRONYM_FACTOR
    return weight


def _choose_phrases(phrases: Sequence[_Phrase], *, count: int) -> list[_Phrase]:
    """Return at most `count` phrases, the heaviest first, no phrase similar to another.

    Each chosen phrase makes the remaining phrases with the same last word lighter.
    """
    chosen_phrases: list[_Phrase] = []
    head_counts: Counter[str] = Counter()
    remaining = sorted(phrases, key=lambda phrase: (-phrase.weight, phrase.spans[0]))
    while remaining and len(chosen_phrases) < count:
        best = max(
            remaining,
            key=lambda phrase: phrase.weight * _SAME_HEAD_FACTOR ** head_counts[phrase.words[-1]],
        )
        chosen_phrases.append(best)
        head_counts[best.words[-1]] += 1
        remaining = [phrase for phrase in remaining if not _is_similar(phrase.words, best.words)]
    return chosen_phrases


def _is_similar(words: tuple[str, ...], other_words: tuple[str, ...]) -> bool:
    """Return whether two phrases are similar.

    They are if they are spelled alike without blanks, if one contains all words of the other, or if
    they share at least 2/3 of all their words.
    """
    word_set = set(words)
    other_set = set(other_words)
    shared_count = len(word_set & other_set)
    return (
        "".join(words) == "".join(other_words)
        or shared_count == min(len(word_set), len(other_set))
        or 3 * shared_count >= 2 * len(word_set | other_set)
    )


def _add_single_words(text: str, phrases: list[_Phrase], *, min_count: int) -> None:
    """Append phrases of a single word to `phrases` until there are `min_count` phrases.

    There may be fewer if the text has no more words. The words are taken in the order of the text,
    but words of less than `_MIN_NAME_CHARS` characters come last.

    Words without a letter are skipped, and words that are a phrase already. A stop word is taken
    only as the very first phrase.
    """
    if len(phrases) >= min_count:
        return

    for match in sorted(
        _ANY_WORD.finditer(text),
        key=lambda match: len(match[0]) < _MIN_NAME_CHARS,
    ):
        has_letter = any(map(str.isalpha, match[0]))
        if not has_letter or (phrases and _is_stop_word(match[0].lower())):
            continue

        words = _comparison_key(match[0])
        if all(words != phrase.words for phrase in phrases):
            phrases.append(_Phrase(words, 1, [match.span()]))
        if len(phrases) >= min_count:
            return


def _build_concept(
    text: str,
    phrase: _Phrase,
    sentences: Sequence[tuple[int, int]],
    *,
    rank: int,
) -> dict[str, Any]:
    """Return the concept of a phrase: name, type, aliases, confidence and quotes.

    The name is a spelling of the phrase in the text. The quotes are sentences that contain the
    phrase, first those with this spelling. If the first quote begins with the name, the name's
    first letter becomes lower case, because every sentence begins with a capital. A name with more
    capitals stays as it is.

    Args:
        sentences: Start and end offsets of the sentences.
        rank: Position among the concepts, from 0; decides confidence and number of quotes.
    """
    surfaces = [" ".join(text[start:end].split()) for start, end in phrase.spans]
    # The name is a spelling that is not in capitals, then the most frequent, then in lower case.
    counts = Counter(surfaces)
    name = min(
        counts,
        key=lambda surface: (
            surface.isupper(),
            -counts[surface],
            surface[:1].isupper(),
            surface,
        ),
    )

    # The first quotes are sentences with the name as it is spelled.
    occurrences = sorted(
        zip(surfaces, phrase.spans, strict=True),
        key=lambda occurrence: occurrence[0] != name,
    )
    quotes = []
    for _, (start, end) in occurrences:
        sentence_index = max(0, bisect.bisect_right(sentences, (start, math.inf)) - 1)
        sentence_start, sentence_end = sentences[sentence_index]
        quotes.append(text[sentence_start : max(sentence_end, end)])

    # At the start of a sentence, a capital letter says nothing.
    is_lower_after_first = name[1:] == name[1:].lower()
    if quotes[0].startswith(name) and is_lower_after_first:
        name = name[:1].lower() + name[1:]

    concept_type = _get_type(phrase.words[-1])
    confidence = max(_MAX_CONFIDENCE - _CONFIDENCE_STEP * rank, _MIN_CONFIDENCE)
    max_quotes = 2 if rank < _CONCEPTS_WITH_TWO_QUOTES else 1
    return {
        "name": name,
        "type": concept_type if concept_type in TYPES else "other",
        "aliases": [phrase.acronym] if phrase.acronym else [],
        "confidence": round(confidence, 3),
        "quotes": list(dict.fromkeys(quotes))[:max_quotes],
    }


@functools.lru_cache(maxsize=1 << 16)
def _comparison_key(word: str) -> tuple[str, ...]:
    """Return the parts of a word between hyphens: lower case, singular, American spelling."""
    folded_word = unicodedata.normalize("NFKC", word.lower()).replace("\u2019", "'")
    parts = [
        singularize(part).replace("isation", "ization")
        for part in re.split(r"[-\u2010\u2011]", folded_word.removesuffix("'s"))
        if part
    ]
    return tuple(parts) or (word,)


@functools.lru_cache(maxsize=1 << 16)
def _is_stop_word(lower_word: str) -> bool:
    """Return whether a word separates phrases.

    - A word that the lists call "stop" or "verb", also in the plural, separates.
    - A word with the form of a verb, adverb, contraction, number or single character separates,
      unless it is in a list other than "front".
    - Any other word does not separate. An example is "size", which has the form of a verb but is in
      the list "noun".
    """
    straight_word = lower_word.replace("\u2019", "'")
    kinds = _get_kinds(straight_word.removesuffix("'s")) | _get_kinds(singularize(lower_word))
    if not kinds.isdisjoint({"stop", "verb"}):
        return True

    form_match = _NUMBER_OR_CHARACTER.fullmatch(lower_word) or _VERB_OR_ADVERB.fullmatch(
        straight_word,
    )
    return form_match is not None and not kinds - {"front"}


@functools.lru_cache(maxsize=1 << 16)
def _is_trimmed_end(lower_word: str, *, word_count: int) -> bool:
    """Return whether the last of `word_count` words is removed from its phrase.

    Adjectives and vague words (the kind "front") are removed. Words of the kind "tail" are removed
    only from a phrase of more than `_MAX_WORDS_WITH_TAIL` words.
    """
    kinds = _get_kinds(lower_word)
    if "adjective" in kinds or "front" in kinds:
        return True

    if not kinds and _ADJECTIVE.fullmatch(lower_word) is not None:
        return True

    is_tail = "tail" in kinds or "tail" in _get_kinds(singularize(lower_word))
    return is_tail and word_count > _MAX_WORDS_WITH_TAIL


def _is_vague(words: Sequence[str], surface: str) -> bool:
    """Return whether a phrase is no concept: only vague words, too short, or without a letter.

    Vague words are of the kinds "broad" and "front". Capitals, and characters outside ASCII, are
    never too short.
    """
    is_short = len(surface) < _MIN_NAME_CHARS and not surface.isupper() and surface.isascii()
    is_broad = all(not _get_kinds(word).isdisjoint({"broad", "front"}) for word in words)
    return is_broad or is_short or not any(map(str.isalpha, surface))


@functools.lru_cache(maxsize=1 << 16)
def _get_type(last_word: str) -> str:
    """Return the type of a phrase by its last word: one of `TYPES`, or "disorder", or "".

    "disorder" is the name of a word list, but not in `TYPES`; a concept with it has the type
    "other". The word lists decide first. If a word is in several lists, "disorder" comes first,
    "other" second, and then the order of `TYPES`. A word that is only in the list "noun" has no
    type (""). A word that is in no list gets its type from its ending, or none.
    """
    kinds = _get_kinds(last_word)
    for kind in ("disorder", "other", *TYPES):
        if kind in kinds:
            return kind

    if "noun" in kinds:
        return ""

    for concept_type, endings in _load_word_lists().type_endings:
        if last_word.endswith(endings):
            return concept_type
    return ""


def _get_kinds(word: str) -> frozenset[str]:
    return _load_word_lists().kinds_by_word.get(word, frozenset())


@functools.cache
def _load_word_lists() -> _WordLists:
    """Read `concepts.txt` once: the kinds of each word, and word endings by type.

    Verbs are listed with all their forms. Comments and empty lines are skipped.
    """
    path = files("emulator.answers").joinpath("concepts.txt")
    kind_sets: dict[str, set[str]] = {}
    type_endings = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue

        kind, *words = line.split()
        if kind == "ends":
            type_endings.append((words[0], tuple(words[1:])))
            continue

        for word in words:
            forms = _inflect_verb(word) if kind == "verb" else {word}
            for form in forms:
                kind_sets.setdefault(form, set()).add(kind)

    kinds_by_word = {word: frozenset(kinds) for word, kinds in kind_sets.items()}
    return _WordLists(kinds_by_word, type_endings)


def _inflect_verb(verb: str) -> set[str]:
    """Return the verb with its possible regular forms, some of them misspelled.

    The stress of a verb decides whether its final consonant is doubled. The stress is not known
    here, so the forms with a single and with a doubled consonant are both returned.
    """
    stem = verb.removesuffix("e")
    if verb.endswith("y") and verb[-2] not in "aeiou":
        third_person = f"{verb[:-1]}ies"
        past = f"{verb[:-1]}ied"
    else:
        third_person = f"{verb}s"
        past = f"{stem}ed"

    doubled_stem = stem + stem[-1]
    return {
        verb,
        third_person,
        f"{verb}es",
        past,
        f"{stem}ing",
        f"{stem}ed",
        f"{doubled_stem}ing",
        f"{doubled_stem}ed",
    }
