"""Fill any schema from a text, with no model and no reasoning.

- Values are taken from the text: similar choices, quotations, key phrases, numbers and dates.
- Equal questions get equal answers.
- If the text has no value, the value is null if the schema allows it, else the smallest allowed.
- Images are described by their features. A list about their content has only colours, or is empty.

A section is a part of the prompt in tags, such as `<text>…</text>`. An option is an alternative of
`anyOf` in the schema, and a candidate is a value that the text offers.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from emulator.answers import values
from emulator.answers.concepts import extract_concepts
from emulator.answers.text import find_sentence_spans, find_tagged_sections
from emulator.media import ImageFeatures, describe_image
from emulator.schema import SchemaNode

# Most entries of a list if the schema has no bound.
DEFAULT_MAX_ENTRIES = 3
# Characters of a text that is a phrase, and of a text that is a sentence.
_MAX_PHRASE_CHARS = 60
_MAX_SENTENCE_CHARS = 440
_MAX_PHRASES = 24
# Words in a name that ask for sentences.
_SENTENCE_HINT = re.compile(
    r"\b(?:summary|reason(?:ing)?|explanation|rationale|justification|description|comment|note"
    r"|gist|abstract|overview|sentence|answer|advice)\b",
    re.IGNORECASE,
)
# Words in a name or a description that ask for the colours of an image.
_COLOUR_HINT = re.compile(r"\b(?:colou?rs?|palettes?|hues?|tags?|keywords?)\b", re.IGNORECASE)
# Name of the section with the description of the images.
_IMAGE_SECTION = "image"


class ValueFiller:
    """The values of one answer. A value that was used is not preferred again."""

    def __init__(self, prompt: str, images: Sequence[ImageFeatures | None]) -> None:
        """Choose the text that values are taken from.

        It is the section `text`, else the longest section; blank sections do not count, and
        sections are cut after MAX_SECTION_CHARS characters. A prompt without sections is the text
        itself, or is ignored if there are images. The description of the images is the text if no
        section is left.

        Args:
            prompt: Its sections are read if it has any.
            images: Measures of the images of the prompt; None for a medium that was not opened.
        """
        self._image_description = " ".join(map(describe_image, images))
        self._image_colours = list(
            chain.from_iterable(image.colours for image in images if image),
        )

        sections = find_tagged_sections(prompt)
        if not sections and not images:
            sections = [("", prompt)]
        sections = [
            (name, content[: values.MAX_SECTION_CHARS])
            for name, content in sections
            if content.strip()
        ]
        if not sections:
            sections = [(_IMAGE_SECTION, self._image_description)]

        main_section = max(sections, key=lambda section: (section[0] == "text", len(section[1])))
        self._is_about_image = main_section[0] == _IMAGE_SECTION
        self._text_name = main_section[0]
        self._text = main_section[1]
        self._has_text = bool(self._text.strip())
        self._other_sections = [section for section in sections if section != main_section]
        self._used_values: set[str] = set()

    @functools.cached_property
    def _sentences(self) -> list[str]:
        return list(
            dict.fromkeys(self._text[start:end] for start, end in find_sentence_spans(self._text)),
        )

    @functools.cached_property
    def _phrases(self) -> list[str]:
        return [concept["name"] for concept in extract_concepts(self._text, max_count=_MAX_PHRASES)]

    @functools.cached_property
    def _ranked_sentences(self) -> list[str]:
        """Sentences with many important phrases first."""
        lower_phrases = [phrase.lower() for phrase in self._phrases]

        def weigh_sentence(sentence: str) -> float:
            lower_sentence = sentence.lower()
            return sum(
                1 / (2 + rank)
                for rank, phrase in enumerate(lower_phrases)
                if phrase in lower_sentence
            )

        return sorted(self._sentences, key=weigh_sentence, reverse=True)

    def fill(self, node: SchemaNode, sentence: str = "") -> Any:
        """Return the best value for a schema.

        A value that is found in the text is recorded as used, so that later calls prefer other
        values. If no value is found, the result is None if the schema is nullable, else that of
        `get_fallback_value`, such as the first choice. An object is filled member by member.

        Args:
            sentence: Sentence that the value is about; empty for the whole text.
        """
        if node.nullable and not self._has_text:
            return None
        if node.options:
            return self._fill_option(node, sentence)
        if node.kind == "OBJECT":
            return {name: self.fill(member, sentence) for name, member in node.members}
        if node.kind == "ARRAY":
            return self._fill_list(node, sentence)

        is_searched = self._has_text and node.format not in values.PLACEHOLDERS_BY_FORMAT
        candidates = self._find_candidates(node, sentence) if is_searched else []
        if candidates:
            self._used_values.add(str(candidates[0]))
            return candidates[0]
        return None if node.nullable else values.get_fallback_value(node)

    def _fill_option(self, node: SchemaNode, sentence: str) -> Any:
        """Return the value for a union (`anyOf`): that of the first alternative with a candidate.

        If there is an alternative of the kind NUMBER, alternatives that are texts are skipped,
        because anything would fit them. If the text has no candidate for any alternative, the value
        is None if null is allowed, else a fallback value for the first alternative.

        Args:
            sentence: Sentence that the value is about; empty for the whole text.
        """
        has_number = any(option.kind == "NUMBER" for option in node.options)
        for option in node.options:
            if has_number and option.kind == "STRING":
                continue
            value = self.fill(replace(option, nullable=True), sentence)
            if value is not None:
                return value
        return None if node.nullable else self.fill(node.options[0], sentence)

    def _fill_list(self, node: SchemaNode, sentence: str) -> list[Any]:
        """Return the entries of a list: different entries from the text, at most the maximum.

        A schema without a maximum allows DEFAULT_MAX_ENTRIES, or as many as its minimum if that is
        larger. If the text has fewer entries than the minimum, more are appended: first choices of
        the schema that are not in the list, then values of `fill`, which may be equal or None.
        Entries from the text count as used.

        Args:
            sentence: Sentence that the list is about; empty for the whole text.
        """
        item_node = node.items or node
        max_entries = node.max_size
        if max_entries is None:
            max_entries = max(DEFAULT_MAX_ENTRIES, node.min_size)

        entries: list[Any] = []
        if self._has_text:
            for entry in self._iter_entries(item_node, sentence, max_entries):
                if len(entries) < max_entries and entry is not None and entry not in entries:
                    entries.append(entry)
                    self._used_values.add(str(entry))

        unused_choices = [choice for choice in item_node.choices if choice not in entries]
        entries += unused_choices[: max(0, node.min_size - len(entries))]
        while len(entries) < node.min_size:
            entries.append(self.fill(item_node, sentence))
        return entries

    def _iter_entries(
        self,
        item_node: SchemaNode,
        sentence: str,
        max_sentences: int,
    ) -> Iterator[Any]:
        """Yield candidates for the entries of a list.

        - Entries that are objects, lists or unions: a filled value for `sentence`. If `sentence` is
          empty, a filled value for each of the `max_sentences` most important sentences, in the
          order of the text.
        - Texts about an image: its colours if the schema asks for them, else nothing.
        - Other entries: all candidates of `_find_candidates`.
        """
        if item_node.options or item_node.kind in ("OBJECT", "ARRAY"):
            important_sentences = set(self._ranked_sentences[:max_sentences])
            sentences = [text for text in self._sentences if text in important_sentences]
            for entry_sentence in [sentence] if sentence else sentences:
                yield self.fill(item_node, entry_sentence)
        elif item_node.kind == "STRING" and self._is_about_image and not item_node.choices:
            if _COLOUR_HINT.search(item_node.label):
                for colour in self._image_colours:
                    yield values.fit_length(item_node, colour)
        else:
            yield from self._find_candidates(item_node, sentence, is_list=True)

    def _find_candidates(
        self,
        node: SchemaNode,
        sentence: str,
        *,
        is_list: bool = False,
    ) -> list[Any]:
        """Return values for a scalar schema, the best first.

        The kind of schema decides the search: choices, numbers, a boolean, dates, quotations or
        texts. The list may be empty.

        Args:
            node: Schema of a text, a number or a boolean.
            sentence: Sentence to search; empty for all sections.
            is_list: The values become entries of a list. Then only the choices that fit almost as
                well as the best are returned, numbers always include those that fit less well, and
                texts are key phrases instead of sentences.
        """
        other_texts = [content for _, content in self._other_sections]
        searched_text = sentence or "\n".join([self._text, *other_texts])
        if node.choices:
            return values.rank_choices(node, searched_text, only_near_best=is_list)

        if node.kind in ("INTEGER", "NUMBER"):
            return values.find_numbers(
                node,
                searched_text,
                has_fallback=is_list or not node.nullable,
            )

        if node.kind == "BOOLEAN":
            sentences = [sentence] if sentence else self._sentences[: values.MAX_COMPARED]
            return values.find_boolean(node, sentences)

        if values.is_date(node):
            dates = values.find_dates(sentence) or values.find_dates(searched_text)
            return [values.format_date(node, date) for date in dates]

        if values.is_quote(node):
            return self._find_quotes(node, sentence)
        return self._find_texts(node, sentence, is_list=is_list)

    def _find_quotes(self, node: SchemaNode, sentence: str) -> list[str]:
        """Return slices of the text: `sentence`, or all sentences, those not used yet first.

        If the description names another section, they are slices of that section instead.

        A slice longer than the schema allows is cut. A slice reaches past its sentence if the
        schema demands more characters. If the text ends before that, dots are appended; only then
        the result is no slice of the text.
        """
        text = self._text
        sentences = [sentence] if sentence else self._ranked_sentences
        source = values.QUOTED_SECTION.search(node.description)
        if source is not None and source[1] != self._text_name:
            text = dict(self._other_sections).get(source[1], "")
            sentences = [text[start:end] for start, end in find_sentence_spans(text)]

        quotes = []
        for quoted_sentence in self._unused_first(sentences):
            start = text.find(quoted_sentence)
            end = start + max(len(quoted_sentence), node.min_size)
            quote = text[start:end]
            quotes.append(values.fit_length(node, quote))
        return quotes

    def _find_texts(self, node: SchemaNode, sentence: str, *, is_list: bool) -> list[str]:
        """Return candidates for a text value: sections, then sentences or key phrases.

        The sections are those of the prompt whose tag is the name of the value. Sentences follow if
        the name asks for them, as "summary" does, and the value is not in a list; otherwise key
        phrases. Texts that were not used yet come first. Each text is cut to the length that the
        schema allows, or filled with dots.
        """
        section_name = node.name.replace(" ", "_")
        texts = [content for name, content in self._other_sections if name.lower() == section_name]
        if _SENTENCE_HINT.search(node.name) and not is_list:
            texts += self._unused_first(self._get_sentences(sentence))
            max_chars = _MAX_SENTENCE_CHARS
        else:
            texts += self._unused_first(self._get_phrases(sentence))
            max_chars = _MAX_PHRASE_CHARS
        return [values.fit_length(node, text.strip()[:max_chars]) for text in texts]

    def _get_sentences(self, sentence: str) -> list[str]:
        """Return the description of the images, else `sentence`, else all sentences."""
        if self._image_description:
            return [self._image_description]
        return [sentence] if sentence else self._ranked_sentences

    def _get_phrases(self, sentence: str) -> list[str]:
        """Return the key phrases in `sentence` or in the text, else the sentence or the text."""
        phrases = self._phrases
        if sentence:
            lower_sentence = sentence.lower()
            phrases = [phrase for phrase in phrases if phrase.lower() in lower_sentence]
        return phrases or [sentence or self._text]

    def _unused_first(self, texts: Sequence[str]) -> list[str]:
        return sorted(texts, key=lambda text: text in self._used_values)
