"""The form of a question about the rows of a file: its fields, and the role of each column.

The texts of a form are kept as typed, so that a refused form can be displayed again. The form
names the parts of a field `PREFIX.name`, `PREFIX.kind`, `PREFIX.choices` and `PREFIX.description`,
and the role of the column with index N `role.N`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.declaration import HASH_KEY
from pipeline.core.errors import InputError
from pipeline.engine.task_parser import WrittenTask
from pipeline.engine.task_template import (
    CHOICES_KIND,
    RANGE_KIND,
    VOCABULARY_KIND,
    AnswerField,
    ColumnChoice,
    TableGuess,
    check_field,
    parse_bounds,
)
from pipeline.quality.label_accuracy import FieldComparison
from web.background_work import BackgroundJob
from web.mode_choices import ModeChoice
from web.page_texts import capitalize_first, to_plain_text

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
    VOCABULARY_KIND: "Term of a vocabulary",
}
# The part of a form field that only one kind has, by kind.
KIND_PARTS = {CHOICES_KIND: "choices", RANGE_KIND: "bounds", VOCABULARY_KIND: "vocabulary"}
KEY_ROLE = "key"
TEXT_ROLE = "text"
SENT_ROLE = "sent"
UNSENT_ROLE = "unsent"
# Roles of columns with their labels.
ROLE_LABELS = {
    KEY_ROLE: "Key",
    TEXT_ROLE: "Text, sent",
    SENT_ROLE: "Sent, too",
    UNSENT_ROLE: "Not sent",
}
_FIELD_PART = re.compile(r"(\w+)\.(name|kind|choices|bounds|vocabulary|description)")
_SETTING_PREFIX = "FIELDS: "
_UNCHANGED_SUFFIX = "; nothing was asked"


@dataclass(frozen=True)
class TypedField:
    """The texts of a field as they were typed."""

    # Prefix of the names of its form fields.
    prefix: str
    name: str = ""
    kind: str = "text"
    # One choice per line.
    choices: str = ""
    # Lowest and highest number, such as `1-5`.
    bounds: str = ""
    # File of the terms; the page displays it, but cannot change it.
    vocabulary: str = ""
    description: str = ""


@dataclass
class QuestionForm:
    """A question as it was typed, with the messages about its parts."""

    question: str = ""
    fields: list[TypedField] = field(default_factory=lambda: [TypedField("field0", "answer")])
    # Role of each column; empty before the columns are known.
    roles: dict[str, str] = field(default_factory=dict)
    # Message by the control that it belongs to: "question", "roles", "name" or a field's prefix.
    messages: dict[str, str] = field(default_factory=dict)


@dataclass
class QuestionChange:
    """A change of a task's question: what was typed, and the results of its steps."""

    typed: QuestionForm
    # Latest step: "try" or "use"; empty before the first.
    step: str = ""
    work: BackgroundJob | None = None
    # The parts of the file as it was at the trial, and of the changed file once it was tried.
    task_before: WrittenTask | None = None
    changed_task: WrittenTask | None = None
    # Number of the work that tried the change.
    trial_number: int = 0
    # Each tried row with its members name, a (present answer) and b (new answer).
    pairs: list[dict[str, Any]] = field(default_factory=list)
    row_count: int = 0
    # How often present and new answers to labelled rows are right, by field.
    accuracy: Sequence[FieldComparison] = ()
    # Modes in which all rows can be asked: by the tried rows, after the change by all rows.
    mode_choices: list[ModeChoice] = field(default_factory=list)
    chosen_mode: str = ""
    error_message: str = ""

    @property
    def is_busy(self) -> bool:
        """Return whether a step runs."""
        return self.work is not None and self.work.is_running

    @property
    def is_written(self) -> bool:
        """Return whether the file was written and its rows are open."""
        return self.step == "use" and self.work is not None and self.work.state == "done"


def show_question(written_task: WrittenTask) -> QuestionForm:
    """Return the form with the question and fields of a task's file."""
    typed_fields = [
        TypedField(
            f"field{index}",
            answer_field.name,
            answer_field.kind,
            "\n".join(answer_field.choices),
            "-".join(map(str, answer_field.bounds or ())),
            answer_field.vocabulary,
            answer_field.description,
        )
        for index, answer_field in enumerate(written_task.fields)
    ]
    return QuestionForm(written_task.question, typed_fields)


def check_question(typed: QuestionForm) -> None:
    """Raise InputError if the question of a form has no letter or digit."""
    if not any(map(str.isalnum, typed.question)):
        raise InputError("write a question; it has no letter or digit", field="question")


