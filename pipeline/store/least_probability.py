"""The least probability in a column of confidences, as an SQL expression."""

from typing import Any

from sqlalchemy import (
    Float,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class LeastProbability(FunctionElement[float]):
    """The first, and thus the least, probability in a column of confidences; NULL without any.

    `store.confidences` encodes the column.
    """

    inherit_cache = True
    name = "least_probability"
    type = Float()
    # The text between the name of a field and its probability. No name contains it, because
    # quotation marks in names have a backslash.
    MARK = '": {"probability": '


@compiles(LeastProbability, "sqlite")
def _compile_for_sqlite(element: LeastProbability, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    offset = f"instr({column}, '{element.MARK}') + {len(element.MARK)}"
    # SQLite reads the number at the beginning of a text.
    return f"(CAST(substr({column}, {offset}) AS REAL))"


@compiles(LeastProbability, "postgresql")
def _compile_for_server(element: LeastProbability, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    first_member = f"split_part({column}, '{element.MARK}', 2)"
    return f"(CAST(split_part({first_member}, ',', 1) AS DOUBLE PRECISION))"
