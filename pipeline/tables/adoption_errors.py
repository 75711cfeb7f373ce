"""Detect and describe rules of another program's table that stop an adoption or a change.

- `write_each` writes rows, and names the row that a table refuses.
- `translate_refusals` reports a refused row.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    exc,
)

from pipeline.core.errors import ConfigurationError, RefusedRowError
from pipeline.store.database import describe_error

# A row to write; its last cell is its name in messages.
Row = TypeVar("Row", bound=Sequence[Any])
_ROW_HINT = (
    "give its other columns defaults, widen short columns, start its sequence above all ids, or "
    "use another database"
)
# SQLite's message if a foreign key refers to columns without a unique key.
_FOREIGN_KEY_MISMATCH = "foreign key mismatch"
# SQLSTATE class of errors that a trigger raises.
_RAISED_STATE_PREFIX = "P0"
# SQLSTATE of a value for a column whose values the database generates.
_GENERATED_COLUMN_STATE = "428C9"
# PostgreSQL's function that checks a new row against the policies of row level security.
_POLICY_CHECK_FUNCTION = "ExecWithCheckOptions"


def adoption_error(
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


def write_each(
    tx: Connection,
    table: str,
    rows: Sequence[Row],
    write: Callable[[Sequence[Row]], object],
) -> None:
    """Write rows together; if the table refuses them, write row by row to name the refused row.

    Each attempt is a savepoint. If the table refuses the rows together but accepts each row alone,
    all rows are written, and no error is raised. Rows before the refused row stay written in the
    caller's transaction. Database errors that are no refusal, see `is_constraint_error`, are raised
    unchanged.

    Args:
        tx: The caller's transaction.
        table: Name of the table in messages.
        rows: The last cell of each row is its name in messages.
        write: Writes some of the rows in `tx`.

    Raises:
        ConfigurationError: A rule of the table, such as a constraint or a trigger, refuses a row;
            the message names the row.
    """
    try:
        with tx.begin_nested():
            write(rows)
    except exc.DBAPIError as error:
        if not is_constraint_error(error):
            raise
        if len(rows) == 1:
            raise adoption_error(
                table,
                f"refuses a change of its row {rows[0][-1]}: {describe_error(error)}",
                hint=(
                    "correct this row, or the rule or trigger that refuses it, "
                    "then run the same command again"
                ),
            ) from error
        for row in rows:
            write_each(
                tx,
                table,
                [row],
                write,
            )


def is_constraint_error(error: exc.DBAPIError) -> bool:
    """Return whether a rule of the table stopped a statement.

    Rules are constraints, column types, generated columns, triggers that raise an error, policies
    of row level security, and SQLite's foreign keys without a unique key. For all other errors,
    such as a lost connection, a missing right or a full disk, the result is False.
    """
    if isinstance(error, exc.IntegrityError | exc.DataError):
        return True
    sqlstate = str(getattr(error.orig, "sqlstate", ""))
    if sqlstate.startswith(_RAISED_STATE_PREFIX) or sqlstate == _GENERATED_COLUMN_STATE:
        return True
    # The SQLSTATE of a policy is that of a missing right.
    diagnosis = getattr(error.orig, "diag", None)
    if getattr(diagnosis, "source_function", None) == _POLICY_CHECK_FUNCTION:
        return True
    return _FOREIGN_KEY_MISMATCH in str(error.orig)


@contextlib.contextmanager
def translate_refusals(table: str, *, hint: str = _ROW_HINT) -> Iterator[None]:
    """Turn a database error of the block into RefusedRowError if the table refuses a row.

    Other database errors pass unchanged.

    Args:
        table: Name of the table, for the message.
        hint: A remedy for the user.

    Raises:
        RefusedRowError: A constraint, type or trigger of the table refuses a row.
    """
    try:
        yield
    except exc.DBAPIError as error:
        if not is_constraint_error(error):
            raise
        raise RefusedRowError(
            f"the table {table} of this database refuses a row: {describe_error(error)}",
            hint=hint,
        ) from error
