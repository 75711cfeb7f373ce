"""Quotations in the answer of a task of one's own: each that is kept is a slice of the row's text, with its place.

What a model writes is looked for in the text as `pipeline.core.locate` does, and the slice that is found takes its
place: `text[start:end] == quote`, in code points; one that was found by likeness keeps that, too. A quotation in
several pieces is none, for it has no one slice. `leaves` takes an answer apart into its values.
"""

import dataclasses
import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast, final

from pipeline.core.declaration import json_schema
from pipeline.core.text import escape_invisible

if TYPE_CHECKING:
    from pydantic import BaseModel, GetCoreSchemaHandler
    from pydantic_core import CoreSchema

    from pipeline.core.locate import SearchableText

MAX_PATH = 80  # characters of a field's path in a reason
NOT_THERE = "is not in the text"  # in the reason of an answer whose quotation is missing there
NONE_THERE = "no quote is in the "  # begins the reason of an answer of which none is
MAX_TOLD = 60  # characters of a quotation in a reason
FORMAT = "quotation"  # of the text in a JSON schema
OPTIONAL = "optional quotation"  # of one that may be missing from the text
_QUOTE = {"quote", "start", "end"}
LIKENESS = "likeness"  # of a quotation that was found by likeness alone
_LIST_PLACE = re.compile(r"\[\d+\]")  # of a member, in the path of a value
Path = tuple[str | int, ...]  # names of fields, and places in lists from 0


@final
class Quote(str):
    """A quotation of the row's text: a text, with `start` and `end` once it is located, both None before.

    `likeness` is the share of characters in common with what the model wrote where it was found by likeness alone, so
    that other words differ than numbers, negations and names; None where it is what the model wrote, but for its look.
    As the type of a field it must stand in the text, or the answer is invalid. `Annotated[str, Quote(optional=True)]`
    is one that becomes None where it does not stand there. The limits of a field, such as `max_length`, hold for what
    the model wrote; the slice may have more white space.
    """

    __slots__ = ("end", "likeness", "start")

    start: int | None
    end: int | None
    likeness: float | None

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
        made.start, made.end, made.likeness = start, end, likeness
        return made

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        return _quoting(handler(str if source is cls else source), FORMAT)


