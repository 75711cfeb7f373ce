"""What a response schema asks for, and what the live service refuses of one.

That is `responseSchema`, an OpenAPI subset with types in capitals. What narrows a text by its form (`pattern`) is not
held.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from emulator.messages import ApiError, invalid

MAX_DEPTH = 16
MOST_VALUES = 10_000
"""Levels of the deepest schema (ours: the live service does not say), and the most items or characters at least."""
KINDS = ("OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN")
_WORD = re.compile(r"[^\W\d_]+|\d+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TOLD = re.compile(
    r"\b(at least|at most|greater than|less than) (-?\d{1,15}(?:\.\d{1,15})?)(?: characters\b|(?=[;)]|$))"
)
"""A bound that a description tells, for the dialect has no lengths that are held and no open bounds."""


@dataclass(frozen=True)
class SchemaNode:
    """One value that is asked for: what it is and what bounds it, as far as its kind has such bounds.

    `kind` is one of `KINDS`, blank for a choice between the `options`; `name` has the words of its name, or of the
    list it stands in, `about` its title and description; `at_least` and `at_most` count items or characters.
    """

    kind: str
    name: str = ""
    about: str = ""
    nullable: bool = False
    choices: tuple[Any, ...] = ()
    members: tuple[tuple[str, "SchemaNode"], ...] = ()
    items: "SchemaNode | None" = None
    options: tuple["SchemaNode", ...] = ()
    at_least: int = 0
    at_most: int | None = None
    lowest: float | None = None
    highest: float | None = None
    form: str = ""

    @property
    def said(self) -> str:
        """Return name and description."""
        return f"{self.name} {self.about}".strip()


def _refused(path: str, what: str) -> ApiError:
    return invalid(f"* GenerateContentRequest.{path}{what}")


def asked_for(config: Mapping[str, Any]) -> SchemaNode:
    """Return what a generation config asks for; refuse a schema that the live service refuses, naming the place."""
    if config.get("responseSchema") is None:
        raise invalid(
            "The local engine answers by a schema only: set generationConfig.responseSchema."
        )
    return _read_again(orjson.dumps(config["responseSchema"]))


@functools.lru_cache(maxsize=256)
def _read_again(document: bytes) -> SchemaNode:
    return _read(orjson.loads(document), "", "generation_config.response_schema", 1)


def _read(schema: Mapping[str, Any], name: str, path: str, depth: int) -> SchemaNode:
    if depth > MAX_DEPTH:
        raise invalid(
            "A schema in GenerationConfig in the request exceeds the maximum allowed nesting depth."
        )
    kind = _kind(schema)
    about = " ".join(str(schema[one]) for one in ("title", "description") if schema.get(one))
    ask = SchemaNode(kind, name, about, nullable=bool(schema.get("nullable")))
    if schema.get("anyOf") and not kind:
        return _options(ask, schema["anyOf"], path, depth)
    if kind not in KINDS:
        raise _refused(path, f".type: must be one of {', '.join(KINDS)}")
    if kind == "OBJECT":
        return _object(ask, schema, path, depth)
    if kind == "ARRAY":
        if "items" not in schema:
            raise _refused(path, ".items: missing field.")
        items = _read(schema["items"], name, f"{path}.items", depth + 1)
        ask = replace(ask, items=replace(items, about=items.about or about))
        return _sized(ask, schema.get("minItems"), schema.get("maxItems"), path)
    return _plain(ask, schema, path)


def _kind(schema: Mapping[str, Any]) -> str:
    return str(schema.get("type", "")).upper().replace("TYPE_UNSPECIFIED", "")


def _options(
    ask: SchemaNode, schemas: Sequence[Mapping[str, Any]], path: str, depth: int
) -> SchemaNode:
    options = tuple(
        _read(one, ask.name, f"{path}.any_of[{at}]", depth + 1)
        for at, one in enumerate(schemas)
        if _kind(one) != "NULL"
    )
    if not options:
        raise _refused(path, ".any_of: must have one that is not null")
    return replace(ask, options=options, nullable=ask.nullable or len(options) < len(schemas))


def _object(ask: SchemaNode, schema: Mapping[str, Any], path: str, depth: int) -> SchemaNode:
    properties = schema.get("properties") or {}
    if not properties:
        raise _refused(path, ".properties: should be non-empty for OBJECT type")
    for at, name in enumerate(schema.get("required") or ()):
        if name not in properties:
            raise _refused(path, f".required[{at}]: property is not defined")
    order = [name for name in schema.get("propertyOrdering") or () if name in properties]
    members = tuple(
        (name, _read(properties[name], _words_of(name), f"{path}.properties[{name}]", depth + 1))
        for name in dict.fromkeys([*order, *properties])
    )
    return replace(ask, members=members)


def _words_of(name: str) -> str:
    return " ".join(_WORD.findall(_HUMP.sub(" ", name))).lower()


def _plain(ask: SchemaNode, schema: Mapping[str, Any], path: str) -> SchemaNode:
    """Return what a text, a number or a yes or no asks for; a bound that is told gives way to those that are set."""
    if ask.kind != "STRING" and schema.get("enum"):
        raise _refused(path, ".enum: only allowed for STRING type")
    ask = replace(ask, choices=tuple(schema.get("enum") or ()), form=str(schema.get("format", "")))
    told = {bound: float(value) for bound, value in _TOLD.findall(ask.about)}
    if ask.kind == "STRING":
        least = schema.get("minLength", told.get("at least"))
        return _sized(ask, least, schema.get("maxLength", told.get("at most")), path)
    if ask.kind == "BOOLEAN":
        return ask
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    above = math.nextafter(told["greater than"], math.inf) if "greater than" in told else low
    below = math.nextafter(told["less than"], -math.inf) if "less than" in told else high
    if max(low, above) <= min(high, below):
        low = max(low, above)
        high = min(high, below)
    if ask.kind == "INTEGER":
        low = low if math.isinf(low) else math.ceil(low)
        high = high if math.isinf(high) else math.floor(high)
    if low > high:
        raise _refused(path, f": minimum {low} is above maximum {high}.")
    return replace(
        ask, lowest=low if low > -math.inf else None, highest=high if high < math.inf else None
    )


def _sized(ask: SchemaNode, least: float | None, most: float | None, path: str) -> SchemaNode:
    at_least = int(least or 0)
    at_most = None if most is None else int(most)
    if at_least < 0 or (at_most is not None and at_least > at_most):
        of = "Items" if ask.kind == "ARRAY" else "Length"
        raise _refused(path, f": min{of} {at_least} is above max{of} {at_most}.")
    if at_least > MOST_VALUES:
        raise invalid(
            "The specified schema produces a constraint that has too many states for serving."
        )
    return replace(ask, at_least=at_least, at_most=at_most)
