"""Erase one item from the engine's tables, with marks by which an interrupted run goes on.

The rows that a batch's account and costs are made of stay: they lose all that is the item's own (answer, excerpt,
reason, hash) and get an item id that leads nowhere.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, select, true, update

from pipeline.core.states import BatchState
from pipeline.store import claims, edits, workspace
from pipeline.store.answers import FORGOTTEN, ROLLBACK
from pipeline.store.schema import answers, asks, attempts, batches, creates, rows, runs
from pipeline.store.schema import events as journal

KIND = "forget"  # of the journal's lines about this
BEGUN = "begun"
DONE = "done"
GONE = "forgotten"
CLEANED = "clean"  # of the journal's lines about batches whose files were removed
BURIED = "forgotten item"  # of the journal's lines about items that their source may still have
# where the text about one item may name another; `new` of the journal only where it is a value that was merged into
WORDS: dict[Table, tuple[str, ...]] = {
    journal: ("name", "new", "why"),
    attempts: ("reason", "excerpt"),
}
WORDS |= {
    creates: ("note",),
    runs: ("why",),
    answers: ("who",),
    batches: ("reason",),
    asks: ("reason",),
}
ASKED = (asks, answers, attempts)  # what tells of the batches of an item


def begin_erasure(tx: Connection, task: str, item_id: str, *, name: str, at: datetime) -> None:
    """Mark that an item is being forgotten, under a digest of its name, and park it."""
    claims.park_unasked(tx, task, {item_id: claims.BEING_FORGOTTEN}, at=at)
    if item_id not in open_erasures(tx, name):
        workspace.record_event(tx, KIND, _digest(tx, name), old=None, new=BEGUN, why=item_id, at=at)


def open_erasures(tx: Connection, name: str | None = None) -> list[str]:
    """Return the ids of the items (those of a name) that were begun to be forgotten and are not done."""
    found = workspace.events_of(tx, KIND, name and _digest(tx, name))
    return [one["why"] for one in found if one["new"] == BEGUN]


def finish_erasure(tx: Connection, name: str) -> None:
    """Keep in the journal that something was forgotten, and no longer what."""
    here = (journal.c.kind == KIND) & (journal.c.name == _digest(tx, name))
    tx.execute(update(journal).where(here).values(name=GONE, old=BEGUN, new=DONE, why=None))


def bury_item(tx: Connection, task: str, item_id: str, *, at: datetime) -> None:
    """Keep a digest of an item that was forgotten, so that its source does not bring it back."""
    why = f"{task}: what its source says of it is left out"
    workspace.record_event(
        tx, BURIED, _digest(tx, f"{task} {item_id}"), old=None, new=GONE, why=why, at=at
    )


def buried_items(tx: Connection, task: str) -> Callable[[str], bool]:
    """Return what tells of an item's id whether that item of a task was forgotten."""
    digests = set(tx.execute(select(journal.c.name).where(journal.c.kind == BURIED)).scalars())
    salt = workspace.get_workspace(tx).workspace_id
    return lambda item_id: bool(digests) and _salted(salt, f"{task} {item_id}") in digests


def is_kept(tx: Connection, task: str, item_id: str) -> bool:
    """Return whether anything is kept of an item, whose row may be gone."""
    asked = (
        select(one.c.task).where(one.c.task == task, one.c.item_id == item_id)
        for one in (*ASKED, rows)
    )
    return any(tx.execute(query.limit(1)).first() is not None for query in asked)


def batches_of(tx: Connection, task: str, item_id: str) -> list[int]:
    """Return the batches that may have asked about an item, ascending; of some that ended only their files tell."""
    asked = (
        select(one.c.batch).where(one.c.task == task, one.c.item_id == item_id) for one in ASKED
    )
    failed = select(batches.c.number).where(
        batches.c.task == task, batches.c.state == BatchState.FAILED
    )
    found = {
        number
        for query in (*asked, failed)
        for number in tx.execute(query).scalars()
        if number is not None
    }
    return sorted(found | workspace.numbers_with_event(tx, ROLLBACK))


def reseal(tx: Connection, batch: int, *, was: str, sha256: str, size: int) -> bool:
    """Replace the recorded hash and size of a sealed file of a batch; false where its hash is not `was`."""
    here = (journal.c.kind == CLEANED) & (journal.c.name == str(batch)) & (journal.c.new == was)
    if tx.execute(update(journal).where(here).values(new=sha256)).rowcount:
        return True
    for kind in ("request", "result"):
        digest = batches.c[f"{kind}_sha256"]
        length = batches.c[f"{kind}_size"]
        here = (batches.c.number == batch) & (digest == was)
        if tx.execute(update(batches).where(here).values({digest: sha256, length: size})).rowcount:
            return True
    return False


def erase_item(
    tx: Connection, task: str, item_id: str, *, words: Sequence[str], is_number_ours: bool = True
) -> None:
    """Erase an item from every table of the engine, and its own `words` from every reason and note.

    An id that is a number stays in what is left where it `is_number_ours`, for it tells nothing then. On SQLite what
    is deleted is overwritten, not only left free.
    """
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql("PRAGMA secure_delete = ON")
    is_number = is_number_ours and re.fullmatch(r"\d{1,18}", item_id)
    erased = f"{item_id} {GONE}" if is_number else f"{GONE} {secrets.token_hex(8)}"
    emptied: dict[Table, dict[str, Any]] = {
        attempts: {"reason": GONE, "excerpt": None},
        answers: {"input_hash": "", "answer": FORGOTTEN, "response_id": ""},
    }
    edits.drop_edits(tx, task, item_id)
    for table, values in emptied.items():
        mine = (table.c.task == task) & (table.c.item_id == item_id)
        tx.execute(update(table).where(mine).values(item_id=erased, **values))
    tx.execute(delete(asks).where(asks.c.task == task, asks.c.item_id == item_id))
    for word in words:
        _cut_out(tx, word)


def note_cleaned(
    tx: Connection, batch: int, *, why: str, at: datetime, hashes: str | None = None
) -> None:
    """Keep that the files of a batch were removed on purpose, and the SHA-256 of that with their lines' `hashes`."""
    workspace.record_event(
        tx, CLEANED, batch, old=None, new=hashes or "files removed", why=why, at=at
    )


def cleaned_batches(tx: Connection) -> dict[int, str]:
    """Return the batches whose files were removed on purpose, each with that SHA-256; empty where there is none."""
    found = {int(one["name"]): str(one["new"]) for one in workspace.events_of(tx, CLEANED)}
    return {number: "" if " " in told else told for number, told in found.items()}


def _cut_out(tx: Connection, word: str) -> None:
    alone = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
    for table, names in WORDS.items():
        for name in names:
            column = table.c[name]
            told = journal.c.kind.startswith(edits.MERGE) if column is journal.c.new else true()
            query = select(*table.primary_key.columns, column).where(
                column.contains(word, autoescape=True), told
            )
            found = tx.execute(query)
            for row in found.all():
                here = [one == row[number] for number, one in enumerate(table.primary_key.columns)]
                changed = alone.sub("…", row[-1])
                if changed != row[-1]:
                    tx.execute(update(table).where(*here).values({column: changed}))


def _digest(tx: Connection, name: str) -> str:
    return _salted(workspace.get_workspace(tx).workspace_id, name)


def _salted(salt: str, name: str) -> str:
    return hashlib.sha256(f"{salt} {name}".encode("utf-8", "replace")).hexdigest()
