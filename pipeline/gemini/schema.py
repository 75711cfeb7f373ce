"""Make a schema in the dialect of `responseSchema` from a Pydantic model.

It is a subset of OpenAPI 3.0 with types in capitals (Gemini API reference, `Schema`, read 2026-11): no `$ref`, no
`$schema`, no `additionalProperties`, no recursion, and an array must say what its items are, or the API refuses the
whole file. What only narrows a value (a pattern, a length) is left out here and held when the answer is validated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


TYPES = ("OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN")
MEMBERS = frozenset(
    {
        "type",
        "nullable",
        "enum",
        "items",
        "properties",
        "required",
        "propertyOrdering",
        "anyOf",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "format",
        "description",
    }
)
MAX_DEPTH = 10  # ours: the API refuses "over-deep" schemas without saying where its limit is
# Narrowing only: the answer's own validation holds them. `title`, `default`, `examples` say nothing about values.
_LEFT_OUT = frozenset(
    {
        "title",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "pattern",
        "minLength",
        "maxLength",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "uniqueItems",
        "additionalProperties",
        "discriminator",
        "format",
        "$defs",
    }
)


def response_schema(answer: "type[BaseModel]", *, tells_limits: bool = False) -> dict[str, Any]:
    """Return the schema of an answer model in the API's dialect, its properties ordered as the model has them.

    References are inlined, `X | None` becomes `nullable`, a `Literal` becomes an enum; descriptions of fields go out,
    docstrings of classes do not, for those are written for us. With `tells_limits` descriptions also say what the
    dialect leaves out and validation holds, such as a greatest length.

    Raises:
        TypeError: the model holds something the dialect cannot say: recursion, a free mapping, a tuple, `Any`, an
            enum of other things than texts, or is nested too deep; the message names the field.
    """
    document = answer.model_json_schema(mode="validation")
    schema = _convert(document, _Place(answer.__name__, document.get("$defs", {}), tells_limits=tells_limits))
    if schema.get("type") != "OBJECT":
        raise TypeError(f"{answer.__name__} must be a model with fields, for an answer is an object")
    if _depth(schema) > MAX_DEPTH:
        raise TypeError(f"{answer.__name__} is nested deeper than {MAX_DEPTH}")
    return schema


def _depth(schema: Mapping[str, Any]) -> int:
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += [schema["items"]] if "items" in schema else []
    return 1 + max(map(_depth, inner), default=0)


@dataclass(frozen=True)
class _Place:
    """Where a node stands in the model; all definitions, and those of them that the node stands in."""

    where: str
    definitions: Mapping[str, Any]
    seen: tuple[str, ...] = ()
    tells_limits: bool = False

    def inside(self, step: str) -> "_Place":
        return replace(self, where=self.where + step)

    def fault(self, why: str) -> TypeError:
        return TypeError(f"{self.where}: {why}")


def _convert(node: Any, place: _Place) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise place.fault(_ANYTHING)
    if "prefixItems" in node:
        raise place.fault("responseSchema cannot say a tuple; use a list or a model")
    if node.keys().isdisjoint({"$ref", "anyOf", "oneOf"}):
        return _convert_plain(node, place)
    schema = _inline(node, place) if "$ref" in node else _convert_choice(node, place)
    if isinstance(node.get("description"), str):
        told = schema.get("description") if place.tells_limits else None
        schema["description"] = f"{node['description']} ({told})" if told else node["description"]
    return schema


def _convert_plain(node: dict[str, Any], place: _Place) -> dict[str, Any]:
    """Return a node that is neither a reference nor a choice; an enum without a type is one of texts."""
    if "const" in node:
        node = {**{name: value for name, value in node.items() if name != "const"}, "enum": [node["const"]]}
    strange = node.keys() - MEMBERS - _LEFT_OUT
    if strange:
        raise place.fault(f"responseSchema cannot say {min(strange)!r}")
    schema: dict[str, Any] = {"type": str(node.get("type", "string" if "enum" in node else None)).upper()}
    if schema["type"] not in TYPES:
        raise place.fault(_ANYTHING)
    described = node["description"] if isinstance(node.get("description"), str) and "properties" not in node else ""
    told = "; ".join(_limits(node)) if place.tells_limits else ""
    if described or told:
        schema["description"] = f"{described} ({told})" if described and told else described or told
    if "enum" in node:
        schema["enum"] = list(node["enum"])
        if not all(isinstance(choice, str) for choice in node["enum"]):
            raise place.fault(f"an enum may hold texts only, found {node['enum']!r}")
    if node.get("format") == "date-time":
        schema["format"] = "date-time"
    schema |= {name: node[name] for name in ("minItems", "maxItems", "minimum", "maximum") if name in node}
    if schema["type"] == "ARRAY":
        schema["items"] = _convert(node.get("items"), place.inside("[]"))
    if schema["type"] == "OBJECT":
        schema |= _properties(node, place)
    return schema


_FORMATS = {
    "date": "a date, YYYY-MM-DD",
    "quotation": "copied from the text, word for word",
    "optional quotation": "copied from the text, word for word",
}
_TOLD = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching the regular expression {}",
    "exclusiveMinimum": "greater than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "uniqueItems": "each one once",
}
_BOUNDS = ("exclusiveMinimum", "exclusiveMaximum")  # which may be 0


def _limits(node: Mapping[str, Any]) -> Iterator[str]:
    if node.get("format") in _FORMATS:
        yield _FORMATS[node["format"]]
    said = (name for name in _TOLD if node.get(name) or (name in _BOUNDS and name in node))
    yield from (_TOLD[name].format(node[name]) for name in said)


def _inline(node: dict[str, Any], place: _Place) -> dict[str, Any]:
    """Return a referenced definition in the place of its reference; the field's own description takes that of it."""
    name = str(node["$ref"]).removeprefix("#/$defs/")
    if name in place.seen or name not in place.definitions:
        raise place.fault(f"{name} contains itself, and responseSchema cannot say that")
    target = {member: value for member, value in place.definitions[name].items() if member != "description"}
    return _convert(target, replace(place, seen=(*place.seen, name)))


def _convert_choice(node: dict[str, Any], place: _Place) -> dict[str, Any]:
    """Return a choice of types: one type and null is `nullable`, several are `anyOf`."""
    choices = node["anyOf"] if "anyOf" in node else node["oneOf"]
    kept = [choice for choice in choices if choice != {"type": "null"}]
    inner = [_convert(choice, place) for choice in kept]
    if not inner:
        raise place.fault("it can only be null")
    schema: dict[str, Any] = inner[0] if len(inner) == 1 else {"anyOf": inner}
    if len(kept) < len(choices):
        schema["nullable"] = True
    return schema


def _properties(node: dict[str, Any], place: _Place) -> dict[str, Any]:
    properties = node.get("properties")
    if not properties or isinstance(node.get("additionalProperties"), dict):
        raise place.fault("responseSchema cannot say a free mapping; use a model with fields")
    inner = {name: _convert(value, place.inside(f".{name}")) for name, value in properties.items()}
    required = [name for name in inner if name in node.get("required", ())]
    schema: dict[str, Any] = {"properties": inner, "propertyOrdering": list(inner)}
    return schema | ({"required": required} if required else {})


_ANYTHING = "anything goes there, and responseSchema cannot say that; give it a type"
