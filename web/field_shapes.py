"""Edit a field of an answer in the shape of its type.

A form sends a text for each leaf of a value, under a dotted path: `value.0.verdict` is the verdict
of the first object in a list. The texts of a value (`Texts`) form a tree: a leaf is a text, an
object is a dict by member name, and a list is a dict by index. They are kept as typed, so that a
refused form can be displayed again.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.core.answer_fields import AnswerField
from pipeline.core.errors import InputError
from pipeline.core.quotes import is_quotation

# Texts by path member, or the text of a leaf.
Texts = Any

# Name of the form field, or the first member of its path.
ROOT_NAME = "value"
CHECKED_TEXT = "true"
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")
# Pydantic's messages that name Python's types or its steps, with plain words.
_PLAIN_MESSAGES = (
    (
        re.compile(r"^(?:String|List) should have at (least|most) (\d+) items? .*"),
        r"at \1 \2 lines",
    ),
    (re.compile(r"^String should have at (least|most) (\d+) character.*"), r"at \1 \2 characters"),
    (re.compile(r"^Input should be (.*)"), r"it must be \1"),
    (re.compile(r"^Value error, (.*)"), r"\1"),
    (re.compile(r"^(?:Assertion failed), (.*)"), r"\1"),
)
_FAULT_PATH = re.compile(r"^[\w.]+: ")


def find_input_kind(field: AnswerField) -> str:
    """Return how a value is edited: a kind of a field, or "checkbox".

    A union of several types is edited as JSON. A boolean that may be null is a choice, because a
    checkbox cannot be empty.
    """
    if field.kind == "boolean":
        return "choice" if field.is_optional else "checkbox"
    if field.kind in {"null", "union"}:
        return "json"
    return field.kind


def to_texts(field: AnswerField, value: Any) -> Texts:
    """Return the texts of a value for a form: a text, or a dict of texts for a list or object.

    The keys of a dict are the indexes of the list ("0", "1", …), or the members of the object.
    Elements and members that are lists or objects are dicts, too. If the field is a list but the
    value is not, the list is empty. If the field is an object but the value is not, the texts of
    its members are empty.
    """
    if field.kind == "list":
        elements: list[Any] = []
        if isinstance(value, list):
            elements = value
        element_field = field.parts[0]
        return {str(index): to_texts(element_field, item) for index, item in enumerate(elements)}
    if field.kind == "object":
        members: Mapping[str, Any] = {}
        if isinstance(value, Mapping):
            members = value
        return {member.name: to_texts(member, members.get(member.name)) for member in field.parts}
    return _to_leaf_text(field, value)


def _to_leaf_text(field: AnswerField, value: Any) -> str:
    """Return the text of a value that has a single input in the form.

    - None is "".
    - If the input is "json", any other value is indented JSON.
    - Otherwise a text stays as it is, a quotation becomes its words, and any other value is JSON.
    """
    if value is None:
        return ""
    if find_input_kind(field) == "json":
        return json.dumps(value, ensure_ascii=False, indent=2)
    if field.kind == "quotation" and is_quotation(value):
        return str(value["quote"])
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def empty_texts(field: AnswerField) -> Texts:
    """Return the texts of a new value."""
    return to_texts(field, None)


def nest_texts(form: Mapping[str, str]) -> Texts:
    """Return the tree of texts of a form's value, in the order of the form.

    The value has the form fields `value`, if it is a leaf, or `value.0`, `value.0.name` and so on.
    Other form fields are ignored. If a form has both `value.a` and then `value.a.b`, the second is
    ignored. The tree is empty if the form has no field of the value.
    """
    root: dict[str, Texts] = {}
    for name, text in form.items():
        path = name.split(".")
        if path[0] != ROOT_NAME:
            continue
        branch = root
        for member in path[:-1]:
            next_branch = branch.setdefault(member, {})
            if not isinstance(next_branch, dict):
                break
            branch = next_branch
        else:
            branch[path[-1]] = text
    return root.get(ROOT_NAME, {})


def parse_texts(field: AnswerField, texts: Texts, path: str = ROOT_NAME) -> Any:
    """Return the value of the texts of a form.

    A blank text of an optional value is None. A blank text that is not optional is read like any
    other text, which is an error for example for a number. Elements of a list without any text are
    left out.

    Args:
        field: The field, or the part of it.
        texts: The tree of its texts.
        path: Dotted path of the value in the form.

    Raises:
        InputError: A text does not have the shape; its path is the error's `field`.
    """
    if field.kind == "list":
        return _parse_list(field, texts, path)
    if field.kind == "object":
        branch: dict[str, Texts] = {}
        if isinstance(texts, dict):
            branch = texts
        return {
            member.name: parse_texts(member, branch.get(member.name, ""), f"{path}.{member.name}")
            for member in field.parts
        }

    text = ""
    if isinstance(texts, str):
        text = texts
    if field.is_optional and not text.strip():
        return None
    return _LEAF_PARSERS[find_input_kind(field)](field, text, path)


def _parse_list(field: AnswerField, texts: Texts, path: str) -> list[Any]:
    """Return the elements of a list; empty lines are left out."""
    lines = texts
    if not isinstance(texts, dict):
        lines = {"0": texts}
    element_field = field.parts[0]
    return [
        parse_texts(element_field, line, f"{path}.{name}")
        for name, line in lines.items()
        if _has_text(line)
    ]


def _has_text(texts: Texts) -> bool:
    if isinstance(texts, dict):
        return any(map(_has_text, texts.values()))
    return bool(texts.strip())


def _parse_choice(field: AnswerField, text: str, path: str) -> Any:
    for choice in field.choices:
        if text in {choice, json.dumps(choice)}:
            return choice
    raise InputError("choose one of the list", field=path)


def _parse_number(field: AnswerField, text: str, path: str) -> int | float:
    """Return the number of a text; digits alone are an int.

    Raises:
        InputError: The text is not a finite number of the kind and within the bounds of the field.
    """
    text = text.strip()
    number: int | float = math.nan
    if _WHOLE_NUMBER.fullmatch(text):
        number = int(text)
    elif not field.is_whole:
        try:
            number = float(text)
        except ValueError:
            number = math.nan

    is_in_range = (
        math.isfinite(number)
        and (field.minimum is None or number >= field.minimum)
        and (field.maximum is None or number <= field.maximum)
    )
    if not is_in_range:
        raise InputError(_describe_number(field), field=path)
    return number


def _describe_number(field: AnswerField) -> str:
    """Return an instruction such as "type a whole number from 1 to 5"; bounds may be missing."""
    instruction = "type a number"
    if field.is_whole:
        instruction = "type a whole number"
    if field.minimum is not None and field.maximum is not None:
        return f"{instruction} from {field.minimum:g} to {field.maximum:g}"
    if field.minimum is not None:
        return f"{instruction} of at least {field.minimum:g}"
    if field.maximum is not None:
        return f"{instruction} of at most {field.maximum:g}"
    return instruction


def _parse_quotation(_field: AnswerField, text: str, path: str) -> str:
    if not text.strip():
        raise InputError("select the words in the text, or type them", field=path)
    return text


def _parse_json(_field: AnswerField, text: str, path: str) -> Any:
    try:
        return json.loads(text)
    # Deep brackets exceed the depth of the parser.
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is not valid JSON: {error}", field=path) from None


_LEAF_PARSERS: Mapping[str, Callable[[AnswerField, str, str], Any]] = {
    "checkbox": lambda _field, text, _path: text == CHECKED_TEXT,
    "choice": _parse_choice,
    "json": _parse_json,
    "number": _parse_number,
    "quotation": _parse_quotation,
    "text": lambda _field, text, _path: text,
}


def to_plain_reason(reason: str) -> str:
    """Return the reason why an answer is invalid without pydantic's terms and the field's path."""
    message = _FAULT_PATH.sub("", reason, count=1)
    for pattern, replacement in _PLAIN_MESSAGES:
        message = pattern.sub(replacement, message)
    return message
