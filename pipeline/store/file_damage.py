"""Check a whole SQLite file for damage."""

from collections import Counter

from sqlalchemy import (
    Connection,
    text,
)

from pipeline.core.text import plural
from pipeline.store.schema import batches


def find_damage(tx: Connection) -> list[str]:
    """Check a whole SQLite file and return a message for each damage; [] if nothing is damaged.

    Up to 20 faults of the file come first, then a count for each table, by name, with rows of a
    batch that does not exist. The list is empty on a server, which checks itself.
    """
    if tx.dialect.name != "sqlite":
        return []

    messages = [str(row[0]) for row in tx.execute(text("PRAGMA integrity_check(20)"))]
    messages = [message for message in messages if message != "ok"]

    loose_counts = Counter(
        table
        for table, _, parent_table, *_ in tx.execute(text("PRAGMA foreign_key_check"))
        if parent_table == batches.name
    )
    messages += [
        plural(count, f"row of {table} names", f"rows of {table} name") + " a missing batch"
        for table, count in sorted(loose_counts.items())
    ]
    return messages
