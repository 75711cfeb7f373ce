"""SQL expressions that SQLite and PostgreSQL write differently."""

import hashlib
from typing import Any

from sqlalchemy import Float, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# The function that each connection to an SQLite file gets.
SQLITE_FUNCTION = "findable_hash"


class TextHash(FunctionElement[str]):
    """The SHA-256 of a text as hex; NULL for NULL."""

    inherit_cache = True
    name = "text_hash"
    type = Text()


@compiles(TextHash, "sqlite")
def _compile_hash_for_sqlite(element: TextHash, compiler: SQLCompiler, **options: Any) -> str:
    return f"{SQLITE_FUNCTION}({compiler.process(element.clauses, **options)})"


@compiles(TextHash, "postgresql")
def _compile_hash_for_server(element: TextHash, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    return f"encode(sha256(convert_to({text}, 'UTF8')), 'hex')"


def hash_for_sqlite(text: str | None) -> str | None:
    """Return the SHA-256 of a text as hex; None for None."""
    return None if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


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
def _compile_least_for_sqlite(
    element: LeastProbability, compiler: SQLCompiler, **options: Any
) -> str:
    column = compiler.process(element.clauses, **options)
    offset = f"instr({column}, '{element.MARK}') + {len(element.MARK)}"
    # SQLite reads the number at the beginning of a text.
    return f"(CAST(substr({column}, {offset}) AS REAL))"


@compiles(LeastProbability, "postgresql")
def _compile_least_for_server(
    element: LeastProbability, compiler: SQLCompiler, **options: Any
) -> str:
    column = compiler.process(element.clauses, **options)
    first_member = f"split_part({column}, '{element.MARK}', 2)"
    return f"(CAST(split_part({first_member}, ',', 1) AS DOUBLE PRECISION))"
