"""Decide whether a changed declaration may be used under the same version.

- A version is used if a row is claimed, answered or parked under it.
- The fingerprint is the hash of everything in a declaration that determines its answers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.declaration import Declaration
from askrows.pipeline.core.errors import (
    ConfigurationError,
    QuestionChangedError,
)
from askrows.pipeline.core.vocabulary import separate_vocabularies
from askrows.pipeline.rows.cells import merge_kinds
from askrows.pipeline.store import claims, workspace
from askrows.pipeline.store.database import Connection
from askrows.pipeline.store.workspace import TaskRecord

# Members of a declaration that are part of its fingerprint.
FINGERPRINT_MEMBERS = ("model", "max_output_tokens", "temperature", "thinking", "quotes_in")
# Members that are part of the fingerprint if the declaration has images.
IMAGE_FINGERPRINT_MEMBERS = ("images", "image_side", "media_resolution")


# ---- fingerprints


def make_fingerprint_document(declaration: Declaration) -> dict[str, Any]:
    """Return the members of a declaration that determine its answers, as plain values for JSON.

    They are system text, prompt, schema, examples, model and its settings, and the settings of
    images if the task has images. If the answer has vocabularies, the member `vocabulary` has for
    each file the descriptions of its terms by name. Aliases and the order of the terms do not
    count.
    """
    member_names: tuple[str, ...] = FINGERPRINT_MEMBERS
    if declaration.images:
        member_names += IMAGE_FINGERPRINT_MEMBERS
    examples = [[dict(row), _to_json_value(answer)] for row, answer in declaration.examples]
    schema, vocabularies = separate_vocabularies(declaration.answer.model_json_schema())
    document = {
        "system": declaration.system,
        "prompt": declaration.prompt,
        "schema": schema,
        "examples": examples,
        **{name: _to_json_value(getattr(declaration, name)) for name in member_names},
    }
    if vocabularies:
        document["vocabulary"] = {
            file: {term["name"]: term["description"] for term in vocabulary["terms"]}
            for file, vocabulary in vocabularies.items()
        }
    return document


def hash_document(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document's canonical JSON, in hex."""
    text = json.dumps(
        document,
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
        default=str,
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _to_json_value(member: Any) -> Any:
    """Return a member of a declaration for JSON: a tuple as list, a model as dict."""
    if isinstance(member, tuple):
        return list(member)
    return member.model_dump(mode="json") if hasattr(member, "model_dump") else member


# ---- changes


def check_table_prefix(tx: Connection, record: TaskRecord) -> None:
    """Raise ConfigurationError if another task has the same table prefix."""
    for other_record in workspace.list_task_records(tx):
        if other_record.prefix == record.prefix and other_record.name != record.name:
            raise ConfigurationError(
                f"the tables {other_record.prefix}_… belong to the task {other_record.name} "
                f"({other_record.path}); nothing was changed",
                hint="set another table='…' in the task's file",
            )


def merge_stored_into_declared_record(
    declared_record: TaskRecord, stored_record: TaskRecord | None
) -> TaskRecord:
    """Return the record of a task's present file, with additions of the stored record.

    Nothing is stored. Without a stored record, the declared record is returned unchanged.

    - Former fields follow the current fields, because stored answers have them.
    - A column whose kind changed gets a kind that can store the values of both kinds.
    - The size and time of the source stay. Its hash, which avoids that an unchanged source is read
      again, stays only if both records have the same columns of the prompt and of required
      quotations.
    - State stays: the place up to which `cursor=` has read the query, the preferred versions, the
      columns of the index, the columns of files that the table lacks, and the folders of images.

    Args:
        declared_record: The record that was made from the task's present file.
        stored_record: The record in the database; None for a new task.
    """
    if stored_record is None:
        return declared_record

    columns = {
        name: merge_kinds(stored_record.columns.get(name), kind) or kind
        for name, kind in declared_record.columns.items()
    }
    field_names = dict(declared_record.fields).keys()
    former_fields = [field for field in stored_record.fields if field[0] not in field_names]

    is_read_alike = (
        stored_record.asked_columns == declared_record.asked_columns
        and stored_record.required_columns == declared_record.required_columns
    )
    return replace(
        declared_record,
        columns=columns,
        fields=(*declared_record.fields, *former_fields),
        items_sha256=stored_record.items_sha256 if is_read_alike else None,
        items_stamp=stored_record.items_stamp,
        cursor=stored_record.cursor,
        preferred_versions=stored_record.preferred_versions,
        index_columns=stored_record.index_columns,
        extra_columns=stored_record.extra_columns,
        image_folders=stored_record.image_folders,
    )


def refuse_or_record_declaration_change(
    tx: Connection,
    stored_record: TaskRecord,
    declared_record: TaskRecord,
    declaration: Declaration,
    *,
    is_accepted: bool,
) -> list[str]:
    """Refuse a changed declaration of a used version, or record it if the user accepts it.

    A version is used if rows were asked under it. Its answers must not be to two questions.

    - If the version is not used or the fingerprint is the same, nothing is done.
    - Any other change is refused if `is_accepted` is False.

    A change of a used version that is not refused is recorded as an event. Runs in the caller's
    transaction, which stores the record.

    Args:
        is_accepted: The user accepts any change of the declaration.

    Returns:
        Lines to print about a recorded change; else empty.

    Raises:
        ConfigurationError: The file, the table prefix or the key differs, which is never accepted.
        QuestionChangedError: The declaration of a used version changed and is not accepted.
    """
    _check_same_file_prefix_and_key(stored_record, declared_record)

    version = declared_record.version
    prompt_version = f"{declared_record.name}@{version}"
    newest_fingerprint = workspace.read_newest_fingerprint(tx, declared_record.name, version)
    if newest_fingerprint is None or newest_fingerprint[0] == declared_record.fingerprint:
        return []
    if not claims.is_version_used(tx, declared_record.name, prompt_version):
        return []

    former_fingerprint, former_document = newest_fingerprint
    current_document = make_fingerprint_document(declaration)
    # A member such as `images` is only in the documents of tasks that use it.
    changed_members = [
        "answer" if name == "schema" else name
        for name in {**current_document, **former_document}
        if former_document.get(name) != current_document.get(name)
    ]
    reason = f"the {' and the '.join(changed_members)} changed"
    if not is_accepted:
        accept_command = CommandHint("tag", task=declared_record.name, accept_changed=True)
        try_command = CommandHint("try", task=declared_record.name)
        raise QuestionChangedError(
            f"{reason} since version {version} was used; nothing was asked",
            hint=f"set version={version + 1} in {declared_record.path}; "
            f"`{accept_command}` stores answers of both under version {version}, "
            f"and `{try_command}` tries the change as a draft",
        )

    workspace.record_event(
        tx,
        "task",
        declared_record.name,
        old=former_fingerprint,
        new=declared_record.fingerprint,
        reason=reason,
        now=declared_record.at,
    )
    option = OptionHint(accept_changed=True)
    return [f"{prompt_version} continues with a changed declaration ({option})"]


def _check_same_file_prefix_and_key(stored_record: TaskRecord, declared_record: TaskRecord) -> None:
    """Raise ConfigurationError if file, table prefix or key differ from the stored record's.

    Another file is accepted if the file of the stored record does not exist any more.
    """
    name = declared_record.name
    new_name_hint = "set another name='…' to start a new task"
    if stored_record.path != declared_record.path and Path(stored_record.path).is_file():
        reason = (
            f"task {name} is registered from {stored_record.path}, "
            f"and {declared_record.path} has the same name"
        )
        hint = "set another name='…' in one of the files"
    elif stored_record.prefix != declared_record.prefix:
        reason = (
            f"the tables of task {name} are {stored_record.prefix}_…, "
            f"but table= names {declared_record.prefix}_…"
        )
        hint = f"the tables of a task cannot change; {new_name_hint}"
    elif stored_record.key != declared_record.key:
        former_key = _format_key(stored_record)
        declared_key = _format_key(declared_record)
        reason = f"the key of {name} was {former_key} and is {declared_key} now"
        hint = (
            f"give the key of the rows its former name and kind, {former_key}, in key= and the "
            f"source (in a query with CAST and AS); {new_name_hint}, which asks about all rows"
        )
    else:
        return
    raise ConfigurationError(f"{reason}; nothing was changed", hint=hint)


def _format_key(record: TaskRecord) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in record.key)
