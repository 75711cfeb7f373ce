"""The forms that correct the fields of an answer: their shapes, texts and messages.

A cookie remembers who corrects, so that the name is typed once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, unquote

from fastapi import Depends, Request
from starlette.responses import Response

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.answer_fields import AnswerField
from askrows.pipeline.core.errors import ChangedMeanwhileError, InputError
from askrows.pipeline.core.quotes import MISSING_QUOTE_REASON
from askrows.pipeline.tasks import corrections
from askrows.pipeline.tasks.task import Task
from askrows.web.errors import to_line
from askrows.web.field_shapes import (
    Texts,
    find_input_kind,
    nest_form_texts,
    parse_texts,
    to_texts,
)

# Digits of the largest number in a form.
MAX_NUMBER_DIGITS = 9
MISSING_NAME_MESSAGE = "type your name; it is shown beside each edit"
MISSING_QUOTE_MESSAGE = "the text does not contain these words; select them in the text"
# What a form about the mark of a review did, by its `act`.
REVIEW_MESSAGES = {"review": "Marked as checked", "unreview": "No longer marked as checked"}


COOKIE_NAME = "askrows_who"
COOKIE_AGE_S = 365 * 24 * 3600


@dataclass(frozen=True)
class CorrectionResult:
    """How a submitted form ended."""

    # The field of the answer; empty for an undone edit.
    field_name: str
    # Message next to the field.
    message: str
    is_saved: bool
    # The submitted texts if the form was refused.
    texts: Texts = None
    # The stored edit, which can be undone; None without one.
    edit_number: int | None = None


@dataclass(frozen=True)
class FieldEditor:
    """The form of a field."""

    field: AnswerField
    texts: Texts
    # The result of the last submission, if it was about this field.
    result: CorrectionResult | None = None


def list_closed_fields(task: Task) -> dict[str, AnswerField]:
    """Return the answer fields that are a checkbox or have a list of choices, by name."""
    return {
        field.name: field
        for field in task.answer_fields
        if find_input_kind(field) in {"checkbox", "choice"}
    }


def make_editors(
    task: Task, answer: Mapping[str, Any], *, result: CorrectionResult | None
) -> dict[str, FieldEditor]:
    """Return the forms of an answer's fields by name.

    Fields that the answer lacks have no form.

    Args:
        answer: The answer as it is stored.
        result: How the last form was submitted. The form of its field has the message, and if it
            was refused, the submitted texts.
    """
    values = task.to_reply_form(answer)
    editors = {}
    for field in task.answer_fields:
        name = field.name
        if name not in values:
            continue
        editors[name] = FieldEditor(field, to_texts(field, values[name]))
        if result is not None and result.field_name == name:
            texts = result.texts
            if result.is_saved:
                texts = editors[name].texts
            editors[name] = FieldEditor(field, texts, result)
    return editors


class QuickChoice(NamedTuple):
    """A value of a field that a key or a click sets."""

    field_name: str
    text: str
    label: str
    is_current: bool


def list_choices(editor: FieldEditor) -> list[QuickChoice]:
    """Return the choices of a field in their order; none if the field has no list of choices.

    True and false are labelled "yes" and "no", and the empty value of an optional field "none". The
    choice that is the field's present value has `is_current`.
    """
    field = editor.field
    texts: list[str] = []
    input_kind = find_input_kind(field)
    if input_kind == "checkbox":
        texts = ["true", "false"]
    elif input_kind == "choice":
        texts = [
            choice if isinstance(choice, str) else json.dumps(choice) for choice in field.choices
        ]
        if field.is_optional:
            texts.append("")
    labels = {"true": "yes", "false": "no", "": "none"}
    return [
        QuickChoice(field.name, text, labels.get(text, text), text == editor.texts)
        for text in texts
    ]


def correct_or_review_by_form(
    run: Run,
    key: str,
    form: Mapping[str, str],
    editor_name: str,
) -> CorrectionResult:
    """Do what a form says: review an answer, undo an edit, or set a field to its value.

    The form's `act` is "review" or "unreview" to set or remove the mark of a review. Otherwise its
    `undo` is the number of an edit, or its `field` the name of a field.

    The form's `state` is the state of the answer that the editor saw. If the answer has changed
    since, or the name or the value is wrong, nothing is changed. This raises no error, but the
    result has a message in plain words and the typed texts. If the value is equal to the present
    value, nothing is stored and the result is a success. The command `correct` differs: it stores
    that a person confirmed the value.
    """
    field_name = form.get("field", "")
    texts = nest_form_texts(form)
    try:
        return _apply_correction_or_review(run, key, form, texts, editor_name)
    except ChangedMeanwhileError as error:
        message = "This answer was changed meanwhile"
        if error.now["edits"]:
            message = f"{error.now['edits'][-1]['who']!r} changed this answer meanwhile"
        message += "; it is shown as it is now."
        if field_name:
            message += " Save again to replace it."
    except corrections.InvalidAnswerError as error:
        message = next(iter(error.faults.values())).replace(
            field_name, field_name.replace("_", " ")
        )
        if MISSING_QUOTE_REASON in message:
            message = MISSING_QUOTE_MESSAGE
    except InputError as error:
        message = to_line(error)
    return CorrectionResult(field_name, message, is_saved=False, texts=texts)


def _apply_correction_or_review(
    run: Run,
    key: str,
    form: Mapping[str, str],
    texts: Texts,
    editor_name: str,
) -> CorrectionResult:
    """Store what a form says, for `correct_or_review_by_form`; return its result.

    If the value is equal to the present value, nothing is stored, and the message says so.

    Args:
        form: The form, with `act`, `undo` or `field`, and `state`.
        texts: The typed texts of the field's value.

    Raises:
        InputError: The form is refused; nothing was changed.
    """
    if not editor_name.strip():
        raise InputError(MISSING_NAME_MESSAGE)

    if form.get("act") in REVIEW_MESSAGES:
        corrections.record_or_remove_review(
            run.workspace,
            run.task,
            key,
            editor_name=editor_name,
            expected_state=form.get("state"),
            is_reviewed=form["act"] == "review",
        )
        return CorrectionResult("", REVIEW_MESSAGES[form["act"]], is_saved=True)

    field_name = form.get("field", "")
    edit_number = form.get("undo", "")
    change: dict[str, Any] | int
    if edit_number.isdecimal() and len(edit_number) <= MAX_NUMBER_DIGITS:
        change = int(edit_number)
    else:
        fields = {field.name: field for field in run.task.answer_fields}
        change = {field_name: parse_texts(fields.get(field_name, AnswerField()), texts)}

    report = corrections.correct_answer_or_undo_edit(
        run.workspace,
        run.task,
        key,
        corrections.Correction(change, editor_name),
        expected_state=form.get("state"),
    )
    if report["edit"] is None:
        return CorrectionResult(field_name, "Not changed", is_saved=True)
    if isinstance(change, int):
        return CorrectionResult("", "Undone", is_saved=True)
    return CorrectionResult(field_name, "Saved", is_saved=True, edit_number=report["edit"])


async def _read_editor(request: Request) -> str:
    return unquote(request.cookies.get(COOKIE_NAME, ""))


# Name of the person who corrected last in this browser; "" if nobody did.
LastEditor = Annotated[str, Depends(_read_editor)]


def remember_editor(response: Response, editor: str) -> None:
    """Store the name of the person who corrects in the browser."""
    response.set_cookie(
        COOKIE_NAME,
        quote(editor, safe=""),
        max_age=COOKIE_AGE_S,
        httponly=True,
        samesite="lax",
        path="/",
    )
