"""Copy tables from an SQLite file into empty tables of PostgreSQL, and compare the row counts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select, text

from pipeline.core.errors import ConfigurationError, InconsistentError

# Rows that are read at a time.
PAGE_ROWS = 1000
_HIGHEST_USED_NUMBER = text("SELECT seq FROM sqlite_sequence WHERE lower(name) = lower(:table)")


def copy_tables(
    tx: Connection,
    target: Connection,
    tables: Sequence[Table],
    *,
    min_numbers: Mapping[str, int],
) -> dict[str, int]:
    """Copy every row of the tables in order, and return the number of rows by table name.

    New rows in PostgreSQL get numbers that no row had before, deleted rows included. The statistics
    of each table are updated (ANALYZE).

    Args:
        tx: Connection to the SQLite file.
        target: Connection to PostgreSQL, in whose transaction the rows are written.
        min_numbers: Table name to a number; numbers of new rows are higher.

    Raises:
        ConfigurationError: PostgreSQL cannot store a row.
        InconsistentError: A table has another number of rows than were sent.
    """
    row_counts = {table.name: _copy_rows(tx, target, table) for table in tables}
    for table in tables:
        stored_count = target.execute(select(func.count()).select_from(table)).scalar_one()
        sent_count = row_counts[table.name]
        if stored_count != sent_count:
            raise InconsistentError(
                f"{table.name} has {stored_count:,} rows on the server, "
                f"but {sent_count:,} were sent",
            )
        _continue_numbers(tx, target, table, min_numbers.get(table.name, 0))
        target.exec_driver_sql(f'ANALYZE "{table.name}"')
    return row_counts


def _copy_rows(tx: Connection, target: Connection, table: Table) -> int:
    """Send all rows of a table by COPY, and return their number.

    Rows are read in pages of PAGE_ROWS.

    Raises:
        ConfigurationError: PostgreSQL cannot store a row; the message names its place in the table
            as a line.
    """
    import psycopg

    count = 0
    driver: Any = target.connection.driver_connection
    column_names = ", ".join(f'"{column.name}"' for column in table.c)
    rows = tx.execute(select(*table.c).execution_options(yield_per=PAGE_ROWS))
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f'COPY "{table.name}" ({column_names}) FROM STDIN') as copy,
        ):
            for row in rows:
                count += 1
                copy.write_row(tuple(row))
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        match = re.search(r"line \d+(?:, column \w+)?", error.diag.context or "")
        position = match[0] if match else f"line {count}"
        raise ConfigurationError(
            f"PostgreSQL cannot store {table.name}, {position}; nothing was restored",
            hint="correct that row in the workspace, then make another backup",
        ) from None
    return count


def _continue_numbers(tx: Connection, target: Connection, table: Table, min_number: int) -> None:
    """Set the sequence of a table so that a new row gets an unused number above `min_number`.

    The number is also above all numbers that rows of the SQLite table had, deleted rows included.
    Does nothing if the table has no such sequence, or if both limits are 0.

    Args:
        tx: Connection to the SQLite file, from which the used numbers are read.
        target: Connection to PostgreSQL.
    """
    number_column = table.autoincrement_column
    if number_column is None:
        return

    used_numbers: list[Any] = [min_number, tx.execute(select(func.max(number_column))).scalar()]
    has_sequences = tx.exec_driver_sql(
        "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'",
    ).first()
    if has_sequences:
        highest_used = tx.execute(_HIGHEST_USED_NUMBER, {"table": table.name}).scalar()
        used_numbers.append(highest_used)
    highest_number = max(filter(None, used_numbers), default=0)

    sequence_name = target.exec_driver_sql(
        "SELECT pg_get_serial_sequence(%s, %s)",
        (table.name, number_column.name),
    ).scalar()
    if sequence_name is not None and highest_number:
        target.exec_driver_sql("SELECT setval(%s, %s)", (sequence_name, highest_number))
