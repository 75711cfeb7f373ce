"""Results that are read as they come, at flat memory, and are closed with their transaction at the latest.

Who reads one may stop in the middle of it. Its cursor must not live longer than the transaction: on a server it is the
transaction's own, and closing it afterwards fails.
"""

from typing import Any

from sqlalchemy import Connection, CursorResult, Select

OPENED = "findable_opened"  # in a connection's execution options: where its results are kept until it ends


def streamed(tx: Connection, query: Select[Any], *, page: int) -> CursorResult[Any]:
    """Run a SELECT whose rows are fetched `page` at a time."""
    result = tx.execute(query.execution_options(yield_per=page))
    tx.get_execution_options().get(OPENED, []).append(result)
    return result
