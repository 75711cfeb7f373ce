"""The form of a question about the rows of a file: its fields, and the role of each column.

The texts of a form are kept as typed, so that a refused form can be displayed again. The form
names the parts of a field `PREFIX.name`, `PREFIX.kind`, `PREFIX.choices` and `PREFIX.description`,
and the role of the column with index N `role.N`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from askrows.pipeline.core.answer_fields import AnswerField, list_answer_fields
from askrows.pipeline.core.column_placeholders import (
    find_column_by_exact_or_folded_name,
    list_template_columns,
)
from askrows.pipeline.core.declaration import HASH_KEY, Declaration
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.quotes import QUOTE_FORMAT
from askrows.pipeline.tasks.task_template import (
    CHOICES_KIND,
    NULL_DESCRIPTION,
    RANGE_KIND,
    ColumnChoice,
    FieldDraft,
    check_and_normalize_field,
    parse_bounds,
)
from askrows.web.errors import to_line

# Kinds of fields with their labels.
KIND_LABELS = {
    "text": "Text",
    CHOICES_KIND: "A choice from a list",
    "quote": "Quotation from the text",
    "int": "Whole number",
    RANGE_KIND: "Whole number with bounds",
    "number": "Number",
    "bool": "Yes or no",
    "date": "Date",
    "list": "List of texts",
}
# The part of a form field that only one kind has, by kind.
KIND_PARTS = {CHOICES_KIND: "choices", RANGE_KIND: "bounds"}
# Kinds without such a part, by kind, type and format of a field.
_KINDS_BY_TYPE = {
    ("text", "string", ""): "text",
    ("quotation", "string", QUOTE_FORMAT): "quote",
    ("number", "integer", ""): "int",
    ("number", "number", ""): "number",
    ("boolean", "boolean", ""): "bool",
    ("text", "string", "date"): "date",
}
_PLAIN_TEXT = AnswerField(kind="text", json_type="string")
KEY_ROLE = "key"
TEXT_ROLE = "text"
SENT_ROLE = "sent"
UNSENT_ROLE = "unsent"
# Roles of columns with their labels.
ROLE_LABELS = {
    KEY_ROLE: "Name of the row",
    TEXT_ROLE: "Text to ask about, sent",
    SENT_ROLE: "Sent with the text",
    UNSENT_ROLE: "Not sent",
}
# The first field, and its name if a person gives it none.
FIRST_PREFIX = "field0"
DEFAULT_FIELD_NAME = "answer"
_FIELD_PART = re.compile(r"(\w+)\.(name|kind|choices|bounds|description)")
# Characters of a heading that are not in the name of a field.
_NOT_IN_NAME = re.compile(r"\W+")
_SETTING_PREFIX = "FIELDS: "
_UNCHANGED_SUFFIX = "; nothing was asked"


@dataclass(frozen=True)
class TypedField:
    """The texts of a field as they were typed."""

    # Prefix of the names of its form fields.
    prefix: str
    name: str = ""
    kind: str = "text"
    # One choice per line, or with commas.
    choices: str = ""
    # Lowest and highest number, such as `1-5`.
    bounds: str = ""
    description: str = ""


@dataclass
class QuestionForm:
    """A question as it was typed, with the messages about its parts."""

    question: str = ""
    fields: list[TypedField] = field(default_factory=lambda: [TypedField(FIRST_PREFIX)])
    # Role of each column; empty before the columns are known.
    roles: dict[str, str] = field(default_factory=dict)
    # Message by the control that it belongs to: "question", "roles", "name" or a field's prefix.
    messages: dict[str, str] = field(default_factory=dict)


def make_question_form(declaration: Declaration[Any], columns: Collection[str]) -> QuestionForm:
    """Return the form for a new task, filled with the question, fields and columns of a task.

    The question is the system instruction, or the prompt if there is none. The text is the column
    for quotations, or else the last sent column. A key of several columns is left out.

    Args:
        declaration: The declaration of the task.
        columns: The columns of its rows.

    Raises:
        InputError: The form has no kind for a field of the answer.
    """
    answer_model: type[BaseModel] = declaration.answer
    typed_fields = [
        _make_typed_field(f"field{index}", answer_field)
        for index, answer_field in enumerate(list_answer_fields(answer_model))
    ]

    key_columns = [find_column_by_exact_or_folded_name(name, columns) for name in declaration.keys]
    sent_names = [*list_template_columns(declaration.prompt), *declaration.images]
    # The text is last.
    if declaration.quotes_in:
        sent_names.append(declaration.quotes_in)
    sent_columns = [find_column_by_exact_or_folded_name(name, columns) for name in sent_names]
    roles = assign_roles(
        columns,
        key=key_columns[0] if len(key_columns) == 1 else None,
        sent=[column for column in sent_columns if column is not None],
    )
    return QuestionForm(
        declaration.system.strip() or declaration.prompt.strip(), typed_fields, roles
    )


def _make_typed_field(prefix: str, field: AnswerField) -> TypedField:
    """Return a field of an answer as texts for the form; a value that may be null is allowed.

    The name gets blanks for underscores, and the description loses its note about null.

    Args:
        prefix: Prefix of the names of its form fields.
        field: The field.

    Raises:
        InputError: The form has no kind for the field, such as a number with only one bound.
    """
    description = field.description.removesuffix(NULL_DESCRIPTION)
    heading = field.name.replace("_", " ")
    typed_field = TypedField(prefix, heading, description=description.removesuffix(". "))
    if field.limits:
        raise _unknown_kind_error(field)
    if field.kind == "choice" and field.json_type == "string" and len(field.choices) > 1:
        return replace(typed_field, kind=CHOICES_KIND, choices="\n".join(field.choices))
    if field.minimum is not None and field.maximum is not None:
        return replace(typed_field, kind=RANGE_KIND, bounds=f"{field.minimum}-{field.maximum}")

    kind = _KINDS_BY_TYPE.get((field.kind, field.json_type, field.format))
    if field.kind == "list" and field.parts[0] == _PLAIN_TEXT:
        kind = "list"
    has_bound = field.minimum is not None or field.maximum is not None
    if kind is None or has_bound or field.min_members or field.max_members is not None:
        raise _unknown_kind_error(field)
    return replace(typed_field, kind=kind)


def _unknown_kind_error(field: AnswerField) -> InputError:
    return InputError(f"the form for a new task has no kind for the field {field.name!r}")


def check_question(typed: QuestionForm) -> None:
    """Raise InputError if the question of a form has no letter or digit."""
    if not any(map(str.isalnum, typed.question)):
        raise InputError("write a question; it has no letter or digit", field="question")


def store_message(typed: QuestionForm, error: InputError) -> str:
    """Store the message of an error at its control; return it if it belongs to no control.

    Returns "" if the message was stored. An earlier message of the control stays instead.
    """
    prefixes = {typed_field.prefix for typed_field in typed.fields}
    if error.field not in {"question", "roles", "name", *prefixes}:
        return describe_refusal(error)
    typed.messages.setdefault(error.field, describe_refusal(error))
    return ""


def assign_roles(
    columns: Collection[str], *, key: str | None, sent: Sequence[str]
) -> dict[str, str]:
    """Return the role of each column, to preselect it in the form.

    Args:
        columns: All columns. Columns that are neither the key nor sent are not sent.
        key: The key; None, or another name, if no column is the key.
        sent: The columns that are sent to the model. The last has the role of the text.
    """
    roles = dict.fromkeys(columns, UNSENT_ROLE)
    if key in roles:
        roles[key] = KEY_ROLE
    roles |= dict.fromkeys(sent, SENT_ROLE)
    return roles | dict.fromkeys(sent[-1:], TEXT_ROLE)


def read_question_form(form: Mapping[str, str], columns: Sequence[str]) -> QuestionForm:
    """Return the typed texts of a submitted form, without a check.

    The fields of an answer keep their order and are numbered from 0. A column without a role in the
    form gets UNSENT_ROLE: it is not sent to the model.
    """
    parts_by_prefix: dict[str, dict[str, str]] = {}
    for name, text in form.items():
        match = _FIELD_PART.fullmatch(name)
        if match is not None:
            parts_by_prefix.setdefault(match[1], {})[match[2]] = text

    # Prefixes are numbered anew, so that fields that a script adds later have other prefixes.
    typed_fields = [
        TypedField(f"field{index}", **parts) for index, parts in enumerate(parts_by_prefix.values())
    ]
    roles = {column: form.get(f"role.{index}", UNSENT_ROLE) for index, column in enumerate(columns)}
    return QuestionForm(form.get("question", ""), typed_fields, roles)


def parse_answer_fields(typed: QuestionForm) -> tuple[FieldDraft, ...]:
    """Return the fields of an answer, as a form declares them; raise if any of them is invalid.

    All fields are checked before the error is raised: then `typed.messages` has a message about
    each invalid field, by its prefix (which begins the names of its inputs in the form).

    A field of a line that nobody changed is left out. If no field is left, the result is one text
    field. Only the first field may have no name; it is called DEFAULT_FIELD_NAME.

    Raises:
        InputError: A field is invalid, or `typed.messages` had a message before. The error has the
            first message, and its control as `field`: the prefix of the invalid field.
    """
    fields = list[FieldDraft]()
    for typed_field in typed.fields:
        if typed_field == TypedField(typed_field.prefix):
            continue
        used_names = {answer_field.name.casefold() for answer_field in fields}
        try:
            answer_field = check_and_normalize_field(_make_field(typed_field), used_names)
        except InputError as error:
            field_name = to_name(typed_field.name)
            typed_name = f"“{typed_field.name.strip()}”"
            message = describe_refusal(error)
            typed.messages[typed_field.prefix] = message.replace(repr(field_name), typed_name)
        else:
            fields.append(answer_field)

    if typed.messages:
        prefix, message = next(iter(typed.messages.items()))
        raise InputError(message, field=prefix)
    return tuple(fields) or (FieldDraft(DEFAULT_FIELD_NAME, "text"),)


def to_name(heading: str) -> str:
    """Return the name of a typed heading, such as `good_1_5` of "good? (1-5)".

    The page shows each _ as a blank.
    """
    return _NOT_IN_NAME.sub("_", heading).strip("_")


def _make_field(typed_field: TypedField) -> FieldDraft:
    """Return a field of an answer from its typed texts; `to_name` converts its name.

    Of the texts for choices and bounds, only that of the field's kind is used. The first field is
    called DEFAULT_FIELD_NAME if it has no name.

    Raises:
        InputError: The bounds are invalid, or the form has no such kind.
    """
    name = to_name(typed_field.name)
    if typed_field.prefix == FIRST_PREFIX and not typed_field.name:
        name = DEFAULT_FIELD_NAME
    description = " ".join(typed_field.description.split())
    field = FieldDraft(name, typed_field.kind, description=description)
    if field.kind == RANGE_KIND:
        return field._replace(bounds=parse_bounds(name, typed_field.bounds))
    # A form names no file of a vocabulary.
    if field.kind not in KIND_LABELS:
        raise InputError(f"{field.kind!r} is not a kind of field")
    if field.kind == CHOICES_KIND:
        return field._replace(choices=_parse_choices(typed_field.choices))
    return field


def _parse_choices(text: str) -> tuple[str, ...]:
    """Return the choices in a text, one on each line, or on a single line with commas."""
    lines = list(filter(None, map(str.strip, text.splitlines())))
    if len(lines) == 1:
        lines = list(filter(None, map(str.strip, lines[0].split(","))))
    return tuple(lines)


def parse_column_roles(roles: Mapping[str, str]) -> ColumnChoice:
    """Return the columns of a new task by their roles: text, key, and other sent columns.

    A column with any other role is not sent. No column is guessed. If no column has the role of the
    key, a hash of the row is the key.

    Raises:
        InputError: Not exactly one column is the text, or several columns are the key.
    """
    texts = [column for column, role in roles.items() if role == TEXT_ROLE]
    keys = [column for column, role in roles.items() if role == KEY_ROLE]
    if len(texts) != 1:
        message = f"exactly 1 column must be the text, not {len(texts)}"
        raise InputError(message, field="roles")
    if len(keys) > 1:
        raise InputError(f"only 1 column can name the rows, not {len(keys)}", field="roles")

    sent_columns = tuple(column for column, role in roles.items() if role == SENT_ROLE)
    return ColumnChoice(texts[0], keys[0] if keys else HASH_KEY, sent_columns)


def describe_refusal(error: InputError) -> str:
    """Return the message and the hint of an error as sentences in plain words, for a form.

    The prefix "FIELDS: " and the suffix "; nothing was asked" of the message are removed, because
    they say nothing to the user of a form.
    """
    error.message = str(error.message).removeprefix(_SETTING_PREFIX)
    return to_line(error).replace(_UNCHANGED_SUFFIX, "")
