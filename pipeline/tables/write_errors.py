"""Report rows that another program's table refuses, and fill its columns that are NOT NULL."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import exc

from pipeline.core.errors import RefusedRowError
from pipeline.store.database import describe_error
from pipeline.tables.adoption_errors import is_constraint_error

_ROW_HINT = (
    "give its other columns defaults, widen short columns, start its sequence above all ids, or "
    "use another database"
)


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


def replace_nulls(values: Mapping[str, Any], blanks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with each None replaced by the column's value in `blanks`, if it exists."""
    return {name: blanks.get(name) if value is None else value for name, value in values.items()}
