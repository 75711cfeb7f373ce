"""Quotations in the answer of a task of one's own: each that is kept is a slice of the row's text, with its place.

What a model writes is looked for in the text as `pipeline.core.locate` does, and the slice that is found takes its
place: `text[start:end] == quote`, in code points; one that was found by likeness keeps that, too. A quotation in
several pieces is none, for it has no one slice.
"""

import copy
import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, final, get_args, get_origin

from pipeline.core.answer_paths import is_stored_quotation
from pipeline.core.text import escape_invisible

if TYPE_CHECKING:
    from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from pipeline.core.locate import SearchableText

MAX_PATH = 80  # characters of a field's path in a reason
FORMAT = "quotation"  # of the text in a JSON schema
OPTIONAL_FORMAT = "optional quotation"  # of one that may be missing from the text
MAX_TOLD = 60  # characters of a quotation in a reason
_NO_SCHEMAS = {"config", "default", "metadata"}  # members of a core schema


@final
class Quote(str):
    """A quotation of the row's text: a text, with `start` and `end` once it is located, both None before.

    `likeness` is the share of characters in common with what the model wrote where it was found by likeness alone, so
    that other words differ than numbers, negations and names; None where it is what the model wrote, but for its look.

    As the type of a field it must stand in the text, or the answer is invalid. `Quote(optional=True)`, as the type or
    in `Annotated[str, Quote(optional=True)]`, is one that becomes None where it does not stand there. The limits of a
    field, such as `max_length`, hold for what the model wrote; the slice may have more white space.
    """

    __slots__ = ("end", "is_optional", "likeness", "start")

    start: int | None
    end: int | None
    likeness: float | None
    is_optional: bool

    def __new__(
        cls,
        text: str | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        likeness: float | None = None,
        optional: bool = False,
    ) -> "Quote":
        """Make a quotation of a text, or, without one, what an annotation says `optional` with."""
        if text is None and optional:
            return cast("Quote", _OptionalQuote())
        made = super().__new__(cls, text or "")
        made.start, made.end, made.likeness, made.is_optional = start, end, likeness, optional
        return made

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """Return how pydantic validates and serialises the field."""
        return _quoting(handler(str if source is cls else source), is_optional=False)


