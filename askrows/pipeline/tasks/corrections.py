"""Manual corrections of an answer, field by field.

- A corrected answer is stored as an answer of the version `person`. It is complete and passes the
  validation of a model's answer. No ingest, rollback or other version changes it.
- Every edit stays in the history with its author and time, and can be undone by its number.
- Undoing an edit restores the fields that it changed. It is refused if a later edit changed them
  again.
- If all edits are undone, the preferred model answer counts again.
- The value of a field is a right value if a person set it or confirmed it.
- The state of an answer is a hash. It shows whether the answer changed since an editor saw it.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from askrows.pipeline.core.command_hint import HintTemplate, OptionHint
from askrows.pipeline.core.errors import (
    AskrowsError,
    ChangedMeanwhileError,
    InputError,
    RefusedRowError,
)
from askrows.pipeline.core.text import MAX_CLEANED_CHARS, join_first, plural, suggest_similar
from askrows.pipeline.rows.refusals import write_rows_and_list_refused
from askrows.pipeline.store import claims, edits
from askrows.pipeline.store.answers import (
    PreferredAnswer,
    read_preferred_answers,
    store_or_remove_reviews,
)
from askrows.pipeline.store.confidences import FieldConfidence, decode_confidences
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.edits import AnswerEdit, NewEdit
from askrows.pipeline.store.workspace import record_row_change
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import RowsById
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Hex digits of the hash that identifies the state of an answer.
STATE_HASH_DIGITS = 16
UNCHANGED_MESSAGE = "nothing was changed"

Document = dict[str, Any]
NumberOfUndoneEdit = int


class Correction(NamedTuple):
    """A correction that a person asks for."""

    # New values by field, or the number of the edit to undo.
    change: Mapping[str, Any] | NumberOfUndoneEdit
    editor_name: str
    # All fields of the change become right values, also those that have these values already.
    confirms_values: bool = False


# Pydantic's messages after the path of a field, and plain words.
_PLAIN_WORDS = (
    (re.compile(r": (?:Input|String|List|Value|Number) should "), " must "),
    (re.compile(r"(be a valid \w+), .*"), r"\1"),
    (re.compile(r"a valid boolean"), "true or false"),
    (re.compile(r": (?:Value error|Assertion failed), "), ": "),
)


class InvalidAnswerError(InputError):
    """A corrected answer is not valid; nothing was changed.

    `faults` has a message by field; the name "" stands for the whole answer.
    """

    def __init__(
        self,
        task: Task,
        row_id: str,
        reasons: Sequence[str],
        *,
        answer: Document,
        changed_fields: Collection[str],
    ) -> None:
        """Set `faults`, and make the message and the command to type.

        A field has the fault of its first reason. Missing fields share a fault.

        Args:
            reasons: Each begins with the path of a field, as pydantic or `locate_quotes` says it.
            answer: The invalid answer.
            changed_fields: Fields with new values; empty for an undone edit.
        """
        fields = task.answer_model.model_fields
        missing_fields = [
            name for name, field in fields.items() if field.is_required() and name not in answer
        ]
        faults = dict[str, str]()
        for reason in reasons:
            first_word = re.split(r"\W", reason, maxsplit=1)[0]
            field_name = first_word if first_word in fields else ""
            # A union has a reason for each of its types.
            if field_name not in missing_fields:
                faults.setdefault(field_name, _to_plain_words(reason))
        if missing_fields:
            faults[missing_fields[0]] = f"it also needs {join_first(missing_fields)}"
        self.faults = faults

        wrong_fields = [*missing_fields, *filter(None, faults)] or fields
        typed_fields = dict.fromkeys([*changed_fields, *wrong_fields])
        assignments = "; ".join(f"{name}=…" for name in typed_fields)
        command = task.nouns.command("correct", row=row_id, set=assignments)
        messages = "; ".join(faults.values())
        super().__init__(
            f"the answer about {row_id!r} would not be valid: {messages}; {UNCHANGED_MESSAGE}",
            hint=HintTemplate("`{}` with an allowed value", command),
        )


def _to_plain_words(reason: str) -> str:
    """Return why a value is invalid without the words that pydantic uses for programmers."""
    for pattern, words in _PLAIN_WORDS:
        reason = pattern.sub(words, reason)
    return reason


# ---- the history of an answer, and its change


def read_history(store: Store, task: Task, row_name: str) -> Document:
    """Return the preferred answer of a row and all its manual edits, for JSON.

    Args:
        row_name: Id or name of the row.

    Returns:
        `row` (id), `answer` (values by field; empty if there is no answer), `state` (hash to pass
        to `correct`) and `edits`. Edits are in ascending order, each with `number`, `who`, `at`,
        `before`, `after`, `undoes` and `changes` ((before, after) by changed field). `reviewed_by`
        and `reviewed_at` are None if nobody reviewed the answer.

    Raises:
        InputError: There is no such row.
    """
    with store.read() as tx:
        return _read_answer_history(tx, task, task.require_row_id(tx, row_name))


def list_task_edits(store: Store, task: Task) -> list[Document]:
    """Return all edits of a task, each with the row's id (`row`) and title (`name`).

    The edits of a row follow each other, by ascending number. Their other members are those of
    `read_history`. The title of a deleted row is its id.
    """
    with store.read() as tx:
        edits_by_id = edits.list_edits_by_row_id(tx, task.name, None)
        titles = task.rows.read_titles(tx, list(edits_by_id))

    documents = []
    for row_id, row_edits in edits_by_id.items():
        row_names = {"row": row_id, "name": titles.get(row_id, row_id)}
        documents += [{**row_names, **_to_edit_document(edit)} for edit in row_edits]
    return documents


def correct_answer_or_undo_edit(
    workspace: OpenWorkspace,
    task: Task,
    row_name: str,
    correction: Correction,
    *,
    expected_state: str | None = None,
) -> Document:
    """Correct fields of a row's answer, or undo an edit, and store that as a new edit.

    A row without an answer gets one. If the correction confirms values, an edit is also stored if
    the answer has these values and no person set them before. A new edit also unparks the row, and
    updates the answer in tables of other programs. Runs in a write transaction, so an error changes
    nothing. If the edit undoes the last correction, the answer of a model is restored without
    validation.

    Args:
        row_name: Id or name of the row.
        correction: The correction, and who makes it.
        expected_state: Member `state` of the document (see `read_history`) that the editor saw, or
            None to skip the check for a conflict.

    Returns:
        The document of `read_history` after the edit, and `edit`: the number of the new edit, or
        None if the answer already had these values and nothing was stored.

    Raises:
        ChangedMeanwhileError: The answer is no longer in `expected_state`.
        InputError: The row, field, edit, editor or new answer is invalid, or the row is being
            deleted by `forget`.
        RefusedRowError: A rule of another program's table refuses the answer.
        ConfigurationError: Code of the task's file failed, or another program prevented a change.
    """
    with workspace.store.write() as tx:
        row_id = task.require_row_id(tx, row_name)
        document = _read_answer_history(tx, task, row_id)
        _check_answer_unchanged(document, expected_state)
        editor_name = normalize_editor_name(correction.editor_name)
        new_edit = _make_validated_edit_if_changing(
            task,
            row_id,
            correction._replace(editor_name=editor_name),
            _read_rows_to_correct(tx, task, [row_id]),
            edited_at=workspace.now(),
        )
        if new_edit is None:
            return {**document, "edit": None}

        _store_edits_and_update_rows(tx, task, {row_id: new_edit})
        return {**_read_answer_history(tx, task, row_id), "edit": new_edit.edit.number}


class PlannedEdits(NamedTuple):
    """Validated edits of several rows, none of which is stored."""

    # By row id.
    new_edits: Mapping[str, NewEdit]
    # Why rows were refused, by row id.
    refusals: Mapping[str, AskrowsError]


def plan_valid_edits_and_refusals(
    tx: Connection,
    task: Task,
    changes: Mapping[str, Mapping[str, Any]],
    *,
    editor_name: str,
    edited_at: datetime,
    unconfirmable_ids: Collection[str],
) -> PlannedEdits:
    """Make and validate an edit of each row; store nothing.

    An edit is also made if the answer has the values already, and no person set them.

    Args:
        changes: New values by field, by row id.
        editor_name: Name of the editor, from `normalize_editor_name`.
        unconfirmable_ids: Rows that get an edit only if a value changes.

    Returns:
        The edit of each row, or the error why the row is refused, such as an unknown field or an
        invalid answer. A row is in neither part if its answer is not changed.

    Raises:
        ConfigurationError: Code of the task's file failed.
    """
    current = _read_rows_to_correct(tx, task, list(changes))
    new_edits: dict[str, NewEdit] = {}
    refusals: dict[str, AskrowsError] = {}
    for row_id, change in changes.items():
        correction = Correction(
            change, editor_name, confirms_values=row_id not in unconfirmable_ids
        )
        try:
            new_edit = _make_validated_edit_if_changing(
                task, row_id, correction, current, edited_at=edited_at
            )
        except InputError as error:
            refusals[row_id] = error
        else:
            if new_edit is not None:
                new_edits[row_id] = new_edit

    return PlannedEdits(new_edits, refusals)


class _RowsToCorrect(NamedTuple):
    """What the database contains about the rows that are to be corrected."""

    # Existing rows by id.
    rows: RowsById
    # The preferred answer of each row; empty if there is none.
    answers: Mapping[str, Document]
    # All edits of each row by ascending number.
    edits: Mapping[str, Sequence[AnswerEdit]]
    # Ids of the rows that are being forgotten.
    forgotten_ids: Collection[str]
    # By row id, the newest correction or else the model's answer, and the model's answer.
    preferred_answers: Mapping[str, PreferredAnswer]
    model_answers: Mapping[str, PreferredAnswer]


def _read_rows_to_correct(tx: Connection, task: Task, row_ids: Sequence[str]) -> _RowsToCorrect:
    preference = task.make_version_preference(tx)
    return _RowsToCorrect(
        task.read_rows(tx, row_ids),
        task.read_preferred_values(tx, row_ids),
        edits.list_edits_by_row_id(tx, task.name, row_ids),
        claims.filter_ids_being_forgotten(tx, task.name, row_ids),
        read_preferred_answers(tx, task.name, row_ids, preference=preference),
        read_preferred_answers(tx, task.name, row_ids, preference=preference, models_only=True),
    )


def _make_validated_edit_if_changing(
    task: Task,
    row_id: str,
    correction: Correction,
    current: _RowsToCorrect,
    *,
    edited_at: datetime,
) -> NewEdit | None:
    """Return a validated edit of a row, or None if it would change nothing; store nothing.

    Right values are those that count as set by a person. With `confirms_values`, all fields of
    `change` become right values; without it, only those whose value changes. An undo, or a change
    with `confirms_values`, is also returned if it changes only right values. If an undo leaves no
    correction of the row, the edit restores the model's answer, which is not validated.

    Args:
        correction: The change, with a name from `normalize_editor_name`.
        current: The stored rows, answers and edits.

    Raises:
        InputError: The row, the field, the edit to undo or the new answer is invalid, or the row is
            being deleted by `forget`.
        ConfigurationError: Code of the task's file failed.
    """
    if row_id in current.forgotten_ids:
        raise _forgotten_error(row_id)

    preferred_answer = current.preferred_answers.get(row_id)
    answer, change = _get_answer_and_change_before_merges(
        current.answers[row_id], correction.change, preferred_answer
    )
    row_edits = current.edits[row_id]
    new_answer = _apply_change_or_undo_edit(task, answer, change, row_edits)
    row = current.rows.get(row_id)
    if row is None:
        raise InputError(f"row {row_id!r} no longer exists; {UNCHANGED_MESSAGE}")

    edit = AnswerEdit(
        number=len(row_edits) + 1,
        who=correction.editor_name,
        at=edited_at,
        before=answer,
        after=new_answer,
        undoes=change if isinstance(change, int) else None,
        fields=() if isinstance(change, int) else tuple(change),
    )
    is_corrected = bool(edits.list_active_edits([*row_edits, edit]))
    is_right_value_edit = correction.confirms_values or edit.undoes is not None
    model_answer = current.model_answers.get(row_id)
    # An answer that keeps its values stays, even if it is no longer valid.
    if (
        answer
        and new_answer == answer
        and not (is_right_value_edit and _changes_right_values(row_edits, edit))
    ):
        return None

    # The answer of a model counts again as it is, even if it is no longer valid.
    if is_corrected:
        valid_answer = _validate_corrected_answer(
            task, row_id, new_answer, row, changed_fields=edit.fields
        )
        edit = edit._replace(after=valid_answer)
    else:
        edit = edit._replace(after=json.loads(model_answer.original_answer) if model_answer else {})
    if not correction.confirms_values:
        changed_fields = _list_changed_fields(edit)
        edit = edit._replace(fields=tuple(name for name in edit.fields if name in changed_fields))
    if edit.after == edit.before and not (
        is_right_value_edit and _changes_right_values(row_edits, edit)
    ):
        return None

    confidences: Mapping[str, FieldConfidence] = {}
    if is_corrected:
        confidences = _choose_kept_confidences(
            edit.after,
            edits.list_fields_set_by_people([*row_edits, edit]),
            filter(None, [preferred_answer, model_answer]),
        )
    return NewEdit(edit, task.hash_input(row), is_corrected, confidences)


def _get_answer_and_change_before_merges(
    shown_answer: Document,
    change: Mapping[str, Any] | NumberOfUndoneEdit,
    preferred_answer: PreferredAnswer | None,
) -> tuple[Document, Mapping[str, Any] | NumberOfUndoneEdit]:
    """Return an answer and its change without merges of tags, which are applied when it is stored.

    A list that the editor left as it was shown keeps the tags from before merges.
    """
    if preferred_answer is None or preferred_answer.unmerged is None:
        return shown_answer, change
    answer: Document = json.loads(preferred_answer.unmerged)
    if isinstance(change, int):
        return answer, change
    return answer, {
        name: answer.get(name) if value == shown_answer.get(name) else value
        for name, value in change.items()
    }


def _choose_kept_confidences(
    values: Mapping[str, Any],
    corrected_fields: Collection[str],
    sources: Iterable[PreferredAnswer],
) -> dict[str, FieldConfidence]:
    """Return the confidences that a corrected answer keeps, by field.

    A confidence is the probability that a value is right, as a decision model gave it. A field that
    a person set has none. Any other field has the confidence of the first source that has one for
    the same value; it is left out if there is no such source.

    Args:
        values: The corrected answer, by field.
        corrected_fields: Fields that a person set, in this correction or in an earlier one.
        sources: The preferred answers of the row.
    """
    confidences: dict[str, FieldConfidence] = {}
    for source in sources:
        source_values = json.loads(source.original_answer)
        for name, confidence in decode_confidences(source.confidences).items():
            is_kept = name in values and name not in corrected_fields
            if is_kept and source_values.get(name) == values[name]:
                confidences.setdefault(name, confidence)
    return confidences


def _changes_right_values(row_edits: Sequence[AnswerEdit], edit: AnswerEdit) -> bool:
    """Return whether the right values of a row become others by a new edit of a row."""
    return edits.list_fields_set_by_people(row_edits) != edits.list_fields_set_by_people(
        [*row_edits, edit]
    )


def store_acceptable_edits(
    tx: Connection,
    task: Task,
    new_edits: Mapping[str, NewEdit],
) -> dict[str, AskrowsError]:
    """Store validated edits in the caller's transaction; return why rows were refused, by row id.

    Also updates the answers in tables of other programs and the derived values, and unparks the
    rows. A row is refused if its edit raises InputError or RefusedRowError. Nothing of such a row
    is stored. All other rows are stored.

    Raises:
        ConfigurationError: A trigger or rule of another program left a row as it was; the
            transaction must be rolled back.
    """

    def write(row_ids: Sequence[str]) -> None:
        stored_edits = {row_id: new_edits[row_id] for row_id in row_ids}
        _store_edits_and_update_rows(tx, task, stored_edits)

    refusals = (InputError, RefusedRowError)
    return dict(write_rows_and_list_refused(tx, list(new_edits), write, refusals=refusals))


def _store_edits_and_update_rows(
    tx: Connection, task: Task, new_edits: Mapping[str, NewEdit]
) -> None:
    """Store an edit of each row; the transaction or its savepoint must be rolled back on an error.

    Raises:
        InputError: The table of a task cannot take the answer of a row.
        RefusedRowError: A rule of another program's table refuses a row.
        ConfigurationError: Another program prevented a change.
    """
    prompt_version = task.parked_version
    edits.insert_edits(tx, task.name, new_edits)
    task.update_tables_by_edits(tx, new_edits)
    update_derived_values(tx, task, list(new_edits))
    claims.unpark_and_forgive(tx, task.name, prompt_version=prompt_version, row_ids=list(new_edits))
    record_row_change(tx, task.name)


def record_or_remove_review(
    workspace: OpenWorkspace,
    task: Task,
    row_name: str,
    *,
    editor_name: str,
    expected_state: str | None = None,
    is_reviewed: bool,
) -> None:
    """Record that a person reviewed the preferred answer of a row, or remove the review.

    A review confirms all fields of the answer as right, so that they are right values. It does
    not pass to a new answer of the row. A correction can be reviewed, too.

    Args:
        row_name: Id or name of the row.
        editor_name: Name of the reviewer.
        expected_state: `state` of the answer that the reviewer saw; None skips the check.
        is_reviewed: False removes the review.

    Raises:
        ChangedMeanwhileError: The answer is no longer in `expected_state`.
        InputError: There is no such row, `editor_name` is invalid, the row has no answer, or it is
            being deleted by `forget`.
    """
    with workspace.store.write() as tx:
        row_id = task.require_row_id(tx, row_name)
        if claims.filter_ids_being_forgotten(tx, task.name, [row_id]):
            raise _forgotten_error(row_id)

        _check_answer_unchanged(_read_answer_history(tx, task, row_id), expected_state)
        answer = task.read_preferred_answers(tx, [row_id]).get(row_id)
        if answer is None:
            raise InputError(f"row {row_id!r} has no answer to review; {UNCHANGED_MESSAGE}")

        reviewer = normalize_editor_name(editor_name)
        if is_reviewed:
            store_or_remove_reviews(tx, [answer.id], who=reviewer, at=workspace.now())
        else:
            store_or_remove_reviews(tx, [answer.id], who=None, at=None)


def _forgotten_error(row_id: str) -> InputError:
    return InputError(f"row {row_id!r} is being forgotten; {UNCHANGED_MESSAGE}")


def _check_answer_unchanged(current: Document, expected_state: str | None) -> None:
    """Raise ChangedMeanwhileError if an answer is in another state than the editor saw.

    An `expected_state` of None skips the check. The error has the current document.
    """
    if expected_state in {None, current["state"]}:
        return
    last_edit = ""
    if current["edits"]:
        last_edit = ", last by {who!r} (edit {number})".format(**current["edits"][-1])
    raise ChangedMeanwhileError(
        f"the answer was changed meanwhile{last_edit}; {UNCHANGED_MESSAGE}",
        hint="read the current answer, then correct it again",
        now=current,
    )


def _apply_change_or_undo_edit(
    task: Task,
    answer: Document,
    change: Mapping[str, Any] | NumberOfUndoneEdit,
    row_edits: Sequence[AnswerEdit],
) -> Document:
    """Return `answer` with new values, or with an edit undone; do not validate it.

    If the last edit undid that edit already, `answer` is returned unchanged.

    Args:
        change: New values by field, or the number of the edit to undo.
        row_edits: All edits of the row by ascending number.

    Raises:
        InputError: The answer has no such field, the row no edit of that number, or a later edit
            changed a field of that edit again.
    """
    if not isinstance(change, int):
        for field in change.keys() - {field.name for field in task.answer_fields}:
            raise _unknown_field_error(task, field)
        return {**answer, **change}

    if not 1 <= change <= len(row_edits):
        raise InputError(
            f"the answer has no edit {change}; {UNCHANGED_MESSAGE}",
            hint=f"its edits are 1 to {len(row_edits)}" if row_edits else "it was never edited",
        )
    # A command that was killed after its commit is repeated.
    if row_edits[-1].undoes == change:
        return answer
    return _copy_with_edit_undone(answer, row_edits[change - 1])


def _read_answer_history(tx: Connection, task: Task, row_id: str) -> Document:
    """Return the history of a row as a document: its answer, its edits and its review.

    The members are those that `read_history` returns. `state` is a hash of row id, answer and
    number of edits, so it changes with each edit. `reviewed_by` and `reviewed_at` are None if
    nobody reviewed the answer. Each edit has its changed fields, as (before, after).
    """
    answer = task.read_preferred_values(tx, [row_id])[row_id]
    row_edits = edits.list_edits_by_row_id(tx, task.name, [row_id])[row_id]
    state_json = json.dumps([row_id, len(row_edits), answer])
    state = hashlib.sha256(state_json.encode()).hexdigest()[:STATE_HASH_DIGITS]
    edit_documents = list(map(_to_edit_document, row_edits))
    reviewed_by = None
    reviewed_at = None
    for stored_answer in task.read_preferred_answers(tx, [row_id]).values():
        reviewed_by = stored_answer.reviewed_by
        reviewed_at = stored_answer.reviewed_at
    return {
        "row": row_id,
        "answer": answer,
        "reviewed_by": reviewed_by,
        "reviewed_at": reviewed_at,
        "state": state,
        "edits": edit_documents,
    }


def _to_edit_document(edit: AnswerEdit) -> Document:
    """Return an edit for JSON, with its changed fields as (before, after)."""
    return {**edit._asdict(), "changes": _list_changed_fields(edit)}


# ---- input of an editor


def parse_typed_fields(task: Task, text: str) -> Document:
    """Parse typed values of fields, such as `tone=praise; topics=price, delivery; stars=4`.

    A value that begins with a quotation mark or a bracket is JSON. Any other value is read by the
    description of its field. If a field is repeated, its last value counts.

    Args:
        text: Assignments separated by semicolons; empty for no field.

    Returns:
        Values by field, not yet validated together.

    Raises:
        InputError: An assignment or its JSON is malformed, or the answer has no such field.
    """
    fields = {field.name: field for field in task.answer_fields}
    values = Document()
    remaining_text = text.strip()
    while remaining_text:
        name, equals_sign, remaining_text = _partition_stripped(remaining_text, "=")
        if not equals_sign:
            example = OptionHint(set="tone=praise; stars=4")
            raise InputError(
                f"{name[:MAX_CLEANED_CHARS]!r} is not field=value; {UNCHANGED_MESSAGE}",
                hint=f"write it like {example}; put a text with ; between quotation marks",
            )
        if name not in fields:
            raise _unknown_field_error(task, name)

        if remaining_text.startswith(('"', "[", "{")):
            values[name], remaining_text = _split_off_json_value(name, remaining_text)
        else:
            value_text, _, remaining_text = _partition_stripped(remaining_text, ";")
            values[name] = fields[name].parse_typed_text_or_keep(value_text)

    return values


def _partition_stripped(text: str, separator: str) -> tuple[str, str, str]:
    """Partition a text at the first separator, and strip blanks from each part."""
    before, found_separator, after = text.partition(separator)
    return before.strip(), found_separator.strip(), after.strip()


def _split_off_json_value(name: str, text: str) -> tuple[Any, str]:
    """Return the JSON value at the beginning of a text, and the text after the next `;`.

    Args:
        name: Field name for error messages.

    Raises:
        InputError: The JSON is malformed, or other text follows it before the `;`.
    """
    try:
        value, end_offset = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name}= is not valid JSON: {error}; {UNCHANGED_MESSAGE}",
            hint=f"for a plain text, leave out the {text[:1]} at its beginning",
        ) from error

    surplus_text, _, remaining_text = _partition_stripped(text[end_offset:], ";")
    if surplus_text:
        message = (
            f"{name}= has {surplus_text[:MAX_CLEANED_CHARS]!r} after its JSON; {UNCHANGED_MESSAGE}"
        )
        raise InputError(message, hint="separate fields with ;")
    return value, remaining_text


def normalize_editor_name(text: str) -> str:
    """Return the name of an editor with runs of blanks replaced by a space.

    Raises:
        InputError: The name is empty, too long or has characters that are not printable.
    """
    editor_name = " ".join(text.split())
    if not editor_name or len(editor_name) > MAX_CLEANED_CHARS or not editor_name.isprintable():
        raise InputError(
            f"{text[:MAX_CLEANED_CHARS]!r} is not an editor's name "
            f"(1 to {MAX_CLEANED_CHARS:,} printable characters); {UNCHANGED_MESSAGE}",
            hint=f"set {OptionHint('who')} to your name",
        )
    return editor_name


def _unknown_field_error(task: Task, name: str) -> InputError:
    """Return the error that the answer has no field of that name.

    The hint suggests the most similar field, or lists all fields.
    """
    field_names = [field.name for field in task.answer_fields]
    suggestion = suggest_similar(name, field_names)
    return InputError(
        f"the answer has no field {name[:MAX_CLEANED_CHARS]!r}; {UNCHANGED_MESSAGE}",
        hint=suggestion or f"its fields are {', '.join(field_names)}",
    )


# ---- the corrected answer


def _validate_corrected_answer(
    task: Task,
    row_id: str,
    answer: Document,
    row: Mapping[str, Any],
    *,
    changed_fields: Collection[str],
) -> Document:
    """Validate a corrected answer like an answer of a model, and return it as stored.

    Members that are not fields are dropped. If a field has more values than the task permits, the
    answer is invalid. (If a model replies so, the surplus values are dropped instead.)

    Args:
        row_id: The id of the row, for messages.
        answer: The whole answer after the correction, as it would be stored.
        row: The row, against which quotations and the task's `check` are tested.
        changed_fields: Fields with new values, for the message; empty for an undone edit.

    Raises:
        InvalidAnswerError: The answer is not valid.
        ConfigurationError: Code of the task's file failed.
    """
    values_by_field = {
        name: value
        for name, value in task.to_reply_form(answer).items()
        if name in task.answer_model.model_fields
    }
    valid_answer, reasons, cut_value_count = task.validate_values_as_answer(
        values_by_field, row, task.answer_model, row_id=row_id
    )
    if cut_value_count:
        valid_answer = None
        reasons = [f"it has {plural(cut_value_count, 'value')} too many"]
    if valid_answer is None:
        raise InvalidAnswerError(
            task, row_id, reasons, answer=values_by_field, changed_fields=changed_fields
        )
    document: Document = valid_answer.model_dump(mode="json")
    return document


def _list_changed_fields(edit: AnswerEdit) -> dict[str, tuple[Any, Any]]:
    """Return (before, after) of each field that an edit changed, by name; None if missing."""
    changed_fields = {}
    for name in (*edit.before, *edit.after):
        before = edit.before.get(name)
        after = edit.after.get(name)
        if before != after:
            changed_fields[name] = (before, after)
    return changed_fields


def _copy_with_edit_undone(answer: Document, edit: AnswerEdit) -> Document:
    """Return an answer with the changes of an edit undone; a field that it added is removed.

    Raises:
        InputError: A field changed again after the edit.
    """
    restored = dict(answer)
    for name, (before, after) in _list_changed_fields(edit).items():
        if restored.get(name) != after:
            raise InputError(
                f"field {name!r} was changed again after edit {edit.number}; {UNCHANGED_MESSAGE}",
                hint="undo the later edits and merges first, or set the field",
            )
        restored[name] = before

    return {
        name: value for name, value in restored.items() if value is not None or name in edit.before
    }
