"""Record a task at its first use, with its tables, and hold a changed file against what was recorded.

A declaration that changed under the same version is refused until the version is raised or the change is accepted:
else answers to two questions would stand under one name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.declaration import MADE_KEY, Declaration, column_named, columns_in, unread_places
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.quotes import has_quotes, must_quote
from pipeline.engine.declared.question import differences, digest, fingerprint_of
from pipeline.engine.declared.task import DeclaredTask
from pipeline.engine.declared.task_file import NOTHING_ASKED, ROWS, at_member
from pipeline.gemini.models import answer_size
from pipeline.store import workspace
from pipeline.store.workspace import TaskRecord
from pipeline.tables.cells import common_kind
from pipeline.tables.fill import KEY_KINDS
from pipeline.tables.view import fields_of, make_views
from pipeline.tables.write_to import check_target, column_target

if TYPE_CHECKING:
    from pipeline.store.database import Connection

SHOWN = 12  # names of columns in a message
HINTS = {
    "prompt": "every other brace may stay as it is",
    "key": 'key="row" makes a key of each row',
    "index": "a name in it is a column, or a field of the answer",
}
INDEXED = ("index", "label")  # members that change what is indexed of every row
DIFFERENCES = 6  # lines of what changed in a message


def record_of(declaration: Declaration, path: Path, columns: Mapping[str, str], *, at: datetime) -> TaskRecord:
    """Return a declaration and its items as they are to be recorded.

    Raises:
        InputError: the declaration names a column that the items have not, or its fields and keys clash.
    """
    _check_columns(declaration, path, columns)
    if declaration.has_made_key:
        key: tuple[tuple[str, str], ...] = ((MADE_KEY, "text"),)
    else:
        key = tuple((name, columns[name]) for name in meant(declaration.keys, columns))
    wrong = next((pair for pair in key if pair[1] not in KEY_KINDS), None)
    if wrong is not None:
        raise InputError(
            f"{at_member(path, 'key')}: the key column {wrong[0]!r} holds {wrong[1]} values; a key is text, whole "
            "numbers or UUIDs",
            hint='key= names other columns, and key="row" makes a key of each row',
        )
    fields = fields_of(declaration.answer)
    record = TaskRecord(
        name=declaration.name,
        path=str(path),
        prefix=declaration.table or declaration.name,
        items=items_place(declaration, path),
        is_query=declaration.is_query,
        items_sha256=None,
        key=key,
        columns=columns,
        fields=fields,
        version=declaration.version,
        fingerprint=digest(fingerprint_of(declaration)),
        words={
            **words_of(declaration),
            "asked": meant(declaration.asked, columns),
            "quotes_in": _quotes_column(declaration, path, columns),
            "quoted": quoted_columns(declaration, path, columns),
            **({"images": meant(declaration.images, columns)} if declaration.images else {}),
        },
        at=at,
    )
    DeclaredTask(record).answers_spec.check()
    return record


def words_of(declaration: Declaration) -> dict[str, Any]:
    """Return what is kept of a declaration so that its file is not needed to list and name rows."""
    names = ("model", "label", "index", "refresh", "write_to")
    told = {name: getattr(declaration, name) for name in names}
    return {**told, "gates": declaration.bounds, "answer_tokens": answer_size(declaration.answer)}


def meant(names: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """Return the columns that some names mean; a name that means none stays."""
    return [column_named(name, columns) or name for name in names]


def items_place(declaration: Declaration, path: Path) -> str:
    """Return the query of a task's items, or the absolute path of their file, which is relative to the task's.

    A task without a file has its items beside the current directory.
    """
    is_place = declaration.is_query or declaration.items == ROWS
    return declaration.items if is_place else str((path.parent / declaration.items).resolve())


def _check_columns(declaration: Declaration, path: Path, columns: Mapping[str, str]) -> None:
    """Pass where the items have every column that a declaration names.

    Raises:
        InputError: one is missing; the message names the member, the column, and those there are.
    """
    named: dict[str, Sequence[str]] = {
        "prompt": declaration.asked,
        "key": () if declaration.has_made_key else declaration.keys,
        "quotes_in": () if declaration.quotes_in is None else (declaration.quotes_in,),
        "index": [one for one in columns_in(declaration.index) if one not in declaration.answer.model_fields],
        "label": columns_in(declaration.label),
        "images": declaration.images,
    }
    for member in ("prompt", "index", "label"):
        for column, name in unread_places(getattr(declaration, member), columns).items():
            said = f"{member}= has {{{column}}}, and a name between braces holds letters, digits and _; {NOTHING_ASKED}"
            raise InputError(f"{at_member(path, member)}: {said}", hint=f"write {{{name}}} for the column {column!r}")
    if not declaration.asked and not declaration.images:
        where = at_member(path, "prompt")
        raise InputError(
            f"{where}: prompt= names no column; {NOTHING_ASKED}", hint="{column} in it stands for that column's value"
        )
    for member, wanted in named.items():
        missing = next((one for one in meant(wanted, columns) if one not in columns), None)
        if missing is not None:
            there = ", ".join(list(columns)[:SHOWN]) + (" …" if len(columns) > SHOWN else "")
            hint = HINTS.get(member, "name one of these columns")
            said = f"{member}= names the column {missing!r}, and the items have {there}; {NOTHING_ASKED}"
            raise InputError(f"{at_member(path, member)}: {said}", hint=hint)
    _check_image_columns(meant(declaration.images, columns), meant(declaration.asked, columns), path, columns)


def _check_image_columns(images: Sequence[str], asked: Sequence[str], path: Path, columns: Mapping[str, str]) -> None:
    for name in images:
        if columns[name] != "text":
            said = f"images= names the column {name!r}, which holds {columns[name]} values; {NOTHING_ASKED}"
            raise InputError(f"{at_member(path, 'images')}: {said}", hint="an image is a path, an address or bytes")
        if name in asked:
            said = f"prompt= names the column {name!r}, whose image goes out before the text; {NOTHING_ASKED}"
            raise InputError(f"{at_member(path, 'prompt')}: {said}", hint="leave it out of the prompt")


def _quotes_column(declaration: Declaration, path: Path, columns: Mapping[str, str]) -> str | None:
    """Return the column in which quotations must stand; None where the answer holds none.

    Raises:
        InputError: it cannot be told.
    """
    if declaration.quotes_in is not None:
        return column_named(declaration.quotes_in, columns)
    if not has_quotes(declaration.answer):
        return None
    texts = [name for name in meant(declaration.asked, columns) if columns.get(name) == "text"]
    if len(texts) == 1 or "text" in texts:
        return "text" if "text" in texts else texts[0]
    where = at_member(path, "prompt")
    raise InputError(
        f"{where}: the answer has quotations, and the prompt names {len(texts)} columns of text; {NOTHING_ASKED}",
        hint="quotes_in= names the column in which they must stand",
    )


def quoted_columns(declaration: Declaration, path: Path, columns: Mapping[str, str]) -> list[str]:
    """Return the column that must hold a text, for no answer is valid without a quotation of it; none without one."""
    found = _quotes_column(declaration, path, columns)
    return [found] if found is not None and must_quote(declaration.answer) else []


def put_record(tx: "Connection", new: TaskRecord, declaration: Declaration, *, accepted: bool) -> list[str]:
    """Record a task as it is now, with its tables, in the caller's transaction; return a line for each change.

    Raises:
        ConfigurationError: it changed under the same version, or a name of its tables is taken.
        InputError: a field changed its kind.
    """
    old = workspace.get_task(tx, new.name)
    lines = [] if old is None else _check_change(tx, old, new, declaration, accepted=accepted)
    _check_names(tx, new)
    was = None if old is None or old.prefix != new.prefix else DeclaredTask(old)
    columns = dict(new.columns if was is None else was.record.columns)
    for name, kind in new.columns.items():
        columns[name] = common_kind(columns.get(name), kind) or kind
    spec = replace(DeclaredTask(new).items_spec, columns=columns)
    spec.check()
    is_read_alike = was is not None and all(was.record.words.get(one) == new.words[one] for one in ("asked", "quoted"))
    new = replace(new, columns=spec.columns, items_sha256=old.items_sha256 if old and is_read_alike else None)
    kept = () if was is None else tuple(one for one in was.record.fields if one[0] not in dict(new.fields))
    new = replace(new, fields=(*new.fields, *kept))  # fields that the answers once had are shown behind the others
    lines += make_views(tx, DeclaredTask(new).answers_spec, new.columns)
    if old is not None and any(old.words.get(name) != new.words[name] for name in INDEXED):
        workspace.touch_revision(tx, new.name)
    if (target := DeclaredTask(new).row_target) is not None:
        check_target(tx, target)
    elif declaration.write_to is not None:
        column_target(tx, DeclaredTask(new).answers_spec, declaration.write_to)
    workspace.put_task(tx, new)
    document = fingerprint_of(declaration)
    workspace.keep_fingerprint(tx, new.fingerprint, task=new.name, version=new.version, document=document, at=new.at)
    return lines


def put_index(tx: "Connection", name: str, declaration: Declaration) -> bool:
    """Record what a declaration says of the index, and nothing else of it; return whether that is another thing now.

    Raises:
        InputError: it names a column that the items have not.
    """
    record = workspace.get_task(tx, name)
    told = {member: getattr(declaration, member) for member in INDEXED}
    if record is None or told.items() <= record.words.items():
        return False
    _check_columns(declaration, Path(record.path), record.columns)
    workspace.put_task(tx, replace(record, words={**record.words, **told}))
    workspace.touch_revision(tx, name)
    return True


def _check_names(tx: "Connection", new: TaskRecord) -> None:
    other = next((one for one in workspace.list_tasks(tx) if one.prefix == new.prefix and one.name != new.name), None)
    if other is not None:
        raise ConfigurationError(
            f"the tables {new.prefix}_… belong to the task {other.name} ({other.path}); nothing was changed",
            hint="table='…' in the task's file gives it others",
        )


def _check_change(
    tx: "Connection", old: TaskRecord, new: TaskRecord, declaration: Declaration, *, accepted: bool
) -> list[str]:
    """Refuse a change under the same version that was not accepted, and a second file of one name."""
    if old.path != new.path and Path(old.path).is_file():
        raise ConfigurationError(
            f"the task {new.name} is in {old.path} here, and {new.path} has the same name; nothing was changed",
            hint="give one of them another name='…'",
        )
    if old.prefix != new.prefix:
        raise ConfigurationError(
            f"the tables of {new.name} are {old.prefix}_… here, and table= says {new.prefix}_…; nothing was changed",
            hint="a task keeps its tables; give it another name='…' to begin anew",
        )
    if old.key != new.key:
        raise ConfigurationError(
            f"the key of {new.name} was {_key(old)} and is {_key(new)} now; nothing was changed",
            hint="a task keeps its key; give it another name='…' to begin anew",
        )
    known = workspace.reference_of(tx, new.name, new.version)
    if known is None or known == new.fingerprint:
        return []
    before = workspace.fingerprint_document(tx, new.name, known)
    changed = differences(before, fingerprint_of(declaration))
    if not accepted:
        shown = "; ".join(changed[:DIFFERENCES]) + ("; …" if len(changed) > DIFFERENCES else "")
        raise ConfigurationError(
            f"{new.path} changed under version {new.version}, whose answers would then be of two questions: {shown}; "
            "nothing was changed",
            hint=f"raise version= to {new.version + 1}, or go on under the same one with ACCEPT_CHANGED=1",
        )
    why = "; ".join(changed)
    workspace.record_event(tx, "task", new.name, old=known, new=new.fingerprint, why=why, at=new.at)
    return [f"{new.name}@{new.version} goes on with a changed declaration, as ACCEPT_CHANGED=1 says"]


def _key(record: TaskRecord) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in record.key)
