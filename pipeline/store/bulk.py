"""Many rows through one statement, past what SQLAlchemy does for each row.

SQLAlchemy makes the statement, once; the driver then gets plain tuples. Its own way of running a statement for many
rows builds a dictionary of parameters for each, which takes longer than the database takes to write it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Table, TypeDecorator, insert
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement


def insert_rows(tx: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows, each a sequence of values in the order of `names`; columns that are not named get their defaults."""
    if not rows:
        return
    run(tx, insert(table), names, _as_stored(tx, table, names, rows))


def run(tx: Connection, statement: Executable, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
    """Run a statement once for each row, and return how many rows of the database it met in all.

    `names` are its bound parameters in the order of a row's values, which are what the driver takes: text, numbers,
    bytes, None.
    """
    if not rows:
        return 0
    if not isinstance(statement, ClauseElement):
        raise TypeError("not a statement that can be compiled")
    compiled = statement.compile(dialect=tx.dialect, column_keys=list(names))
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - that of a statement which is no DDL
    return tx.exec_driver_sql(compiled.string, _placed(compiled, names, rows)).rowcount


def _placed(compiled: SQLCompiler, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Return the rows as the driver takes them, with the parameters that the statement brought itself."""
    own = {name: value for name, value in compiled.params.items() if name not in names}
    if not compiled.positional:
        return [{**own, **dict(zip(names, row, strict=True))} for row in rows]
    wanted = list(compiled.positiontup or ())
    if wanted == list(names):
        return list(map(tuple, rows))
    place = {name: at for at, name in enumerate((*names, *own))}
    order, values = [place[name] for name in wanted], tuple(own.values())
    return [tuple(map((*row, *values).__getitem__, order)) for row in rows]


def _as_stored(
    tx: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> Sequence[Sequence[Any]]:
    """Return rows with the values of our own types as the database keeps them; the driver knows all others."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))  # by columns: few are ours, and rows are many
    for at, name in enumerate(names):
        kind = table.c[name].type
        own = isinstance(kind, TypeDecorator)
        process = kind.dialect_impl(tx.dialect).bind_processor(tx.dialect) if own else None
        if process is not None:
            known = {value: process(value) for value in set(columns[at])}  # few: a chunk is of one moment
            columns[at] = [known[value] for value in columns[at]]
    return list(zip(*columns, strict=True))
