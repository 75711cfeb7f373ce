"""Forget everything a backend did: batches, requests, live calls, answers and builds, in the caller's transaction.

Only `rebind` does this, for the local engine's answers. The journal of moves stays.
"""

import secrets
from datetime import datetime

from sqlalchemy import Connection, delete, update

from pipeline.store import answers, workspace
from pipeline.store import versions as store_versions
from pipeline.store.tables import (
    batch_accounts,
    batches,
    builds,
    calls,
    due,
    pilots,
    probes,
    requests,
    runs,
    sums,
    tries,
    twins,
    usage,
    versions,
)
from pipeline.store.tables import workspace as workspace_table


def clear_answers(tx: Connection, *, why: str, at: datetime) -> None:
    """Delete what the backend left and let the workspace be bound anew, under a new id; parked foreign text stays.

    With the new id a batch's display name can never be one that the old backend knew.
    """
    answers.clear_all(tx)
    of_batches = (requests, tries, twins, probes, batch_accounts)
    for table in (*of_batches, batches, builds, calls, sums, runs, usage, due, versions, pilots):
        tx.execute(delete(table))
    store_versions.forget_rolled_back(tx)
    workspace.unbind_workspace(tx, at=at, why=why)
    tx.execute(update(workspace_table).values(workspace_id=secrets.token_hex(8)))
    workspace.touch_revision(tx)
