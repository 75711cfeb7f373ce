"""What messages say about columns of a database."""

from sqlalchemy import ARRAY, Column, Integer, create_engine
from sqlalchemy.types import NullType

from pipeline.tables.reflection import describe_column_type


def test_type_without_a_name_is_left_out() -> None:
    """A message about an unknown type, or an array of it, has no type."""
    engine = create_engine("sqlite://")
    with engine.connect() as tx:
        labels = [
            describe_column_type(tx, Column("tone", column_type))
            for column_type in (Integer(), NullType(), ARRAY(NullType()))
        ]
    engine.dispose()
    assert labels == [" (integer)", "", ""]
