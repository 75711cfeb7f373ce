"""Quotations in the answers of user tasks. Each stored quotation is a slice of its row's text.

`askrows.pipeline.core.locate` searches for the quotation of a reply, and the slice replaces it:
`text[start:end] == quote`, in code points. A slice that was found by likeness has its likeness.
"""

import dataclasses
import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, cast, final

from askrows.pipeline.core.declaration import make_inlined_json_schema
from askrows.pipeline.core.text import replace_invisible_characters

if TYPE_CHECKING:
    from pydantic import BaseModel, GetCoreSchemaHandler
    from pydantic_core import CoreSchema

    from askrows.pipeline.core.locate import SearchableText

# Characters of a field's path in a reason.
MAX_FIELD_PATH_LENGTH = 80
# Part of the reason for an answer with a missing quotation.
MISSING_QUOTE_REASON = "is not in the text"
# Beginning of the reason for an answer without any valid quotation.
NO_QUOTE_REASON = "no quote is in the "
# Characters of a quotation in a reason.
MAX_REASON_CHARS = 60
# Formats in the JSON schema: of a quotation, and of a quotation that may be missing from the text.
QUOTE_FORMAT = "quotation"
OPTIONAL_QUOTE_FORMAT = "optional quotation"
QUOTE_FORMATS = frozenset({QUOTE_FORMAT, OPTIONAL_QUOTE_FORMAT})
_QUOTE_MEMBERS = {"quote", "start", "end"}
# A greater whole float is displayed with its exponent; it need not be the number that was typed.
MAX_EXACT_FLOAT = 2**53
# Member of a stored quotation that was found by likeness.
LIKENESS_MEMBER = "likeness"
# The index of a list member in the path of a value.
_LIST_INDEX = re.compile(r"\[\d+\]")
# Names of fields, and indexes in lists.
FieldPath = tuple[str | int, ...]


