"""Detect and describe rules of another program's table that stop an adoption or a change.

- `translate_refusals` reports a refused row.
- `write_rows_and_list_refused` writes the other rows nevertheless.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection, exc

from askrows.pipeline.core.errors import ConfigurationError, RefusedRowError
from askrows.pipeline.store.database import describe_error

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
_ROW_HINT = (
    "give its other columns defaults, widen short columns, start its sequence above all ids, or "
    "use another database"
)
# SQLSTATE class of errors that a trigger raises.
_RAISED_STATE_PREFIX = "P0"
# PostgreSQL's function that checks a new row against the policies of row level security.
_POLICY_CHECK_FUNCTION = "ExecWithCheckOptions"


def make_adoption_error(
    name: str,
    reason: str,
    *,
    hint: str = "change the table, or use another database",
) -> ConfigurationError:
    """Return the error for a table that cannot be adopted.

    Args:
        name: Name of the table.
        reason: Rest of a sentence that begins with the table, such as "is not a table".
        hint: A remedy for the user.
    """
    message = f"`{name}` in this database {reason}; nothing was changed"
    return ConfigurationError(message, hint=hint)


def is_refusal_by_table(error: exc.DBAPIError) -> bool:
    """Return whether a rule of the table stopped a statement.

    Rules are constraints, column types, triggers that raise an error, and policies of row level
    security. For all other errors, such as a lost connection, a missing right or a full disk, the
    result is False.
    """
    if isinstance(error, exc.IntegrityError | exc.DataError):
        return True
    if str(getattr(error.orig, "sqlstate", "")).startswith(_RAISED_STATE_PREFIX):
        return True
    # The SQLSTATE of a policy is that of a missing right.
    diagnosis = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "source_function", None) == _POLICY_CHECK_FUNCTION


@contextlib.contextmanager
def translate_refusals(table: str, *, hint: str = _ROW_HINT) -> Iterator[None]:
    """Turn a database error of the block into RefusedRowError if the table refuses a row.

    Other database errors pass unchanged.

    Args:
        table: Name of the table, for the message.
        hint: A remedy for the user.

    Raises:
        RefusedRowError: A constraint, type, trigger or policy of the table refuses a row.
    """
    try:
        yield
    except exc.DBAPIError as error:
        if not is_refusal_by_table(error):
            raise
        database_message = describe_error(error)
        raise RefusedRowError(
            f"the table {table} of this database refuses a row: {database_message}",
            hint=hint,
            database_message=database_message,
        ) from error


def write_rows_and_list_refused(
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
    first_refused = write_rows_and_list_refused(tx, rows[:middle], write, refusals=refusals)
    return first_refused + write_rows_and_list_refused(tx, rows[middle:], write, refusals=refusals)
