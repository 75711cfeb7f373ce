"""Show everything known about one person: row, tags, where they came from, attempts, index. Reads only."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.entries import index_entry
from pipeline.experts.export import expert_document
from pipeline.experts.tags import tags_of_person
from pipeline.index import staleness
from pipeline.store import answers, asks, tables

if TYPE_CHECKING:
    from pipeline.store.database import Connection

FEW = 5  # usernames in a message


def run(ws: OpenWorkspace, username: str) -> dict[str, Any]:
    """Return what is known about one person, by the username or a part of a name that is no other's.

    It is one document from one snapshot.

    Its keys: `expert` (the row by the names of the header), `id`, `state`, `batch` (that claims the person), `parked`
    (the reason), `answers` and `attempts` (oldest first), `tags_state` (from which the
    tags can be edited) and `edits` (by hand, oldest first), and `index` (`indexed`, `up_to_date`, `build`).

    Raises:
        InputError: no person has that name, or several names hold it.
    """
    task = ws.task.name
    with ws.store.read() as tx:
        row = _row(tx, username)
        item_id = str(row["id"])
        given, failed = answers.of_item(tx, task, item_id)
        open_claim = asks.claimed_ids(task).where(tables.asks.c.item_id == item_id)
        claim = tx.execute(open_claim.with_only_columns(tables.asks.c.batch, tables.asks.c.at)).first()
        parked = asks.parked_reason(tx, task, item_id)
        state = table.people(tx).state_of(tx, item_id)
        index = staleness.place_of_entry(ws.data, ws.collection, item_id, index_entry(row))
        by_hand = tags_of_person(tx, row)
    expert = expert_document(row)
    return {
        "expert": expert,
        "id": row["id"],
        "state": state,
        "batch": claim.batch if claim else None,
        "claimed_at": claim.at if claim else None,
        "parked": parked,
        "answers": given,
        "attempts": failed,
        "tags_state": by_hand.state,
        "edits": [one.document() for one in by_hand.edits],
        "index": index,
    }


def _row(tx: "Connection", name: str) -> Mapping[Any, Any]:
    """Return the row of the person of that username, or of the one in whose username or name it stands."""
    if name in table.by_usernames(tx, [name]):
        return table.by_username(tx, name)
    found = table.usernames_with(tx, name.split(), limit=FEW + 1)
    if len(found) > 1:
        some = ", ".join(found[:FEW]) + (", …" if len(found) > FEW else "")
        raise InputError(f"{name!r} stands in the names of several people: {some}", hint="name one by the username")
    return table.by_username(tx, found[0] if name.split() and found else name)
