"""Mark the words that differ between the answers of two versions, or in a row that changed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from askrows.pipeline.store.answers import PERSON
from askrows.web.render import join_value_texts

# Longer texts are compared as a whole, because the time grows with the square of the length.
MAX_COMPARED_WORDS = 4_000
# A comparison needs so many versions.
COMPARED_VERSIONS = 2
# Unchanged words that are shown beside a changed word.
CONTEXT_WORDS = 6
_DELETED = Markup("<del>{}</del>")
_INSERTED = Markup("<ins>{}</ins>")
_WORD = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")


class FieldDifference(NamedTuple):
    """A field with its values in two answers as HTML, in which the differences are marked."""

    name: str
    first: Markup
    second: Markup
    is_same: bool


class VersionComparison(NamedTuple):
    """The newest answers of two versions to a row, field by field."""

    # All versions with an answer to the row, by the time of their newest answer.
    versions: Sequence[str]
    first_version: str
    second_version: str
    fields: Sequence[FieldDifference]


def compare_row_answers(
    answers: Sequence[Mapping[str, Any]],
    first_version: str,
    second_version: str,
) -> VersionComparison | None:
    """Compare the newest answers of two versions to a row, field by field.

    Forgotten answers and undone corrections do not count. The result is None if fewer than two
    versions answered the row. A version that did not answer the row is replaced: `first_version` by
    the version with the second newest answer, `second_version` by the version with the newest
    answer. So both can become the same version. A field that an answer lacks counts as None there.

    Args:
        answers: The answers to the row with `version`, `answer`, `applied` and `forgotten`,
            oldest first.
    """
    newest_answers: dict[str, Any] = {}
    for answer in answers:
        is_undone = answer["version"] == PERSON and not answer["applied"]
        if not answer["forgotten"] and not is_undone:
            newest_answers.pop(answer["version"], None)
            newest_answers[answer["version"]] = answer["answer"]
    versions = list(newest_answers)
    if len(versions) < COMPARED_VERSIONS:
        return None

    if first_version not in newest_answers:
        first_version = versions[-2]
    if second_version not in newest_answers:
        second_version = versions[-1]
    first_answer = newest_answers[first_version]
    second_answer = newest_answers[second_version]
    differences = [
        FieldDifference(
            name,
            *_mark_differences(first_answer.get(name), second_answer.get(name)),
            first_answer.get(name) == second_answer.get(name),
        )
        for name in {**first_answer, **second_answer}
    ]
    return VersionComparison(versions, first_version, second_version, differences)


def _mark_differences(first: Any, second: Any) -> tuple[Markup, Markup]:
    """Return two values as HTML; the words of only one of them are in del or ins elements."""
    first_html = Markup()
    second_html = Markup()
    for first_words, second_words in _align_words(first, second):
        if first_words == second_words:
            first_html += escape("".join(first_words))
            second_html += escape("".join(second_words))
        else:
            first_html += _DELETED.format("".join(first_words))
            second_html += _INSERTED.format("".join(second_words))
    return first_html, second_html


def mark_change(old: Any, new: Any) -> Markup:
    """Return a changed value as HTML: old words in del, then new words in ins elements.

    An arrow is between old and new words. Of more than 2 * CONTEXT_WORDS unchanged words in
    sequence, only the first and the last CONTEXT_WORDS are included.
    """
    html = Markup()
    for old_words, new_words in _align_words(old, new):
        if old_words == new_words:
            if len(old_words) > 2 * CONTEXT_WORDS:
                old_words[CONTEXT_WORDS:-CONTEXT_WORDS] = [" …"]
            html += escape("".join(old_words))
            continue
        marked_words = []
        if old_words:
            marked_words.append(_DELETED.format("".join(old_words)))
        if new_words:
            marked_words.append(_INSERTED.format("".join(new_words)))
        html += Markup(" → ").join(marked_words)
    return html


def _align_words(first: Any, second: Any) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the words of two values from begin to end, as pairs of equal or different words.

    If a value has more than MAX_COMPARED_WORDS words, each value is compared as a single word.
    """
    first_words = _WORD.findall(join_value_texts(first))
    second_words = _WORD.findall(join_value_texts(second))
    if max(len(first_words), len(second_words)) > MAX_COMPARED_WORDS:
        first_words = ["".join(first_words)]
        second_words = ["".join(second_words)]
    matcher = SequenceMatcher(None, first_words, second_words, autojunk=False)
    for _, first_start, first_end, second_start, second_end in matcher.get_opcodes():
        yield first_words[first_start:first_end], second_words[second_start:second_end]
