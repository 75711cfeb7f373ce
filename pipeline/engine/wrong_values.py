"""Name values of a corrected answer or a condition that their closed field does not allow."""

import json
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.answer_fields import AnswerField, Option
from pipeline.core.text import join_first, suggest_similar
from pipeline.core.where_parser import iterate_comparisons, parse_where
from pipeline.gemini.closed_fields import find_closed, read_closed_fields

if TYPE_CHECKING:
    from pydantic import BaseModel

# Longer lists of allowed values are shortened to the nearest ones.
MAX_LISTED_VALUES = 6
NEAREST_VALUES = 3
# How a condition names a field whose name is also the name of a column.
_FIELD_PREFIX = "answer."


class WrongValue(NamedTuple):
    """A value that a field, or a member of its list, may not have."""

    field: str
    # Names the value and the allowed values.
    message: str
    # The field's value with the nearest allowed values in the place of wrong ones.
    corrected_value: Any


def find_wrong_value(
    answer_model: "type[BaseModel]",
    reason: str,
    answer: dict[str, Any],
) -> WrongValue | None:
    """Return the field that makes an answer invalid, a message and a corrected field value.

    The message names the wrong value, which of a list is a single member. In the corrected value,
    each value that is not allowed is replaced by the most similar allowed one. A corrected list has
    no repeats.

    Args:
        reason: Why the answer is invalid: a path such as `products.1`, a colon and a message.
        answer: The invalid answer.

    Returns:
        None if the reason is not about a value of the answer, if the field has no list of allowed
        values, or if the value is allowed, so that another rule made the answer invalid.
    """
    field_name, *member_path = reason.partition(":")[0].split(".")
    field = read_closed_fields(answer_model).get(field_name)
    if field is None or not field.options or field_name not in answer:
        return None

    value = answer[field_name]
    subject = field_name
    wrong_value = value
    if field.kind == "members":
        if not isinstance(value, list) or not member_path or not member_path[0].isdigit():
            return None
        subject = f"a member of {field_name}"
        wrong_value = value[int(member_path[0])]

    options = list(field.options.values())
    # A schema for Gemini has numbers as texts.
    allowed_texts = {_to_text(option.value) for option in options}
    # Another fault, such as one of the task's own check.
    if _to_text(wrong_value) in allowed_texts:
        return None

    nearest_options = _sort_by_likeness(options, wrong_value)
    corrected_value: Any = nearest_options[0].value
    if field.kind == "members":
        corrected_value = []
        for member in value:
            allowed_member = member
            if _to_text(member) not in allowed_texts:
                allowed_member = _sort_by_likeness(options, member)[0].value
            if allowed_member not in corrected_value:
                corrected_value.append(allowed_member)

    allowed_text = _join_values(options)
    if len(options) > MAX_LISTED_VALUES:
        nearest_text = _join_values(nearest_options[:NEAREST_VALUES])
        allowed_text = f"one of {len(options)} values, such as {nearest_text}"
    message = f"{subject} must be {allowed_text}, not {_quote(_to_text(wrong_value))}"
    return WrongValue(field_name, message, corrected_value)


def describe_unknown_choice(
    answer_fields: Iterable[AnswerField],
    condition: str,
    *,
    columns: Collection[str],
) -> str:
    """Return a sentence if a condition compares a closed field with a text that is no choice.

    The sentence suggests the most similar choice, or lists the first choices. Only `=` and IN are
    looked at, and case makes no difference.

    Args:
        answer_fields: The fields of an answer.
        condition: A valid WHERE= text.
        columns: Columns of the rows, which hide fields of the same name.

    Returns:
        A sentence about the first such text; "" if there is none.
    """
    closed_fields = find_closed(answer_fields)
    for comparison in iterate_comparisons(parse_where(condition)):
        field = closed_fields.get(comparison.column.removeprefix(_FIELD_PREFIX))
        if field is None or comparison.operator != "=" or comparison.column in columns:
            continue

        choices = [option.text for option in field.options.values() if option.value is not None]
        folded_choices = set(map(str.casefold, choices))
        for operand in comparison.values:
            if choices and isinstance(operand, str) and operand.casefold() not in folded_choices:
                listed_choices = f"its choices are {join_first(choices, MAX_LISTED_VALUES)}"
                suggestion = suggest_similar(operand, choices, is_quoted=True) or listed_choices
                return f"{operand!r} is not a choice of {field.name}; {suggestion}"
    return ""


def _sort_by_likeness(options: Sequence[Option], value: Any) -> list[Option]:
    """Return allowed values, most similar to a value first; a missing value is left out."""
    options_by_text = {
        option.text.casefold(): option for option in options if option.value is not None
    }
    similar_texts = get_close_matches(
        _to_text(value).casefold(), options_by_text, n=len(options_by_text), cutoff=0
    )
    return [options_by_text[similar_text] for similar_text in similar_texts]


def _join_values(options: Sequence[Option]) -> str:
    """Return values as `'a', 'b' or 'c'`."""
    texts = [_quote(_to_text(option.value)) for option in options]
    *first_texts, last_text = texts
    if not first_texts:
        return last_text
    return f"{', '.join(first_texts)} or {last_text}"


def _to_text(value: Any) -> str:
    """Return a value as it is typed; None is an empty text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _quote(text: str) -> str:
    """Return a text in quotation marks, but a number or boolean as it is."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return repr(text)
    return text
