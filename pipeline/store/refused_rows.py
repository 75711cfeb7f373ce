"""Write rows of which the database refuses some, and find these."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pipeline.store.database import Connection

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


def write_accepted_rows(
    tx: Connection,
    rows: Sequence[T],
    write: Callable[[Sequence[T]], object],
    *,
    refusals: type[E] | tuple[type[E], ...],
) -> list[tuple[T, E]]:
    """Write the rows that the database accepts; return the refused rows, each with its error.

    Each write has a savepoint. If it is refused, the halves of the rows are written on their own,
    until the refused rows are found.

    Args:
        write: Writes some of the rows in the caller's transaction.
        refusals: The errors by which `write` refuses a row.
    """
    if not rows:
        return []
    try:
        with tx.begin_nested():
            write(rows)
    except refusals as error:
        if len(rows) == 1:
            return [(rows[0], error)]
    else:
        return []

    middle = len(rows) // 2
    first_refused = write_accepted_rows(tx, rows[:middle], write, refusals=refusals)
    return first_refused + write_accepted_rows(tx, rows[middle:], write, refusals=refusals)
