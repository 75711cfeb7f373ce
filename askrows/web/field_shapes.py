"""Edit a field of an answer in the shape of its type.

A form sends a text for each leaf of a value, under a dotted path: `value.0.verdict` is the verdict
of the first object in a list. The texts of a value (`Texts`) form a tree: a leaf is a text, an
object is a dict by member name, and a list is a dict by index. They are kept as typed, so that a
refused form can be displayed again.
"""

import json
from collections.abc import Mapping
from typing import Any

from askrows.pipeline.core.answer_fields import AnswerField
from askrows.pipeline.core.quotes import is_quotation

# Texts by path member, or the text of a leaf.
Texts = Any

# Name of the form field, or the first member of its path.
ROOT_NAME = "value"
CHECKED_TEXT = "true"


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


def make_empty_texts(field: AnswerField) -> Texts:
    """Return the texts of a new value."""
    return to_texts(field, None)


def nest_form_texts(form: Mapping[str, str]) -> Texts:
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


def parse_texts(field: AnswerField, texts: Texts) -> Any:
    """Return the value of the texts of a form; nothing is validated.

    Elements of a list without any text are left out. A checkbox is true if its text is
    CHECKED_TEXT. Any other text is read as `AnswerField.parse` says.

    Args:
        field: The field, or the part of it.
        texts: The tree of its texts.
    """
    if field.kind == "list":
        lines = texts
        if not isinstance(texts, dict):
            lines = {"0": texts}
        return [parse_texts(field.parts[0], line) for line in lines.values() if _has_text(line)]
    if field.kind == "object":
        branch: dict[str, Texts] = {}
        if isinstance(texts, dict):
            branch = texts
        return {
            member.name: parse_texts(member, branch.get(member.name, "")) for member in field.parts
        }

    text = ""
    if isinstance(texts, str):
        text = texts
    if find_input_kind(field) == "checkbox":
        return text == CHECKED_TEXT
    return field.parse_typed_text_or_keep(text)


def _has_text(texts: Texts) -> bool:
    if isinstance(texts, dict):
        return any(map(_has_text, texts.values()))
    return bool(texts.strip())
