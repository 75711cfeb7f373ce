"""Say which column each field of an answer gets, and what an answer's value is in that column.

A field whose values are all of one plain kind has a typed column; all others (lists, objects, quotations, unions) are
JSON. What is no value of its kind is NULL.
"""

import json
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from sqlalchemy import BigInteger, Boolean, Text
from sqlalchemy.types import TypeEngine

from pipeline.core.declaration import MAX_COLUMN
from pipeline.core.errors import InputError
from pipeline.core.text import BAD_TEXT
from pipeline.store.schema import NUMBER, AsTheColumn, IsoTime, time_of
from pipeline.tables.cells import compact_json

if TYPE_CHECKING:
    from pydantic import BaseModel

WHOLE = 2**63  # whole numbers of 64 bits are below it, and not below minus it
JSON = "json"
DATE = Text().with_variant(AsTheColumn("DATE"), "postgresql")
TYPES: Mapping[str, TypeEngine[Any]] = {
    "text": Text(),
    "integer": BigInteger(),
    "real": NUMBER,
    "boolean": Boolean(),
    "date": DATE,
    "time": IsoTime(),
    JSON: Text().with_variant(AsTheColumn("JSONB"), "postgresql"),
}
_KINDS: Mapping[Any, str] = {
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "real",
    Decimal: "real",
    date: "date",
    datetime: "time",
}


def fields_of(answer: "type[BaseModel]") -> tuple[tuple[str, str], ...]:
    """Return (name, kind) of each field of a model, in order: text, integer, real, boolean, date, time or json.

    Raises:
        InputError: two names are one to a database, or one is longer than a column's may be.
    """
    found: dict[str, str] = {}
    for name in answer.model_fields:
        if len(name.encode()) > MAX_COLUMN:
            raise InputError(f"the field `{name}` of the answer has a name of more than {MAX_COLUMN} bytes")
        if (other := found.setdefault(name.casefold(), name)) != name:
            raise InputError(f"the fields `{other}` and `{name}` of the answer are one name to a database")
    return tuple((name, _kind(one.annotation, one.metadata)) for name, one in answer.model_fields.items())


def stored_cell(kind: str, value: Any) -> Any:
    """Return a value of a field as the driver of either database takes it; None where it is none of its kind."""
    try:
        return None if value is None else _CELLS[kind](value)
    except (TypeError, ValueError, OverflowError):
        return None


def fields_in(answer_json: str) -> dict[str, Any]:
    """Return the values of an answer by the names of its fields; of a model that is no object its `root`."""
    document = json.loads(answer_json)
    return document if isinstance(document, dict) else {"root": document}


def why_unstorable(answer: "str | BaseModel") -> str:
    """Return why no database could keep an answer (JSON or a model) as it is; the empty text where both can."""
    try:
        document = json.loads(answer) if isinstance(answer, str) else answer.model_dump(mode="json")
        return next(_unstorable(document, ""), "")
    except UnicodeError:
        return "a text that is half a character (a lone surrogate)"
    except (ValueError, RecursionError):
        return "it is no JSON that can be read"


def _unstorable(value: Any, place: str) -> Iterator[str]:
    where = f" in `{place}`" if place else ""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _unstorable(name, place)
            yield from _unstorable(one, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _unstorable(one, f"{place}[{number}]")
    elif isinstance(value, str) and "\0" in value:
        yield f"a text with NUL{where}"
    elif isinstance(value, str) and BAD_TEXT.search(value):
        yield f"a text with half a character (a lone surrogate){where}"
    elif isinstance(value, int) and not -WHOLE <= value < WHOLE:
        yield f"a whole number of more than 64 bits{where}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"a number that is none (NaN or infinite){where}"


def _kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return the kind of a type with what stands beside it; what another library makes of it is JSON."""
    own = (type(one).__module__.partition(".")[0] for one in metadata if hasattr(one, "__get_pydantic_core_schema__"))
    if any(one != "pydantic" for one in own):
        return JSON
    if get_origin(annotation) is Annotated:
        return _kind(annotation.__origin__, annotation.__metadata__)
    if (meant := getattr(annotation, "__supertype__", getattr(annotation, "__value__", None))) is not None:
        return _kind(meant)  # a type under another name
    kinds = set(_kinds(annotation))
    return kinds.pop() if len(kinds) == 1 else JSON


def _kinds(annotation: Any) -> Iterator[str]:
    """Yield the kind of each type of a union, or of each value that may be; members of an enum are their values."""
    if get_origin(annotation) in {Union, types.UnionType}:
        yield from (_kind(one) for one in get_args(annotation) if one is not types.NoneType)
    elif get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        values = get_args(annotation) or annotation
        plain = (one.value if isinstance(one, Enum) else one for one in values)
        yield from (_KINDS.get(type(one), JSON) for one in plain if one is not None)
    else:
        yield _KINDS.get(annotation, JSON)


def _integer(value: Any) -> int | None:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if is_whole and -WHOLE <= value < WHOLE else None


def _real(value: Any) -> float | None:
    number = float(value)  # decimal ones come as text
    return number if math.isfinite(number) else None


def _time(value: Any) -> str | None:
    moment = time_of(value)
    return None if moment is None else moment.astimezone(UTC).isoformat(" ", "microseconds")


_CELLS: Mapping[str, Callable[[Any], Any]] = {
    "text": lambda value: value if isinstance(value, str) else compact_json(value),
    "integer": _integer,
    "real": _real,
    "boolean": lambda value: value if isinstance(value, bool) else None,
    "date": lambda value: date.fromisoformat(value).isoformat(),
    "time": _time,
    JSON: compact_json,
}
