"""Compare two answers field by field, and mark the words and list members that differ."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

from web.render import summarize_value

# Longer texts are compared as a whole, because the time grows with the square of the length.
MAX_COMPARED_TOKENS = 4_000
_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")


class TextPart(NamedTuple):
    """A part of a value."""

    text: str
    # A removed part is only in the first answer, an added part only in the second.
    kind: Literal["same", "removed", "added"]


class FieldDifference(NamedTuple):
    """A field with its values in two answers."""

    name: str
    first: Sequence[TextPart]
    second: Sequence[TextPart]
    is_same: bool


class VersionComparison(NamedTuple):
    """The newest answers of two versions to a row, field by field."""

    # All versions with an answer to the row, by the time of their newest answer.
    versions: Sequence[str]
    first_version: str
    second_version: str
    fields: Sequence[FieldDifference]


def compare_versions(
    answers: Sequence[Mapping[str, Any]],
    first_version: str,
    second_version: str,
) -> VersionComparison | None:
    """Compare the newest answers of two versions to a row, field by field.

    Forgotten answers do not count. The result is None if fewer than two versions answered the row.
    A version that did not answer the row is replaced: `first_version` by the version with the
    second newest answer, `second_version` by the version with the newest answer. So both can become
    the same version.

    Args:
        answers: The answers to the row with `extractor`, `answer` and `forgotten`, oldest first.
    """
    newest_answers: dict[str, Any] = {}
    for answer in answers:
        if not answer["forgotten"]:
            newest_answers.pop(answer["extractor"], None)
            newest_answers[answer["extractor"]] = answer["answer"]
    versions = list(newest_answers)
    if len(versions) < len(("first", "second")):
        return None

    if first_version not in newest_answers:
        first_version = versions[-2]
    if second_version not in newest_answers:
        second_version = versions[-1]
    return VersionComparison(
        versions,
        first_version,
        second_version,
        compare_answers(newest_answers[first_version], newest_answers[second_version]),
    )


def compare_answers(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
) -> list[FieldDifference]:
    """Return each field of two answers with the parts of both values, and whether these are equal.

    The fields of the first answer come first. A field that an answer lacks counts as None there.
    """
    differences = []
    for name in dict.fromkeys([*first, *second]):
        first_value = first.get(name)
        second_value = second.get(name)
        first_parts, second_parts = _compare_values(first_value, second_value)
        differences.append(
            FieldDifference(name, first_parts, second_parts, first_value == second_value),
        )
    return differences


def _compare_values(first: Any, second: Any) -> tuple[list[TextPart], list[TextPart]]:
    """Return the parts of the first and of the second value, in order, with their kinds.

    The kind is "same", "removed" (only in the first) or "added" (only in the second). The compared
    parts are the members of two lists, or the words of other values. If a value has over
    MAX_COMPARED_TOKENS members or words, each value is compared as a single part.
    """
    if isinstance(first, list) and isinstance(second, list):
        first_tokens = _split_list(first)
        second_tokens = _split_list(second)
    else:
        first_tokens = _TOKEN.findall(summarize_value(first))
        second_tokens = _TOKEN.findall(summarize_value(second))
    if max(len(first_tokens), len(second_tokens)) > MAX_COMPARED_TOKENS:
        first_tokens = ["".join(first_tokens)]
        second_tokens = ["".join(second_tokens)]

    first_parts = []
    second_parts = []
    matcher = SequenceMatcher(None, first_tokens, second_tokens, autojunk=False)
    for tag, first_start, first_end, second_start, second_end in matcher.get_opcodes():
        first_text = "".join(first_tokens[first_start:first_end])
        second_text = "".join(second_tokens[second_start:second_end])
        if first_text:
            first_parts.append(TextPart(first_text, "same" if tag == "equal" else "removed"))
        if second_text:
            second_parts.append(TextPart(second_text, "same" if tag == "equal" else "added"))
    return first_parts, second_parts


def _split_list(members: Sequence[Any]) -> list[str]:
    """Return the members of a list as texts, each on a line of its own."""
    return [f"{summarize_value(member)}\n" for member in members] or ["nothing"]