@final
class Quote(str):
    """A quotation of the row's text.

    `start` and `end` are its offsets, None before it is located. `likeness` is the similarity with
    the text of the reply if the slice was found by likeness, else None.

    As the type of a required field it must be in the text, or the answer is invalid. A field of
    type `Annotated[str, Quote(optional=True)]` becomes None instead. Limits of the field, such as
    `max_length`, apply to the text of the reply. The slice can have more white space.
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
        """Create a quotation, or the annotation of an optional quotation.

        `optional` without `text` creates the annotation. Without both, the quotation is empty.
        """
        if text is None and optional:
            return cast("Quote", _OptionalQuote())
        quote = super().__new__(cls, text or "")
        quote.start = start
        quote.end = end
        quote.likeness = likeness
        return quote

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        source: Any,
        handler: "GetCoreSchemaHandler",
    ) -> "CoreSchema":
        return _make_quotation_schema(handler(str if source is cls else source), QUOTE_FORMAT)


class _OptionalQuote:
    """The annotation `Quote(optional=True)`.

    It is not a str, because pydantic reads a str in an annotation as the name of a type.
    """

    def __get_pydantic_core_schema__(
        self,
        source: Any,
        handler: "GetCoreSchemaHandler",
    ) -> "CoreSchema":
        from pydantic_core import core_schema

        return core_schema.nullable_schema(
            _make_quotation_schema(
                handler(str if source is self else source), OPTIONAL_QUOTE_FORMAT
            ),
        )


def _make_quotation_schema(schema: "CoreSchema", format_: str) -> "CoreSchema":
    """Return the core schema of a quotation, made from that of a text or an optional text.

    The schema validates by `_to_quote_with_valid_offsets`. In JSON, a located quotation is written
    as a dict with quote, start and end, by `_to_stored_quotation`.

    Args:
        schema: The core schema of the field's type.
        format_: The format in the JSON schema that marks a quotation.

    Raises:
        TypeError: The schema is of another type.
    """
    from pydantic_core import core_schema

    if schema["type"] == "nullable":
        return {**schema, "schema": _make_quotation_schema(schema["schema"], format_)}

    inner_schema: Any = schema
    while "schema" in inner_schema:
        inner_schema = inner_schema["schema"]
    if inner_schema["type"] != "str":
        raise TypeError(
            f"a Quote must be a text, not {inner_schema['type']}; for several use list[Quote]",
        )
    serialization = core_schema.plain_serializer_function_ser_schema(
        _to_stored_quotation, when_used="json"
    )
    return core_schema.no_info_wrap_validator_function(
        _to_quote_with_valid_offsets,
        schema,
        serialization=serialization,
        metadata={"pydantic_js_updates": {"format": format_}},
    )


def _to_quote_with_valid_offsets(value: Any, handler: Any) -> Quote:
    """Return a Quote made from a text, a Quote, or a stored quotation (quote, start and end).

    In an optional field, None does not get here.

    Args:
        handler: Pydantic's validation of the text; it raises for an invalid text.

    Raises:
        ValueError: The offsets or the likeness of a stored quotation are invalid.
    """
    if isinstance(value, Quote):
        return Quote(handler(str(value)), start=value.start, end=value.end, likeness=value.likeness)
    if not is_stored_quotation(value):
        return Quote(handler(value))

    quote = value["quote"]
    start = value["start"]
    end = value["end"]
    has_types = type(quote) is str and type(start) is type(end) is int
    if not (has_types and 0 <= start < end == start + len(quote)):
        raise ValueError("start and end do not fit this quotation")
    likeness = value.get(LIKENESS_MEMBER)
    if not (likeness is None or (type(likeness) is float and 0 < likeness < 1)):
        raise ValueError("likeness must be between 0 and 1")
    return Quote(quote, start=start, end=end, likeness=likeness)


def _to_stored_quotation(value: Any) -> Any:
    """Return a located quotation as it is stored, and any other value unchanged.

    Lists and dicts are other values, too: quotations in them stay as they are. The stored form is a
    dict with quote, start, end, and the likeness if it has any.
    """
    if not isinstance(value, Quote) or value.start is None:
        return value
    stored: dict[str, Any] = {"quote": str(value), "start": value.start, "end": value.end}
    if value.likeness is not None:
        stored[LIKENESS_MEMBER] = value.likeness
    return stored


def has_quotes(answer_model: "type[BaseModel]") -> bool:
    """Return whether an answer of this model can contain a quotation."""
    schema = json.dumps(answer_model.model_json_schema(mode="validation"))
    return any(f'"format": "{name}"' in schema for name in QUOTE_FORMATS)


def check_quotes_are_unchanged(answer_model: "type[BaseModel]") -> None:
    """Check that no type of an answer changes its quotations, or restricts them by a pattern.

    Raises:
        TypeError: A quotation has a pattern or is transformed, so it would be stored as a text.
    """
    format_members = [f'"format": "{name}"' for name in QUOTE_FORMATS]
    input_schema = json.dumps(answer_model.model_json_schema(mode="validation"))
    output_schema = json.dumps(answer_model.model_json_schema(mode="serialization"))
    input_counts = [input_schema.count(member) for member in format_members]
    output_counts = [output_schema.count(member) for member in format_members]
    if input_counts != output_counts:
        raise TypeError(
            f"{answer_model.__name__}: a Quote is part of the row's text, so it can have no "
            "pattern and no changed case",
        )


def requires_quote(answer_model: "type[BaseModel]") -> bool:
    """Return whether a required field of the model is a quotation."""
    return any(
        field.annotation is Quote and field.is_required()
        for field in answer_model.model_fields.values()
    )


class _MissingError(Exception):
    """A required quotation is not in the text; the message is the reason, on a single line."""


def locate_quotes(answer: "BaseModel", text: str) -> "tuple[BaseModel | None, str]":
    """Return a copy of an answer with all quotations located in a text, or None and the reason.

    An optional quotation that is not in the text becomes None. For a required quotation the reason
    has the path of its field, the difference from similar text, and the beginning of the
    quotation, on a single line of at most 200 characters.
    """
    from askrows.pipeline.core.locate import SearchableText

    try:
        return _locate_quotations(answer, "", _Source(SearchableText(text)), frozenset()), ""
    except _MissingError as missing:
        return None, str(missing)


@dataclasses.dataclass
class _Source:
    """The text that an answer quotes, with counts of equal quotations."""

    text: "SearchableText"
    # Number of earlier quotations, by path of the list and folded quotation.
    quote_counts: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)

    def next_occurrence(self, path: str, quote: str) -> int:
        """Count a quotation, and return the number of equal quotations before it in its list."""
        list_path = _LIST_INDEX.sub("[]", path)
        key = (list_path, " ".join(quote.split()).casefold())
        self.quote_counts[key] += 1
        return self.quote_counts[key] - 1


def _locate_quotations(value: Any, path: str, source: _Source, formats: frozenset[str]) -> Any:
    """Return a copy of a value with the slice of the row's text in the place of each quotation.

    Lists, mappings, models and dataclasses are searched, too. The given value is not changed: a
    list or mapping is always copied, a model or dataclass only if one of its fields changes. An
    optional quotation that is not in the text becomes None.

    A `Quote` is a quotation. A plain str is one, too, if the field allows no other texts than
    quotations: a validator or a default may have turned the Quote into a str.

    Args:
        path: Path of the value in the answer, for messages.
        source: The text in which the quotations must be.
        formats: Formats of the texts that the field allows; "" for a plain text.

    Raises:
        _MissingError: A required quotation is not in the text.
    """
    if isinstance(value, str):
        if isinstance(value, Quote) or (formats and "" not in formats):
            return _locate_quote(value, path, source, is_optional=OPTIONAL_QUOTE_FORMAT in formats)
        return value
    if isinstance(value, Mapping):
        return {
            key: _locate_quotations(member, f"{path}[{key!r}]", source, formats)
            for key, member in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset | deque):
        members = (
            _locate_quotations(member, f"{path}[{index}]", source, formats)
            for index, member in enumerate(value)
        )
        # A named tuple takes its members by `_make`.
        make = getattr(type(value), "_make", type(value))
        return make(members)
    return _locate_quotations_in_fields(value, path, source)


def _locate_quotations_in_fields(value: Any, path: str, source: _Source) -> Any:
    """Return a model or a dataclass with the quotations in its fields located.

    If a field changes, the result is a copy, which is not validated again. If no field changes, or
    the value is of another type, the value itself is returned.

    Raises:
        _MissingError: A required quotation is not in the text.
    """
    prefix = f"{path}." if path else ""
    kind: Any = type(value)
    changed_fields: dict[str, Any] = {}
    for name, formats in _fields_with_formats(kind).items():
        member = getattr(value, name)
        located_member = _locate_quotations(member, f"{prefix}{name}", source, formats)
        if located_member is not member:
            changed_fields[name] = located_member
    if not changed_fields:
        return value
    if hasattr(value, "model_copy"):
        return value.model_copy(update=changed_fields)
    return dataclasses.replace(value, **changed_fields)


def _locate_quote(quote: str, path: str, source: _Source, *, is_optional: bool) -> Quote | None:
    """Return the slice of the text that a quotation matches, with its offsets and likeness.

    If it is not in the text, an optional quotation gives None, and a required quotation is an
    error.

    The result has a likeness only if the slice was found by similarity. Then the likeness compares
    the slice with the quotation of the reply. If `quote` is a result of an earlier call, it is the
    slice itself, so its earlier likeness is kept.

    Args:
        quote: The quotation of a reply, or a `Quote` that was located before.
        path: Path of the field in the answer, for messages.
        source: The text. It counts equal quotations of a list, so that the second of them gets the
            second occurrence in the text, and so on.
        is_optional: The field may be without a quotation.

    Raises:
        _MissingError: A required quotation is not in the text. If only a number, a negation or a
            name differs, the message says so.
    """
    text = source.text
    location = text.locate(str(quote), occurrence=source.next_occurrence(path, str(quote)))
    if location is not None:
        start = location.start
        end = location.end
        # A quotation that was located before keeps the likeness to the reply.
        likeness = getattr(quote, "likeness", None) or location.noted_likeness
        return Quote(text.text[start:end], start=start, end=end, likeness=likeness)

    if is_optional:
        return None
    difference = text.find_difference(str(quote))
    suffix = ""
    if difference:
        suffix = f", where its {difference} is missing or different"
    printable_path = replace_invisible_characters(path, max_chars=MAX_FIELD_PATH_LENGTH)
    printable_quote = replace_invisible_characters(
        quote[: 2 * MAX_REASON_CHARS], max_chars=MAX_REASON_CHARS
    )
    raise _MissingError(f'{printable_path} {MISSING_QUOTE_REASON}{suffix}: "{printable_quote}"')


@lru_cache(maxsize=1024)
def _fields_with_formats(kind: type) -> dict[str, frozenset[str]]:
    """Return the fields of a model or a dataclass, each with the formats of its texts.

    Any other type has no fields.
    """
    if not (hasattr(kind, "model_fields") or dataclasses.is_dataclass(kind)):
        return {}
    schema = make_inlined_json_schema(kind, by_alias=False)
    properties = schema.get("properties", {"root": schema})
    return {name: list_json_schema_text_formats(node) for name, node in properties.items()}


def list_json_schema_text_formats(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the formats of the texts that a JSON schema allows; "" for a text without format.

    Members of lists and mappings are included, the fields of models are not.
    """
    if "properties" in schema:
        return frozenset()

    node_lists = (schema.get(name, ()) for name in ("anyOf", "oneOf", "prefixItems"))
    members = (schema.get(name) for name in ("items", "additionalProperties"))
    # `additionalProperties` can also be true.
    inner_nodes = [
        *chain.from_iterable(node_lists),
        *(member for member in members if isinstance(member, dict)),
    ]
    formats = {schema.get("format", "")} if schema.get("type") == "string" else set[str]()
    return frozenset(formats.union(*map(list_json_schema_text_formats, inner_nodes)))


