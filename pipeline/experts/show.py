"""Show everything known about one person: row, tags, where they came from, attempts, index. Reads only."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import FindableError, InputError
from pipeline.core.task import ItemsWanted
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import kinds, table
from pipeline.experts.collection import index_entry
from pipeline.experts.columns import tags_of, text_of
from pipeline.experts.export import expert_document
from pipeline.index.builds import Builds
from pipeline.index.manifest import content_hash
from pipeline.store import answers, claims, tables

if TYPE_CHECKING:
    from pipeline.store.database import Connection

FEW = 5  # usernames in a message


def run(ws: OpenWorkspace, username: str) -> dict[str, Any]:
    """Return what is known about one person, by the username or a part of a name that is no other's.

    It is one document from one snapshot.

    Its keys: `expert` (the row by the names of the header), `id`, `state`, `batch` (that claims the person), `parked`
    (the reason), `answers` and `attempts` (oldest first), and `index` (`indexed`, `up_to_date`, `build`).

    Raises:
        InputError: no person has that name, or several hold it in theirs.
    """
    task = ws.task.name
    with ws.store.read() as tx:
        row = _row(tx, username, now=ws.now())
        item_id = str(row["id"])
        given, failed = answers.of_item(tx, task, item_id)
        open_claim = claims.claimed_ids(task).where(tables.requests.c.item_id == item_id)
        claim = tx.execute(open_claim.with_only_columns(tables.requests.c.batch, tables.requests.c.at)).first()
        parked = answers.parked_reason(tx, task, item_id)
        index = _index(ws.data, row)
    return {
        "expert": expert_document(row),
        "id": row["id"],
        "state": _state(row, is_claimed=claim is not None, is_parked=parked is not None),
        "batch": claim.batch if claim else None,
        "claimed_at": claim.at if claim else None,
        "parked": parked,
        "answers": given,
        "attempts": failed,
        "index": index,
    }


def _row(tx: "Connection", name: str, *, now: datetime) -> Mapping[Any, Any]:
    """Return the row of the person of that username, or of the one in whose username or name it stands."""
    if name in table.by_usernames(tx, [name]):
        return table.by_username(tx, name)
    wanted = ItemsWanted(name.split(), None, None, FEW + 1, now)
    found = [
        text_of(row["username"])
        for _, _, row in kinds.people(tx).listed(tx, wanted, ("username",), searched=table.NAMED)
    ]
    if len(found) > 1:
        some = ", ".join(found[:FEW]) + (", …" if len(found) > FEW else "")
        raise InputError(f"{name!r} stands in the names of several people: {some}", hint="name one by the username")
    return table.by_username(tx, found[0] if name.split() and found else name)


def _state(row: Mapping[Any, Any], *, is_claimed: bool, is_parked: bool) -> str:
    states = (
        (bool(tags_of(row["tags"])), "tagged"),
        (is_claimed, "claimed"),
        (is_parked, "parked"),
        (bool(text_of(row["bio"])), "untagged"),
    )
    return next((state for holds, state in states if holds), "no_bio")


def _index(data: Path, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return whether the index in service holds a person, with the text of now; a broken one says so."""
    nothing = {"indexed": False, "up_to_date": False, "build": None}
    try:
        if Builds(data).current() is None:
            return nothing
        with Builds(data).open() as index:
            held = index.content_hashes({str(row["id"])}).get(str(row["id"]))
            number = index.manifest.number
    except FindableError as error:
        return {**nothing, "problem": error.message}
    return {"indexed": held is not None, "up_to_date": held == content_hash(index_entry(row)), "build": number}
