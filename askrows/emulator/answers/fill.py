"""Fill any schema from a text, with no model and no reasoning.

- Values are taken from the text: similar choices, sentences, key phrases, numbers and dates. Tags
  are the subjects of the text, see `terms`.
- Equal questions get equal answers.
- If the text has no value, the value is null if the schema allows it, else a fixed one.
- Images are not seen. Lists about them are empty.

A section is a part of the prompt in tags, such as `<text>…</text>`.
"""

import datetime as dt
import itertools
import re
from contextlib import suppress
from typing import Any

from askrows.emulator.answers.encoder import measure_similarity
from askrows.emulator.answers.terms import find_terms_and_broader_terms
from askrows.emulator.answers.text import (
    Phrase,
    choose_main_section,
    find_key_phrases,
    find_tagged_sections,
)
from askrows.emulator.schema import SchemaNode

# Most entries of a list if the schema has no bound.
DEFAULT_MAX_ENTRIES = 3
# What is said about images.
IMAGE_TEXT = "Not seen by the local engine: an image."
_MAX_TEXT_CHARS = 200
# Likeness from which a text says what a boolean asks for.
_MIN_LIKENESS = 0.55
# Words in a name or a description that ask for a sentence of the text.
_SENTENCE_HINT = re.compile(
    r"\b(?:quot(?:e|es|ed|ations?)|evidence|excerpts?|verbatim|snippets?|citations?|proof"
    r"|cop(?:y|ied)|word for word|summary|reason(?:ing)?|explanation|rationale|description"
    r"|comment|note|sentence|answer)\b",
    re.IGNORECASE,
)
# The section that a quotation is copied from, in a description.
_QUOTED_SECTION = re.compile(r"\bcopied from <(\w+)>, word for word")
# Values of the formats of a text if the text has no value.
PLACEHOLDERS_BY_FORMAT = {
    "date": "1970-01-01",
    "date-time": "1970-01-01T00:00:00Z",
    "time": "00:00:00",
    "duration": "PT0S",
}
# A choice may be explained in the description: "billing: invoices; delivery: parcels".
_EXPLANATION = re.compile(r"([^;:.\n]+): ([^;.\n]+)")
# A number that is no part of a word, a date or a longer number.
_NUMBER = re.compile(r"(?<![\w.,-])-?\d{1,15}(?:\.\d{1,15})?(?![\w.,-]*\d)")
_DATE = re.compile(r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)")