def place_message(typed: QuestionForm, error: InputError) -> str:
    """Store the message of an error at its control; return it if it belongs to no control.

    Returns "" if the message was stored. An earlier message of the control stays instead.
    """
    prefixes = {typed_field.prefix for typed_field in typed.fields}
    if error.field not in {"question", "roles", "name", *prefixes}:
        return describe_refusal(error)
    typed.messages.setdefault(error.field, describe_refusal(error))
    return ""


def guess_roles(columns: Sequence[str], guess: TableGuess) -> dict[str, str]:
    """Return the role of each column as a guess proposes it, to preselect it in the form.

    Sent means to the model. The last of the sent columns has the role of the text. Columns that the
    guess does not name are not sent.
    """
    roles = dict.fromkeys(columns, UNSENT_ROLE)
    if guess.key in roles:
        roles[guess.key] = KEY_ROLE
    roles |= dict.fromkeys(guess.sent, SENT_ROLE)
    # The main text is last.
    return roles | dict.fromkeys(guess.sent[-1:], TEXT_ROLE)


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


def parse_answer_fields(
    typed: QuestionForm,
    vocabularies: Collection[str] = (),
) -> tuple[AnswerField, ...]:
    """Return the fields of an answer, as a form declares them; raise if any of them is invalid.

    All fields are checked before the error is raised: then `typed.messages` has a message about
    each invalid field, by its prefix (which begins the names of its inputs in the form).

    A field without any text is left out. If no field is left, the result is one text field
    "answer".

    Args:
        typed: The form.
        vocabularies: The vocabulary files that a field may name. Any other file is refused, so that
            a form cannot read it.

    Raises:
        InputError: A field is invalid. The error has the message of the first invalid field, and
            the prefix of this field as `field`.
    """
    fields = list[AnswerField]()
    for typed_field in typed.fields:
        if not any((typed_field.name.strip(), typed_field.choices, typed_field.description)):
            continue
        used_names = {answer_field.name.casefold() for answer_field in fields}
        try:
            answer_field = check_field(_make_field(typed_field, vocabularies), used_names)
        except InputError as error:
            typed.messages[typed_field.prefix] = describe_refusal(error)
        else:
            fields.append(answer_field)

    invalid_prefixes = [
        typed_field.prefix for typed_field in typed.fields if typed_field.prefix in typed.messages
    ]
    if invalid_prefixes:
        message = typed.messages[invalid_prefixes[0]]
        raise InputError(message, field=invalid_prefixes[0])
    return tuple(fields) or (AnswerField("answer", "text"),)


def _make_field(typed_field: TypedField, vocabularies: Collection[str]) -> AnswerField:
    """Return a field of an answer from its typed texts.

    Of the texts for choices, bounds and vocabulary, only that of the field's kind is used.

    Raises:
        InputError: The bounds are invalid, or the vocabulary is not one of `vocabularies`.
    """
    name = typed_field.name.strip()
    description = " ".join(typed_field.description.split())
    field = AnswerField(name, typed_field.kind, description=description)
    if field.kind == RANGE_KIND:
        return field._replace(bounds=parse_bounds(name, typed_field.bounds))
    if field.kind == VOCABULARY_KIND:
        if typed_field.vocabulary not in vocabularies:
            raise InputError("name another vocabulary in the task's file, with an editor")
        return field._replace(vocabulary=typed_field.vocabulary)
    if field.kind == CHOICES_KIND:
        choices = [line.strip() for line in typed_field.choices.splitlines() if line.strip()]
        return field._replace(choices=tuple(choices))
    return field


def choose_columns(roles: Mapping[str, str]) -> ColumnChoice:
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
        raise InputError(f"at most 1 column can be the key, not {len(keys)}", field="roles")

    sent_columns = tuple(column for column, role in roles.items() if role == SENT_ROLE)
    return ColumnChoice(texts[0], keys[0] if keys else HASH_KEY, sent_columns)


def describe_refusal(error: InputError) -> str:
    """Return the message and the hint of an error as sentences in plain words, for a form.

    The hint is left out if it names a command or a setting, which a form does not have. The prefix
    "FIELDS: " and the suffix "; nothing was asked" of the message are removed, because they say
    nothing to the user of a form.
    """
    message = str(error.message).removeprefix(_SETTING_PREFIX).removesuffix(_UNCHANGED_SUFFIX)
    hint = str(error.hint)
    sentences = [message]
    if hint and not re.search(r"`|\b[A-Z_]{2,}=|^kinds are", hint):
        sentences.append(hint)
    return to_plain_text(". ".join(map(capitalize_first, sentences)))
