"""Vocabulary of the tagger: terms, their aliases and broader terms, and lists of phrases.

An alias is a spelling by which a text names a term. The mark of an alias is its first character in
vocabulary.tsv, if that restricts when the alias counts; see _ALIAS_MARKS.
"""

import functools
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from emulator.answers.encoder import MEANING_WIDTH, encode
from emulator.answers.text import CJK, Word, split_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Characters that the search by meaning reads.
_MAX_MEANING_CHARS = 4000
# A term below these is about software.
_SOFTWARE_ROOTS = frozenset(
    {
        "software development",
        "programming",
        "computer science",
        "it infrastructure",
        "data science",
        "embedded systems",
    },
)
# Characters that occur in no English word.
CJK_CHARACTER = re.compile(f"[{CJK}]")
# Letters of the shortest first part of a German compound; an ending is longer.
_MIN_COMPOUND_PART_CHARS = 3
# Marks of aliases in the vocabulary. `=` and `~` demand the exact casing. `~` counts only in a text
# about software, `%` only in other texts.
_EXACT_CASE = "="
_SOFTWARE_ONLY = "~"
_NO_SOFTWARE = "%"
_ALIAS_MARKS = (_EXACT_CASE, _SOFTWARE_ONLY, _NO_SOFTWARE)
# Lists of phrases that begin an aside. A phrase of several lists belongs to the first.
_ASIDE_LISTS = ("leisure", "away", "study", "liking")
# Ending of a domain's name, and the ending of the person who works in it.
_PERSON_ENDINGS = {
    "ology": "ologist",
    "ography": "ographer",
    "onomy": "onomer",
    "ics": "icist",
    "ing": "er",
}


class _Alias(NamedTuple):
    """A spelling of a term."""

    # The term. Empty for a phrase to skip, `-LIST` for a phrase that begins an aside.
    name: str
    # One of `_ALIAS_MARKS`, or empty.
    mark: str
    # Required spelling; empty if any casing and inflection is allowed.
    surface: str


class Hit(NamedTuple):
    """An alias in a text."""

    name: str
    # Position of its first word among all words and breaks.
    word_index: int
    word_count: int
    mark: str


