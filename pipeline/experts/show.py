"""Everything known about one person: row, tags, where they came from, attempts, index. Reads only, and asks nobody."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import FindableError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.collection import index_entry
from pipeline.experts.columns import tags_of, text_of
from pipeline.experts.export import expert_document
from pipeline.index.builds import Builds
from pipeline.index.manifest import content_hash
from pipeline.store import answers, claims, tables

if TYPE_CHECKING:
    from pipeline.store.database import Connection


def run(ws: OpenWorkspace, username: str) -> dict[str, Any]:
    """Return what is known about one person, as one document from one snapshot.

    Its keys: `expert` (the row by the names of the header), `id`, `state`, `batch` (that claims the person), `parked`
    (the reason), `answers` and `attempts` (oldest first), and `index` (`indexed`, `up_to_date`, `build`).

    Raises:
        InputError: there is nobody of that name.
    """
    with ws.store.read() as tx:
        row = table.by_username(tx, username)
        item_id = str(row["id"])
        given, failed = answers.of_item(tx, ws.task.name, item_id)
        claim, parked = _claim(ws, tx, item_id), _parked(ws, tx, item_id)
        index = _index(ws, row)
    return {
        "expert": expert_document(row),
        "id": row["id"],
        "state": _state(row, is_claimed=claim is not None, is_parked=parked is not None),
        "batch": claim["batch"] if claim else None,
        "claimed_at": claim["at"] if claim else None,
        "parked": parked,
        "answers": given,
        "attempts": failed,
        "index": index,
    }


def _state(row: Mapping[Any, Any], *, is_claimed: bool, is_parked: bool) -> str:
    """Return the state under which `status` counts this person."""
    states = (
        (bool(tags_of(row["tags"])), "tagged"),
        (is_claimed, "claimed"),
        (is_parked, "parked"),
        (bool(text_of(row["bio"])), "untagged"),
    )
    return next((state for holds, state in states if holds), "no_bio")


def _claim(ws: OpenWorkspace, tx: "Connection", item_id: str) -> Mapping[str, Any] | None:
    """Return {batch, at} of the open claim on a person; the batch is None while somebody asks live."""
    of_item = claims.claimed_ids(ws.task.name).where(tables.requests.c.item_id == item_id)
    found = tx.execute(of_item.with_only_columns(tables.requests.c.batch, tables.requests.c.at)).first()
    return {"batch": found[0], "at": found[1]} if found is not None else None


def _parked(ws: OpenWorkspace, tx: "Connection", item_id: str) -> str | None:
    """Return why a person is parked, or None."""
    of_item = answers.parked_ids(ws.task.name).where(tables.parked.c.item_id == item_id)
    reason: str | None = tx.execute(of_item.with_only_columns(tables.parked.c.reason)).scalar()
    return reason


def _index(ws: OpenWorkspace, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return whether the index in service holds a person, with the text of now; a broken one says so."""
    nothing = {"indexed": False, "up_to_date": False, "build": None}
    try:
        if Builds(ws.data).current() is None:
            return nothing
        with Builds(ws.data).open() as index:
            held = index.content_hashes().get(str(row["id"]))
            number = index.manifest.number
    except FindableError as error:
        return {**nothing, "problem": error.message}
    return {"indexed": held is not None, "up_to_date": held == content_hash(index_entry(row)), "build": number}
