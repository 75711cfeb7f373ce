"""The SHA-256 of a text, as an SQL expression."""

import hashlib
from typing import Any

from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# The function that each connection to an SQLite file gets.
SQLITE_FUNCTION = "askrows_hash"


class TextHash(FunctionElement[str]):
    """The SHA-256 of a text as hex; NULL for NULL."""

    inherit_cache = True
    name = "text_hash"
    type = Text()


@compiles(TextHash, "sqlite")
def _compile_for_sqlite(element: TextHash, compiler: SQLCompiler, **options: Any) -> str:
    return f"{SQLITE_FUNCTION}({compiler.process(element.clauses, **options)})"


@compiles(TextHash, "postgresql")
def _compile_for_server(element: TextHash, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    return f"encode(sha256(convert_to({text}, 'UTF8')), 'hex')"


def hash_for_sqlite(text: str | None) -> str | None:
    """Return the SHA-256 of a text as hex; None for None."""
    return None if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