class _OptionalQuote:
    """`Quote(optional=True)`: no text, for pydantic takes a text in an annotation for the name of a type."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        from pydantic_core import core_schema

        return core_schema.nullable_schema(
            _quoting(handler(str if source is self else source), OPTIONAL)
        )


def _quoting(schema: "CoreSchema", name: str) -> "CoreSchema":
    """Return the core schema of a text, or of a text or None, as that of a quotation with a format's name.

    TypeError where it is of something else.
    """
    from pydantic_core import core_schema

    if schema["type"] == "nullable":
        return {**schema, "schema": _quoting(schema["schema"], name)}
    inner: Any = schema
    while "schema" in inner:
        inner = inner["schema"]
    if inner["type"] != "str":
        raise TypeError(f"a Quote is a text, and no {inner['type']}; of several write list[Quote]")
    return core_schema.no_info_wrap_validator_function(
        _read,
        schema,
        serialization=core_schema.plain_serializer_function_ser_schema(_stored, when_used="json"),
        metadata={"pydantic_js_updates": {"format": name}},
    )


def _read(value: Any, handler: Any) -> Quote:
    if isinstance(value, Quote):
        return Quote(handler(str(value)), start=value.start, end=value.end, likeness=value.likeness)
    if not is_stored_quotation(value):
        return Quote(handler(value))
    quote = value["quote"]
    start = value["start"]
    end = value["end"]
    likeness = value.get(LIKENESS)
    if not (
        type(quote) is str
        and type(start) is type(end) is int
        and 0 <= start < end == start + len(quote)
    ):
        raise ValueError("start and end are no place of this quotation")
    if not (likeness is None or (type(likeness) is float and 0 < likeness < 1)):
        raise ValueError("likeness is no share of characters")
    return Quote(quote, start=start, end=end, likeness=likeness)


def _stored(value: Any) -> Any:
    if isinstance(value, Quote) and value.start is not None:
        told: dict[str, Any] = {"quote": str(value), "start": value.start, "end": value.end}
        return told if value.likeness is None else {**told, "likeness": value.likeness}
    return value


def has_quotes(answer_model: "type[BaseModel]") -> bool:
    """Return whether a quotation can stand anywhere in an answer of this model.

    TypeError where one has a pattern, or is to be changed, and would be stored as a text.
    """
    marks = [f'"format": "{name}"' for name in (FORMAT, OPTIONAL)]
    schemas = [
        json.dumps(answer_model.model_json_schema(mode=mode))
        for mode in ("validation", "serialization")
    ]
    read, written = ([schema.count(mark) for mark in marks] for schema in schemas)
    if read != written:
        said = "a Quote is a slice of the row's text, and can have no pattern and no other case"
        raise TypeError(f"{answer_model.__name__}: {said}")
    return any(read)


def must_quote(answer_model: "type[BaseModel]") -> bool:
    """Return whether an answer of this model has a field that is a quotation, and no other value."""
    return any(
        one.annotation is Quote and one.is_required() for one in answer_model.model_fields.values()
    )


class _MissingError(Exception):
    """A quotation that must stand in the text does not; the message is the reason, on one line."""


def located(answer: "BaseModel", text: str) -> "tuple[BaseModel | None, str]":
    """Return a copy of an answer with every quotation located in a text, or None and why there is none.

    An optional quotation that is not in the text becomes None. The reason names the field's path, says where the text
    has all but another number, negation or name, and begins the quotation, on one line of at most 200 characters.
    """
    from pipeline.core.locate import SearchableText

    try:
        return _located(answer, "", _Source(SearchableText(text)), frozenset()), ""
    except _MissingError as missing:
        return None, str(missing)


@dataclasses.dataclass
class _Source:
    """The text that an answer quotes, and how often the members of a list quoted the same before."""

    text: "SearchableText"
    quoted: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)

    def next_occurrence(self, path: str, quote: str) -> int:
        """Return how many members of the same list have this quotation already, and count it."""
        list_path = _LIST_PLACE.sub("[]", path)
        key = (list_path, " ".join(quote.split()).casefold())
        self.quoted[key] += 1
        return self.quoted[key] - 1


def _located(value: Any, path: str, text: _Source, formats: frozenset[str]) -> Any:
    """Return a value with the quotations in it located; itself where there are none.

    `formats` are those of the texts that its field can hold. A plain text is a quotation where none of them is one of a
    plain text: a validator of the field can make plain texts of quotations, and a default is one.
    """
    if isinstance(value, str):
        is_quotation = isinstance(value, Quote) or (formats and "" not in formats)
        return (
            _slice_of(value, path, text, is_optional=OPTIONAL in formats) if is_quotation else value
        )
    if isinstance(value, Mapping):
        return {key: _located(one, f"{path}[{key!r}]", text, formats) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        make = getattr(type(value), "_make", type(value))  # of a named tuple
        return make(_located(one, f"{path}[{at}]", text, formats) for at, one in enumerate(value))
    front = f"{path}." if path else ""
    kind: Any = type(value)
    before = {name: (getattr(value, name), inner) for name, inner in _members(kind).items()}
    after = {
        name: _located(one, f"{front}{name}", text, inner) for name, (one, inner) in before.items()
    }
    changed = {name: one for name, one in after.items() if one is not before[name][0]}
    if not changed:
        return value
    return (
        value.model_copy(update=changed)
        if hasattr(value, "model_copy")
        else dataclasses.replace(value, **changed)
    )


def _slice_of(quote: str, path: str, source: _Source, *, is_optional: bool) -> Quote | None:
    text = source.text
    found = text.locate(str(quote), occurrence=source.next_occurrence(path, str(quote)))
    if len(found) == 1:
        start = found[0].start
        end = found[0].end
        before = quote.likeness if isinstance(quote, Quote) else None  # of what the model wrote
        return Quote(text.text[start:end], start=start, end=end, likeness=before or found[0].mark)
    if not is_optional:
        why = text.why_not(str(quote))
        told = escape_invisible(quote[: 2 * MAX_TOLD], most=MAX_TOLD)
        but = f", which has another {why}" if why else ""
        raise _MissingError(f'{escape_invisible(path, most=MAX_PATH)} {NOT_THERE}{but}: "{told}"')
    return None


@lru_cache(maxsize=1024)
def _members(kind: type) -> dict[str, frozenset[str]]:
    """Return the fields of a model or a dataclass, each with the formats of the texts that can stand in it."""
    if not (hasattr(kind, "model_fields") or dataclasses.is_dataclass(kind)):
        return {}
    model = json_schema(kind, by_alias=False)
    return {name: _formats(one) for name, one in model.get("properties", {"root": model}).items()}


def _formats(node: Mapping[str, Any]) -> frozenset[str]:
    """Return the formats of the texts in a JSON schema, "" for one without, but not in what models in it hold."""
    if "properties" in node:
        return frozenset()
    inner = [one for name in ("anyOf", "oneOf", "prefixItems") for one in node.get(name, ())]
    inner += [
        node[name] for name in ("items", "additionalProperties") if isinstance(node.get(name), dict)
    ]
    own = {node.get("format", "")} if node.get("type") == "string" else set[str]()
    return frozenset(own.union(*map(_formats, inner)))


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (path, value) of every value, in the order of the answer; a quotation with its place is one value.

    An empty list or object is a value of its own.
    """
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, Mapping) and not is_quotation(value):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    if not inside:
        yield path, value
    for name, one in inside:
        yield from leaves(one, (*path, name))


def is_quotation(value: Any) -> bool:
    """Return whether a value is a quotation with the place at which it stands."""
    return isinstance(value, Mapping) and value.keys() >= _QUOTE and isinstance(value["quote"], str)


def is_stored_quotation(value: Any) -> bool:
    """Return whether a value is what is stored of a quotation, and nothing beside."""
    return isinstance(value, Mapping) and value.keys() - {LIKENESS} == _QUOTE


def likeness_told(quotation: Mapping[str, Any]) -> str:
    """Return how a quotation was found, to be put behind its place: ", by likeness 0.93", or nothing."""
    found = quotation.get(LIKENESS)
    return f", by likeness {found:.2f}" if isinstance(found, float) else ""


def shown_value(value: Any) -> str:
    """Return a value as a person reads it: a quotation between its marks, with its place."""
    if is_quotation(value):
        return f"“{value['quote']}” ({value['start']}-{value['end']}{likeness_told(value)})"
    if value is None:
        return "-"
    is_whole = isinstance(value, float) and value.is_integer()
    return (
        value
        if isinstance(value, str)
        else json.dumps(int(value) if is_whole else value, ensure_ascii=False)
    )