class ValueFiller:
    """The values of one answer; the texts of an answer are different phrases if possible."""

    def __init__(self, prompt: str, *, has_images: bool) -> None:
        """Choose the text that values are taken from; see `choose_main_section`.

        A prompt without sections is ignored if there are images.
        """
        self._sections = find_tagged_sections(prompt)
        self._section_name = choose_main_section(self._sections)
        self._text = self._sections[self._section_name]
        self._phrases: list[Phrase] = []
        if has_images and not self._section_name:
            self._text = IMAGE_TEXT
        else:
            self._phrases = find_key_phrases(self._text)
        self._next_phrases = itertools.cycle(self._phrases)

    def fill(self, node: SchemaNode, phrase: Phrase | None = None) -> Any:
        """Return a value for a schema.

        If no value is found in the text, the result is None if the schema is nullable, else
        `get_fallback_value`. If the text is blank, every nullable schema gets None. Of alternatives
        (`anyOf`), the first is filled. An object is filled member by member.

        Args:
            phrase: Phrase that the value is about; None for the whole text.
        """
        if node.nullable and not self._text.strip():
            return None
        if node.options:
            return self.fill(node.options[0], phrase)
        if node.kind == "OBJECT":
            return {name: self.fill(member, phrase) for name, member in node.members}
        if node.kind == "ARRAY":
            return self._fill_list(node, phrase)

        value = self._find_scalar_value(node, phrase)
        if value is None and not node.nullable:
            return get_fallback_value(node)
        return value

    def _fill_list(self, node: SchemaNode, phrase: Phrase | None) -> list[Any]:
        """Return the entries of a list: different values for the first phrases of the text.

        Free texts are the subjects of the text if it has any. There are at most half as many
        entries as the schema allows, or DEFAULT_MAX_ENTRIES without a maximum, but at least as many
        as it demands. A list about a phrase has no more entries than the schema demands. If there
        are too few different entries, more are appended: unused choices of the schema, then entries
        that may be equal.
        """
        item_node = node.items or node
        max_entries = DEFAULT_MAX_ENTRIES if node.max_size is None else (node.max_size + 1) // 2
        phrases = self._phrases
        if phrases and phrase is None and accepts_any_phrase(item_node):
            subjects = find_terms_and_broader_terms(self._text)
            phrases = [Phrase(subject, subject) for subject in subjects] or phrases
        phrases = phrases[: max(max_entries, node.min_size)]
        if phrase is not None:
            phrases = [phrase] * node.min_size

        entries: list[Any] = []
        for entry_phrase in phrases:
            entry = self.fill(item_node, entry_phrase)
            if entry not in entries:
                entries.append(entry)

        unused_choices = [choice for choice in item_node.choices if choice not in entries]
        entries += unused_choices[: max(0, node.min_size - len(entries))]
        while len(entries) < node.min_size:
            entries.append(self.fill(item_node, phrase))
        return entries

    def _find_scalar_value(self, node: SchemaNode, phrase: Phrase | None) -> Any:
        """Return the value of a scalar; None if the text has no number or date that fits.

        A boolean is true if the name is similar to the text. A time or duration is always None.
        """
        text = phrase.sentence if phrase else self._text
        if node.choices:
            return find_most_similar_choice(node, text)
        if node.kind in ("INTEGER", "NUMBER"):
            return find_number_within_bounds(node, text)
        if node.kind == "BOOLEAN":
            return measure_similarity(node.name, text) >= _MIN_LIKENESS
        if node.format in PLACEHOLDERS_BY_FORMAT:
            return find_date(node, text) if "date" in node.format else None
        return self._take_phrase_or_sentence(node, phrase)

    def _take_phrase_or_sentence(self, node: SchemaNode, phrase: Phrase | None) -> str:
        """Return a phrase, or its sentence if the name or the description asks for a sentence.

        Without `phrase`, the phrases of the text are used in turn. If there is no phrase, the text
        is taken from its beginning.

        If the description names another section, the sentence is of that section. A sentence is
        continued if the schema demands more characters, and only at the end of the text by dots.
        """
        text = self._text
        source = _QUOTED_SECTION.search(node.description)
        if source is not None and source[1] != self._section_name:
            text = self._sections.get(source[1], "")
            phrase = next(iter(find_key_phrases(text)), None)
        elif phrase is None:
            phrase = next(self._next_phrases, None)

        if phrase is not None and not _SENTENCE_HINT.search(node.label):
            return fit_length(node, phrase.text)
        start = text.find(phrase.sentence) if phrase else 0
        size = len(phrase.sentence) if phrase else _MAX_TEXT_CHARS
        return fit_length(node, text[start : start + max(size, node.min_size)])


def accepts_any_phrase(node: SchemaNode) -> bool:
    """Return whether a schema allows any text, and does not ask for a sentence or a date."""
    is_free_text = node.kind == "STRING" and not node.choices and not node.format
    return is_free_text and not _SENTENCE_HINT.search(node.label)


def find_most_similar_choice(node: SchemaNode, text: str) -> Any:
    """Return the choice of a schema whose words and explanation are most similar to a text."""
    explanations = {
        name.strip(" -"): explanation
        for name, explanation in _EXPLANATION.findall(node.description)
    }
    return max(
        node.choices,
        key=lambda choice: max(
            measure_similarity(choice.replace("_", " "), text),
            measure_similarity(explanations.get(choice, ""), text),
        ),
    )


def find_number_within_bounds(node: SchemaNode, text: str) -> float | None:
    """Return the first number of a text within the bounds of a schema, an int if it is whole.

    For an INTEGER only whole numbers count. Returns None if the text has no such number.
    """
    for match in _NUMBER.finditer(text):
        number = float(match[0])
        is_right_kind = node.kind == "NUMBER" or number.is_integer()
        if is_right_kind and node.minimum <= number <= node.maximum:
            return int(number) if number.is_integer() else number
    return None


def find_date(node: SchemaNode, text: str) -> str | None:
    """Return the first date such as 2024-05-01, as midnight UTC if the format is "date-time"."""
    for match in _DATE.finditer(text):
        # The calendar may have no such date.
        with suppress(ValueError):
            date = dt.date.fromisoformat(match[0]).isoformat()
            return f"{date}T00:00:00Z" if node.format == "date-time" else date
    return None


def fit_length(node: SchemaNode, text: str) -> str:
    """Return a text with a length that the schema allows: cut, or followed by dots."""
    return text[: node.max_size].ljust(node.min_size, ".")


def get_fallback_value(node: SchemaNode) -> Any:
    """Return the value for a number or a formatted text if the text has none.

    It is the number nearest to 1 within the bounds, or the earliest date or time.
    """
    if node.kind == "STRING":
        return PLACEHOLDERS_BY_FORMAT[node.format]
    return min(max(1, node.minimum), node.maximum)