class _OptionalQuote:
    """`Quote(optional=True)`: no text, for pydantic takes a text in an annotation for the name of a type."""

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """Return how pydantic validates and serialises the field; None, which is stored, is valid."""
        from pydantic_core import core_schema

        return core_schema.nullable_schema(_quoting(handler(str if source is self else source), is_optional=True))

    def __get_pydantic_json_schema__(self, core: "CoreSchema", handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        """Return the schema of what may be null by the field's own annotation alone."""
        inner: Any = core
        while inner["type"] != "nullable":
            inner = inner["schema"]
        return {**handler(inner["schema"]), "format": OPTIONAL_FORMAT}

    def __or__(self, other: Any) -> Any:
        """Return the annotation `Quote(optional=True) | other`."""
        return Union[self, other]  # noqa: UP007 - the bar is what is defined here

    __ror__ = __or__

    def __repr__(self) -> str:
        """Return it as it is written."""
        return "Quote(optional=True)"


def _quoting(schema: "CoreSchema", *, is_optional: bool) -> "CoreSchema":
    """Return the core schema of a text, or of a text or None, as that of a quotation.

    Raises:
        TypeError: it is of something else.
    """
    from pydantic_core import core_schema

    if schema["type"] == "nullable":
        return {**schema, "schema": _quoting(schema["schema"], is_optional=is_optional)}
    inner: Any = schema
    while "schema" in inner:
        inner = inner["schema"]
    if inner["type"] != "str":
        raise TypeError(f"a Quote is a text, and no {inner['type']}; of several write list[Quote]")
    return core_schema.no_info_wrap_validator_function(
        _read_optional if is_optional else _read,
        schema,
        serialization=core_schema.plain_serializer_function_ser_schema(_stored, when_used="json"),
        metadata={"pydantic_js_updates": {"format": OPTIONAL_FORMAT if is_optional else FORMAT}},
    )


def _read(value: Any, handler: Any) -> Quote:
    """Return a quotation of a text, as a model gives it, or of what is stored of a located one."""
    if isinstance(value, Mapping) and is_stored_quotation(value):
        return _read_stored(value)
    if isinstance(value, Quote):
        return Quote(handler(str(value)), start=value.start, end=value.end, likeness=value.likeness)
    return Quote(handler(value))


def _read_optional(value: Any, handler: Any) -> Quote:
    read = _read(value, handler)
    return Quote(read, start=read.start, end=read.end, likeness=read.likeness, optional=True)


def _read_stored(value: Mapping[str, Any]) -> Quote:
    quote, start, end = value["quote"], value["start"], value["end"]
    if not (type(quote) is str and type(start) is type(end) is int and 0 <= start < end == start + len(quote)):
        raise ValueError("start and end are no place of this quotation")
    likeness = value.get("likeness")
    if not (likeness is None or (type(likeness) is float and 0 < likeness < 1)):
        raise ValueError("likeness is no share of characters")
    return Quote(quote, start=start, end=end, likeness=likeness)


def _stored(value: Any) -> Any:
    """Return a quotation as it is stored: with its place once it is located, else as a text."""
    if isinstance(value, Quote) and value.start is not None:
        told: dict[str, Any] = {"quote": str(value), "start": value.start, "end": value.end}
        return told if value.likeness is None else {**told, "likeness": value.likeness}
    return value


def has_quotes(answer_model: "type[BaseModel]") -> bool:
    """Return whether a quotation can stand anywhere in an answer of this model.

    Raises:
        TypeError: a quotation has a pattern, or is to be changed; the message names the field.
    """
    answer_model.model_rebuild()
    return _holds_quotes(answer_model.__pydantic_core_schema__, answer_model.__name__)


def _holds_quotes(schema: Any, where: str) -> bool:
    """Return whether a part of a core schema is of a quotation or holds one, when all of it was looked at."""
    if isinstance(schema, list | tuple):
        return True in [_holds_quotes(one, where) for one in schema]
    if not isinstance(schema, dict):
        return schema is _read or schema is _read_optional
    kind = schema.get("type")
    if not isinstance(kind, str):  # fields by their names
        return True in [_holds_quotes(one, f"{where}.{name}") for name, one in schema.items()]
    if kind == "model":
        where = schema["cls"].__name__
    found = True in [_holds_quotes(one, where) for name, one in schema.items() if name not in _NO_SCHEMAS]
    if found and kind == "chain":
        raise TypeError(f"{where}: a Quote is a slice of the row's text, and can have no pattern and no other case")
    return found


def must_quote(answer_model: "type[BaseModel]") -> bool:
    """Return whether no answer of this model is valid without a quotation that stands in the text."""
    document = answer_model.model_json_schema()
    return _requires_quote(document, document.get("$defs", {}))


def _requires_quote(schema: Mapping[str, Any], models: Mapping[str, Any]) -> bool:
    """Return whether no value of a JSON schema is valid without such a quotation."""
    if "$ref" in schema:
        return _requires_quote(models[schema["$ref"].rpartition("/")[2]], models)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return all(_requires_quote(one, models) for one in choices)
    inner = [schema["properties"][name] for name in schema.get("required", ())]
    inner += [schema["items"]] if schema.get("minItems") else []
    return schema.get("format") == FORMAT or any(_requires_quote(one, models) for one in inner)


class _MissingError(Exception):
    """A quotation that must stand in the text does not; the message is the reason, on one line."""

    def __init__(self, path: str, quote: str, why: str) -> None:
        """Make the reason of a field's path, what is another in the text, and the beginning of the quotation."""
        told = escape_invisible(quote[: 2 * MAX_TOLD], most=MAX_TOLD)
        but = f", which has another {why}" if why else ""
        super().__init__(f'{escape_invisible(path, most=MAX_PATH)} is not in the text{but}: "{told}"')


def located(answer: "BaseModel", text: str) -> "tuple[BaseModel | None, str]":
    """Return a copy of an answer with every quotation located in a text, or None and why there is none.

    An optional quotation that is not in the text becomes None. The reason names the field's path, says where the text
    has all but another number, negation or name, and begins the quotation, on one line of at most 200 characters.
    """
    from pipeline.core.locate import SearchableText

    try:
        return _located(answer, "", SearchableText(text), stray=None), ""
    except _MissingError as missing:
        return None, str(missing)


def _located(value: Any, path: str, text: "SearchableText", *, stray: bool | None) -> Any:
    """Return a value with the quotations in it located; itself where there are none.

    `stray` is None where a plain text is a text, else whether it is an optional quotation: a validator of the field
    can make plain texts of quotations, and a default is one.
    """
    if isinstance(value, str):
        if isinstance(value, Quote):
            return _slice_of(value, path, text, is_optional=value.is_optional)
        return value if stray is None else _slice_of(value, path, text, is_optional=stray)
    if isinstance(value, Mapping):
        return {key: _located(one, f"{path}[{key!r}]", text, stray=stray) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        make = getattr(type(value), "_make", type(value))  # of a named tuple
        return make(_located(one, f"{path}[{at}]", text, stray=stray) for at, one in enumerate(value))
    kind: Any = type(value)
    names = _members(kind)
    before = {name: getattr(value, name) for name in names}
    front = f"{path}." if path else ""
    after = {name: _located(one, f"{front}{name}", text, stray=names[name]) for name, one in before.items()}
    changed = {name: one for name, one in after.items() if one is not before[name]}
    return _copy_with(value, changed) if changed else value


def _copy_with(value: Any, changed: Mapping[str, Any]) -> Any:
    if hasattr(value, "model_copy"):
        return value.model_copy(update=changed)
    made = copy.copy(value)
    for name, one in changed.items():
        object.__setattr__(made, name, one)
    return made


def _slice_of(quote: str, path: str, text: "SearchableText", *, is_optional: bool) -> Quote | None:
    found = text.locate(str(quote))
    if len(found) == 1:
        start, end = found[0].start, found[0].end
        before = quote.likeness if isinstance(quote, Quote) else None  # of what the model wrote
        likeness = found[0].mark if before is None else before
        return Quote(text.text[start:end], start=start, end=end, likeness=likeness, optional=is_optional)
    if not is_optional:
        raise _MissingError(path, quote, text.why_not(str(quote)))
    return None


@lru_cache(maxsize=1024)
def _members(kind: type) -> dict[str, bool | None]:
    """Return the fields of a model or a dataclass, each with what a plain text in it is, as `_located` takes it."""
    if hasattr(kind, "model_fields"):
        return {name: _stray(field.rebuild_annotation()) for name, field in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        return {field.name: _stray(field.type) for field in dataclasses.fields(kind)}
    return {}


def _stray(annotation: Any) -> bool | None:
    """Return whether a plain text in such a field is an optional quotation; None where it can be a text."""
    leaves = list(_leaves(annotation))
    quotes = [one for one in leaves if one is Quote or isinstance(one, Quote | _OptionalQuote)]
    if not quotes or any(isinstance(one, type) and issubclass(one, str) and one is not Quote for one in leaves):
        return None
    return any(isinstance(one, _OptionalQuote) for one in quotes)


def _leaves(annotation: Any) -> Iterator[Any]:
    """Yield the types that the values in a field can have, without what models below it hold."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from map(type, inner)
    elif origin is Annotated:
        marks = [one for one in inner[1:] if one is Quote or isinstance(one, Quote | _OptionalQuote)]
        yield from marks or _leaves(inner[0])
    elif not inner:
        yield annotation
    else:
        is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
        for one in inner[1:] if is_mapping else inner:
            yield from _leaves(one)
