"""Copy tables from an SQLite file into empty ones of PostgreSQL, and count them there."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select, text

from pipeline.core.errors import ConfigurationError, InconsistentError

PAGE = 1000  # rows that are read at a time
_NEWEST = text("SELECT seq FROM sqlite_sequence WHERE lower(name) = lower(:table)")


def copy_tables(
    tx: Connection, there: Connection, tables: Sequence[Table], *, above: Mapping[str, int]
) -> dict[str, int]:
    """Copy every row of these tables from `tx` to `there`; return how many rows each has, counted there.

    A new row gets a number that none ever had, not even one that is deleted, nor one up to that in `above`.
    """
    found = {table.name: _copy(tx, there, table) for table in tables}
    for table in tables:
        count = there.execute(select(func.count()).select_from(table)).scalar_one()
        if count != found[table.name]:
            raise InconsistentError(
                f"{table.name} has {count:,} rows there, and {found[table.name]:,} were sent"
            )
        _count_on(tx, there, table, above.get(table.name, 0))
        there.exec_driver_sql(f'ANALYZE "{table.name}"')
    return found


def _copy(tx: Connection, there: Connection, table: Table) -> int:
    import psycopg

    count = 0
    driver: Any = there.connection.driver_connection
    names = ", ".join(f'"{column.name}"' for column in table.c)
    rows = tx.execute(select(*table.c).execution_options(yield_per=PAGE))
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy,
        ):
            for row in rows:
                count += 1
                copy.write_row(tuple(row))
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        found = re.search(r"line \d+(?:, column \w+)?", error.diag.context or "")
        raise ConfigurationError(
            f"PostgreSQL cannot hold {table.name}, {found[0] if found else f'line {count}'}; nothing was restored",
            hint="mend that row in the workspace, and make another backup",
        ) from None
    return count


def _count_on(tx: Connection, there: Connection, table: Table, above: int) -> None:
    counts = table.autoincrement_column
    if counts is None:
        return
    newest: list[Any] = [above, tx.execute(select(func.max(counts))).scalar()]
    if tx.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").first():
        newest.append(tx.execute(_NEWEST, {"table": table.name}).scalar())
    place = there.exec_driver_sql(
        "SELECT pg_get_serial_sequence(%s, %s)", (table.name, counts.name)
    ).scalar()
    if place is not None and (number := max(filter(None, newest), default=0)):
        there.exec_driver_sql("SELECT setval(%s, %s)", (place, number))
