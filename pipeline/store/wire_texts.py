"""Keep the requests of live calls as they were sent, and their replies as they came, for a person to read.

What is the same in many requests (system instruction, schema, settings) is kept once. Nothing else is made of these
texts: they go after KEEP_DAYS, and with an item that is forgotten.
"""

import hashlib
import json
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text, update

from pipeline.store.tables import calls, wire_forms, wire_texts

_KEEP_FORM = text("INSERT INTO findable_wire_forms (sha256, form) VALUES (:sha256, :form) ON CONFLICT DO NOTHING")


class LiveText(NamedTuple):
    """A request in two parts, its contents and all else, and its reply, None where none came; each is JSON."""

    contents: str
    form: str
    reply: str | None


def keep_request(tx: Connection, call: int, *, contents: str, form: str, at: datetime) -> None:
    """Keep the request of a call that is about to be made."""
    sha256 = hashlib.sha256(form.encode()).hexdigest()
    tx.execute(_KEEP_FORM, {"sha256": sha256, "form": form})
    tx.execute(insert(wire_texts).values(call=call, form=sha256, contents=contents, at=at))


def keep_reply(tx: Connection, call: int, reply: Any) -> None:
    """Keep the reply (a JSON document) of a call whose request is kept."""
    written = json.dumps(reply, ensure_ascii=False, separators=(",", ":"))
    tx.execute(update(wire_texts).where(wire_texts.c.call == call).values(reply=written))


def get_text(tx: Connection, call: int) -> LiveText | None:
    """Return what is kept of a call, None where nothing is, or not any more."""
    query = select(wire_texts.c.contents, wire_forms.c.form, wire_texts.c.reply)
    row = tx.execute(query.where(wire_texts.c.call == call, wire_forms.c.sha256 == wire_texts.c.form)).first()
    return None if row is None else LiveText._make(row)


def count_before(tx: Connection, moment: datetime) -> int:
    """Return of how many calls before a moment the text is kept."""
    return tx.execute(select(func.count()).where(wire_texts.c.at < moment)).scalar_one()


def drop_before(tx: Connection, moment: datetime) -> None:
    """Remove the text of all calls before a moment."""
    _drop(tx, wire_texts.c.at < moment)


def drop_of_item(tx: Connection, task: str, item_id: str) -> None:
    """Remove the text of all calls about an item."""
    _drop(tx, wire_texts.c.call.in_(select(calls.c.id).where(calls.c.task == task, calls.c.item_id == item_id)))


def _drop(tx: Connection, here: ColumnElement[bool]) -> None:
    tx.execute(delete(wire_texts).where(here))
    tx.execute(delete(wire_forms).where(wire_forms.c.sha256.not_in(select(wire_texts.c.form))))