def iterate_leaf_values_with_paths(
    value: Any, path: FieldPath = ()
) -> Iterator[tuple[FieldPath, Any]]:
    """Yield (path, value) of every value in an answer, in its order.

    A stored quotation is a single value, and so is an empty list or object.
    """
    members: list[tuple[str | int, Any]] = []
    if isinstance(value, Mapping) and not is_quotation(value):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    if not members:
        yield path, value
    for name, member in members:
        yield from iterate_leaf_values_with_paths(member, (*path, name))


def is_quotation(value: Any) -> bool:
    """Return whether a value is a stored quotation, possibly with other members."""
    return (
        isinstance(value, Mapping)
        and value.keys() >= _QUOTE_MEMBERS
        and isinstance(value["quote"], str)
    )


def is_stored_quotation(value: Any) -> bool:
    """Return whether a value has the members of a stored quotation and no others."""
    return isinstance(value, Mapping) and value.keys() - {LIKENESS_MEMBER} == _QUOTE_MEMBERS


def iterate_valid_quotations(document: Any) -> Iterator[Mapping[str, Any]]:
    """Yield each stored quotation in a JSON document, in its order.

    Another program may have written the document: a quotation whose offsets are no whole numbers,
    are negative or have no text between them is left out.
    """
    for _, leaf in iterate_leaf_values_with_paths(document):
        if not is_quotation(leaf):
            continue
        start = leaf["start"]
        end = leaf["end"]
        # A bool is an int, but no offset.
        if type(start) is type(end) is int and 0 <= start < end:
            yield leaf


def format_likeness(quotation: Mapping[str, Any]) -> str:
    """Return ", by likeness 0.93" for a quotation that was found by likeness, else ""."""
    likeness = quotation.get(LIKENESS_MEMBER)
    if isinstance(likeness, float):
        return f", by likeness {likeness:.2f}"
    return ""


def format_value_for_people(value: Any) -> str:
    """Return a value as people read it; a quotation in quotation marks with its offsets.

    A None is "-", a text is unchanged, a whole float has no decimals up to MAX_EXACT_FLOAT, and
    other values are JSON.
    """
    if is_quotation(value):
        return f"“{value['quote']}” ({value['start']}-{value['end']}{format_likeness(value)})"
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT_FLOAT:
        value = int(value)
    return json.dumps(value, ensure_ascii=False)
