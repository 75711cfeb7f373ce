"""Conditions on a page of ids meet the same rows whether the ids go as one array or one by one."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, create_engine, insert, select
from sqlalchemy.types import NullType

from pipeline.store.database import among

TABLE = Table("rows", MetaData(), Column("number", Integer), Column("text", Text), Column("any", NullType))
NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.lists(NUMBERS | TEXTS | NUMBERS.map(str) | st.sampled_from(["1", "01", "a\0b", "a", '"', "\\u0000", 1, 0]))


@pytest.fixture(scope="module")
def tx() -> Iterator[Connection]:
    """Return a connection to a table whose columns are of each affinity that ids may have."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE TABLE rows (number INTEGER, text TEXT, "any")')
        yield connection
        connection.rollback()
    engine.dispose()


@given(rows=VALUES, wanted=VALUES)
def test_one_array_meets_what_single_parameters_meet(
    tx: Connection, rows: list[int | str], wanted: list[int | str]
) -> None:
    """The affinity of the column decides what equals what, and NUL is a character like others."""
    tx.exec_driver_sql("DELETE FROM rows")
    if rows:
        tx.execute(insert(TABLE), [{"number": one, "text": str(one), "any": one} for one in rows])
    for column in TABLE.c:
        query = select(TABLE.c.text).order_by(TABLE.c.text)
        one_by_one = tx.execute(query.where(column.in_([*rows[:3], *wanted]))).scalars().all()
        assert tx.execute(query.where(among(tx, column, [*rows[:3], *wanted]))).scalars().all() == one_by_one
