"""Delete everything a backend did: batches, requests, live calls, answers, builds.

The journal stays, and what people said: tasks, merges, and answers by hand.
"""

import secrets
from datetime import datetime

from sqlalchemy import Connection, delete, true, update

from pipeline.store import tables, versions, workspace
from pipeline.store.answers import PERSON

KEPT = (
    *(tables.workspace, tables.events, tables.leases, tables.parked, tables.tasks, tables.fingerprints),
    *(*tables.MERGES, *tables.EDITS),
)
GOING = {tables.answers: tables.answers.c.extractor != PERSON}  # which rows go, where not all


def clear_answers(tx: Connection, *, why: str, at: datetime) -> None:
    """Delete what the backend left and let the workspace be bound anew, under a new id; parked foreign text stays.

    With the new id a batch's display name can never be one that the old backend knew.
    """
    tx.execute(delete(tables.parked).where(~tables.parked.c.foreign_text))
    for table in reversed(tables.metadata.sorted_tables):  # those that refer to others first
        if table not in KEPT:
            tx.execute(delete(table).where(GOING.get(table, true())))
    versions.forget_rolled_back(tx)
    workspace.unbind_workspace(tx, at=at, why=why)
    tx.execute(update(tables.workspace).values(workspace_id=secrets.token_hex(8)))
    workspace.touch_revision(tx)