class _VocabularyRow(NamedTuple):
    """A line of the vocabulary with a term."""

    # The term, with `!` if its name alone does not mean it.
    marked_name: str
    parents: list[str]
    aliases: list[str]
    # Spellings in other languages; with `-` if they also end compounds.
    foreign_forms: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The term without its mark."""
        return self.marked_name.removeprefix("!")


class Vocabulary:
    """Terms and their aliases; an alias of several terms belongs to the first."""

    def __init__(self) -> None:
        """Read `vocabulary.tsv`."""
        # Broader terms of each term.
        self.parents: dict[str, list[str]] = {}
        # Lists of phrases by name, for example "never" and "pastimes".
        self.lists: dict[str, frozenset[str]] = {}
        # Terms whose names have no other meaning; "go" and "react" are not among them.
        self.unambiguous_names: set[str] = set()
        self._aliases: dict[tuple[str, ...], list[_Alias]] = {}
        # Aliases that count only in texts in other languages than English.
        self._foreign_aliases: dict[tuple[str, ...], list[_Alias]] = {}
        # Terms by the endings of compounds.
        self._terms_by_compound_ending: dict[str, str] = {}
        # Most words of an alias, by its first word.
        self._max_alias_words: dict[str, int] = {}

        rows = self._read_file()
        for phrase in sorted(self.lists[""]):
            self._add_alias(self._aliases, phrase, "")
        for list_name in _ASIDE_LISTS:
            for phrase in sorted(self.lists[list_name]):
                self._add_alias(self._aliases, phrase, f"-{list_name}")
        for row in rows:
            self._add_term(row)
        for row in rows:
            for form in row.foreign_forms:
                is_cjk = CJK_CHARACTER.search(form) is not None
                aliases = self._aliases if is_cjk else self._foreign_aliases
                self._add_alias(aliases, form.removeprefix("-"), row.name)
                if form.startswith("-"):
                    self._terms_by_compound_ending[split_words(form)[0].folded] = row.name

    def _read_file(self) -> list[_VocabularyRow]:
        """Return the terms of the vocabulary file in its order, and store its lists in `lists`.

        A line whose name begins with "-" is a list; its key in `lists` is the name without "-".
        Comments and empty lines are skipped.
        """
        rows = []
        path = files("emulator.answers").joinpath("vocabulary.tsv")
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue

            name, *cells = line.split("\t")
            parents, phrases, *foreign_forms = [_split_cell(cell) for cell in cells]
            if name.startswith("-"):
                self.lists[name[1:]] = frozenset(phrases)
            else:
                rows.append(_VocabularyRow(name, parents, phrases, *foreign_forms))
        return rows

    def _add_term(self, row: _VocabularyRow) -> None:
        """Add a term with its parents and aliases.

        A name is ambiguous if the file marks it with `!`, or if one of its aliases is the name with
        another mark, such as "~React". Any other name becomes an alias, too, and is added to
        `unambiguous_names`. It also gives an alias for a person who does it: "hydrology" gives
        "hydrologist".
        """
        name = row.name
        aliases = list(row.aliases)
        is_marked_alias = any(
            alias[0] in _ALIAS_MARKS and alias[1:].lower() == name for alias in aliases
        )
        if row.marked_name == name and not is_marked_alias:
            self.unambiguous_names.add(name)
            aliases.insert(0, name)
            aliases += [
                name.removesuffix(domain_ending) + person_ending
                for domain_ending, person_ending in _PERSON_ENDINGS.items()
                if name.endswith(domain_ending)
            ]

        self.parents[name] = row.parents
        for alias in aliases:
            self._add_alias(self._aliases, alias, name)

    def _add_alias(
        self,
        aliases: dict[tuple[str, ...], list[_Alias]],
        marked_phrase: str,
        name: str,
    ) -> None:
        """Add an alias of a term to a mapping keyed by words.

        If an earlier alias has the same words and the same required spelling, it is kept instead.
        In any case `_max_alias_words` of the alias's first word becomes at least the number of
        words of the alias.

        Args:
            aliases: The mapping, `_aliases` or `_foreign_aliases`.
            marked_phrase: The alias as in the file, such as "law" or "~React" with the mark `~`.
            name: The term; see `_Alias.name`.
        """
        mark = ""
        phrase = marked_phrase
        if marked_phrase[0] in _ALIAS_MARKS:
            mark = marked_phrase[0]
            phrase = marked_phrase[1:]

        words = [word for word in split_words(phrase) if word.folded]
        has_exact_case = mark in (_EXACT_CASE, _SOFTWARE_ONLY)
        alias = _Alias(name, mark, phrase if has_exact_case else "")
        same_words = aliases.setdefault(_alias_key(words), [])
        if all(other.surface != alias.surface for other in same_words):
            same_words.append(alias)
            # The exact casing is tried first.
            same_words.sort(key=lambda other: not other.surface)

        for first_word in (words[0].folded, words[0].stem):
            max_words = self._max_alias_words.get(first_word, 0)
            self._max_alias_words[first_word] = max(max_words, len(words))

    def get_ancestors(self, name: str) -> list[str]:
        """Return all broader terms of a term, the nearest first and without the term itself.

        Broader terms that the vocabulary lacks are left out.
        """
        ancestors = [parent for parent in self.parents[name] if parent in self.parents]
        # The list grows while it is read.
        for ancestor in ancestors:
            ancestors += [
                parent
                for parent in self.parents[ancestor]
                if parent in self.parents and parent != name and parent not in ancestors
            ]
        return ancestors

    @functools.cached_property
    def software_terms(self) -> frozenset[str]:
        """Terms about software: `_SOFTWARE_ROOTS` and all terms below them."""
        return frozenset(
            name
            for name in self.parents
            if not _SOFTWARE_ROOTS.isdisjoint((name, *self.get_ancestors(name)))
        )

    @functools.cached_property
    def _term_meanings(self) -> "NDArray[np.float32]":
        return encode(list(self.parents))[:, :MEANING_WIDTH]

    def rank_by_meaning(self, text: str) -> list[str]:
        """Return all terms, sorted by falling similarity of meaning to a text.

        Ambiguous and broad terms come last, because "react" is similar to any text about reacting.
        Only the first `_MAX_MEANING_CHARS` characters are read. The list is empty if these are
        blank.
        """
        start_of_text = text[:_MAX_MEANING_CHARS]
        if not start_of_text.strip():
            return []

        likeness = self._term_meanings @ encode([start_of_text])[0, :MEANING_WIDTH]
        likeness_by_name = dict(zip(self.parents, likeness, strict=True))
        narrow_names = self.unambiguous_names.difference(self.lists["never"], self.lists["broad"])
        return sorted(
            likeness_by_name,
            key=lambda name: (name not in narrow_names, -likeness_by_name[name], name),
        )

    def find_hits(self, words: Sequence[Word], *, is_foreign: bool) -> list[Hit]:
        """Return the aliases in a text from left to right; they neither overlap nor cross breaks.

        - The longest alias at each position counts.
        - A phrase that means something else than its words, such as "vet bills" (the list "-" in
          the file), gives no hit.
        - A phrase that begins an aside gives a hit named "-" and its list, such as "-liking".
        - Aliases with the mark `~` count only in a text about software, those with `%` only in any
          other text. A text is about software if it has another hit of a software term.

        Args:
            is_foreign: Whether the text is in another language than English.
        """
        hits: list[Hit] = []
        word_index = 0
        while word_index < len(words):
            word_count, alias = self._find_longest_alias(words, word_index, is_foreign=is_foreign)
            if alias.name:
                hits.append(Hit(alias.name, word_index, word_count, alias.mark))
            word_index += word_count

        is_software = any(
            hit.name in self.software_terms and hit.mark != _SOFTWARE_ONLY for hit in hits
        )
        excluded_mark = _NO_SOFTWARE if is_software else _SOFTWARE_ONLY
        return [hit for hit in hits if hit.mark != excluded_mark]

    def _find_longest_alias(
        self,
        words: Sequence[Word],
        start: int,
        *,
        is_foreign: bool,
    ) -> tuple[int, _Alias]:
        """Return (number of words, alias) of the longest alias at a position of a text.

        An alias with a required spelling counts only if it is spelled like that. If no alias fits,
        and the text is foreign, a compound with a known ending gives an alias with the name of the
        ending's term. Otherwise the result is (1, an alias with an empty name), so that the caller
        goes on with the next word.

        Args:
            words: The words and breaks of the text.
            start: Index of the first word.
            is_foreign: The text is in another language than English: its aliases and compounds are
                tried, too, and English aliases that mean something else in other languages (the
                list "friends") are skipped.
        """
        first_word = words[start]
        max_words = max(
            self._max_alias_words.get(first_word.folded, 0),
            self._max_alias_words.get(first_word.stem, 0),
        )
        for word_count in range(min(max_words, len(words) - start), 0, -1):
            phrase = words[start : start + word_count]
            surface = " ".join(word.surface for word in phrase)
            if is_foreign and surface.lower() in self.lists["friends"]:
                continue

            key = _alias_key(phrase)
            candidates = list(self._aliases.get(key, ()))
            if is_foreign:
                candidates += self._foreign_aliases.get(key, ())
            for alias in candidates:
                if alias.surface in ("", surface):
                    return word_count, alias

        name = self._find_compound_term(first_word) if is_foreign else ""
        return 1, _Alias(name, "", "")

    def _find_compound_term(self, word: Word) -> str:
        """Return the term of the longest known ending of a compound, else an empty text.

        The part before the ending has at least `_MIN_COMPOUND_PART_CHARS` letters, the ending more
        than that.
        """
        last_start = len(word.folded) - _MIN_COMPOUND_PART_CHARS
        for start in range(_MIN_COMPOUND_PART_CHARS, last_start):
            last_part = word.folded[start:]
            if last_part in self._terms_by_compound_ending:
                return self._terms_by_compound_ending[last_part]
        return ""


def _alias_key(words: Sequence[Word]) -> tuple[str, ...]:
    """Return the key of a phrase: a single word is compared folded, several words by stems."""
    if len(words) == 1:
        return (words[0].folded,)
    return tuple(word.stem for word in words)


def _split_cell(cell: str) -> list[str]:
    """Return the parts of a cell between commas that are not blank."""
    parts = [part.strip() for part in cell.split(",")]
    return [part for part in parts if part]


@functools.cache
def load_vocabulary() -> Vocabulary:
    """Return the vocabulary, which is read only once."""
    return Vocabulary()
