"""Make a schema in the dialect of `responseSchema` from a Pydantic model, and check it before it is sent.

It is a subset of OpenAPI 3.0 with types in capitals (Gemini API reference, `Schema`, read 2026-11): no `$ref`, no
`$schema`, no `additionalProperties`, no recursion, and an array must say what its items are, or the API refuses the
whole file. What only narrows a value (a pattern, a length) is left out here and held when the answer is validated.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel


TYPES = {
    "object": "OBJECT",
    "array": "ARRAY",
    "string": "STRING",
    "integer": "INTEGER",
    "number": "NUMBER",
    "boolean": "BOOLEAN",
}
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


def response_schema(answer: "type[BaseModel]") -> dict[str, Any]:
    """Return the schema of an answer model in the API's dialect, its properties ordered as the model has them.

    References are inlined, `X | None` becomes `nullable`, a `Literal` becomes an enum; descriptions of fields go out,
    docstrings of classes do not, for those are written for us.

    Raises:
        TypeError: the model holds something the dialect cannot say: recursion, a free mapping, a tuple, `Any`, an
            enum of other things than texts; the message names the field.
    """
    document = answer.model_json_schema(mode="validation")
    schema = _convert(document, document.get("$defs", {}), answer.__name__, ())
    if schema.get("type") != "OBJECT":
        raise TypeError(f"{answer.__name__} must be a model with fields, for an answer is an object")
    return schema


def check_schema(schema: Mapping[str, Any], *, where: str = "responseSchema", depth: int = 1) -> None:
    """Refuse a schema the API would refuse the whole file for.

    Raises:
        InputError: the message names the place within the schema and what is wrong there.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"{where} is nested deeper than {MAX_DEPTH}")
    strange = sorted(schema.keys() - MEMBERS)
    if strange:
        raise InputError(f"{where} holds {strange[0]!r}, which responseSchema does not know")
    for index, choice in enumerate(schema.get("anyOf", ())):
        _check_inner(choice, f"{where}.anyOf[{index}]", depth)
    if "anyOf" in schema and "type" not in schema:
        return
    kind = schema.get("type")
    if kind not in TYPES.values():
        raise InputError(f"{where} has the type {kind!r}; it must be one of {', '.join(TYPES.values())}")
    if kind == "ARRAY":
        _check_inner(schema.get("items"), f"{where}.items", depth)
    if kind == "OBJECT":
        _check_object(schema, where, depth)
    choices = schema.get("enum", [""])
    if not (isinstance(choices, list) and choices and all(isinstance(choice, str) for choice in choices)):
        raise InputError(f"{where}.enum must be a list of texts")


def _check_object(schema: Mapping[str, Any], where: str, depth: int) -> None:
    """Refuse an object without properties, and names in `required` that are not among them."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise InputError(f"{where} is an OBJECT without properties")
    for name, inner in properties.items():
        _check_inner(inner, f"{where}.{name}", depth)
    for member in ("required", "propertyOrdering"):
        unknown = set(schema.get(member, ())) - properties.keys()
        if unknown:
            raise InputError(f"{where}.{member} names {min(unknown)!r}, which is no property")


def _check_inner(schema: Any, where: str, depth: int) -> None:
    """Check one schema within another; a missing one is an error."""
    if not isinstance(schema, dict):
        raise InputError(f"{where} is missing or no schema; an ARRAY must say what its items are")
    check_schema(schema, where=where, depth=depth + 1)


def _convert(node: Any, definitions: Mapping[str, Any], where: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return one node of Pydantic's JSON schema in the dialect; `seen` are the definitions it stands in."""
    if not isinstance(node, dict):
        raise TypeError(f"{where}: anything goes there, and responseSchema cannot say that; give it a type")
    if "$ref" in node:
        return _inline(node, definitions, where, seen)
    for word in ("anyOf", "oneOf"):
        if word in node:
            return _convert_choice(node, node[word], definitions, where, seen)
    return _convert_plain(node, definitions, where, seen)


def _convert_plain(
    node: dict[str, Any], definitions: Mapping[str, Any], where: str, seen: tuple[str, ...]
) -> dict[str, Any]:
    """Return a node that is neither a reference nor a choice."""
    if "const" in node:
        node = {**{name: value for name, value in node.items() if name != "const"}, "enum": [node["const"]]}
    strange = node.keys() - MEMBERS - _LEFT_OUT - {"prefixItems"}
    if strange:
        raise TypeError(f"{where}: responseSchema cannot say {min(strange)!r}")
    schema: dict[str, Any] = {"type": _type(node, where)}
    if isinstance(node.get("description"), str) and "properties" not in node:
        schema["description"] = node["description"]
    if "enum" in node:
        schema["enum"] = _enum(node["enum"], where)
    if node.get("format") == "date-time":
        schema["format"] = "date-time"
    schema |= {name: node[name] for name in ("minItems", "maxItems", "minimum", "maximum") if name in node}
    if schema["type"] == "ARRAY":
        schema["items"] = _items(node, definitions, where, seen)
    if schema["type"] == "OBJECT":
        schema |= _properties(node, definitions, where, seen)
    return schema


def _enum(choices: list[Any], where: str) -> list[str]:
    """Return the choices of an enum, which must be texts."""
    if not all(isinstance(choice, str) for choice in choices):
        raise TypeError(f"{where}: an enum may hold texts only, found {choices!r}")
    return list(choices)


def _inline(node: dict[str, Any], definitions: Mapping[str, Any], where: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return a referenced definition in the place of its reference, with the field's own description."""
    name = str(node["$ref"]).removeprefix("#/$defs/")
    if name in seen or name not in definitions:
        raise TypeError(f"{where}: {name} contains itself, and responseSchema cannot say that")
    target = {member: value for member, value in definitions[name].items() if member != "description"}
    schema = _convert(target, definitions, where, (*seen, name))
    if isinstance(node.get("description"), str):
        schema["description"] = node["description"]
    return schema


def _convert_choice(
    node: dict[str, Any], choices: list[Any], definitions: Mapping[str, Any], where: str, seen: tuple[str, ...]
) -> dict[str, Any]:
    """Return a choice of types: one type and null is `nullable`, several are `anyOf`."""
    kept = [choice for choice in choices if choice != {"type": "null"}]
    inner = [_convert(choice, definitions, where, seen) for choice in kept]
    if not inner:
        raise TypeError(f"{where}: it can only be null")
    schema: dict[str, Any] = inner[0] if len(inner) == 1 else {"anyOf": inner}
    if len(kept) < len(choices):
        schema["nullable"] = True
    if isinstance(node.get("description"), str):
        schema["description"] = node["description"]
    return schema


def _type(node: dict[str, Any], where: str) -> str:
    """Return the type word of a node; an enum without one is an enum of texts."""
    word = node.get("type", "string" if "enum" in node else None)
    if not isinstance(word, str) or word not in TYPES:
        raise TypeError(f"{where}: anything goes there, and responseSchema cannot say that; give it a type")
    return TYPES[word]


def _items(node: dict[str, Any], definitions: Mapping[str, Any], where: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of an array's items."""
    if "prefixItems" in node:
        raise TypeError(f"{where}: responseSchema cannot say a tuple; use a list or a model")
    return _convert(node.get("items"), definitions, f"{where}[]", seen)


def _properties(
    node: dict[str, Any], definitions: Mapping[str, Any], where: str, seen: tuple[str, ...]
) -> dict[str, Any]:
    """Return properties, required and propertyOrdering of an object."""
    properties = node.get("properties")
    if not properties or isinstance(node.get("additionalProperties"), dict):
        raise TypeError(f"{where}: responseSchema cannot say a free mapping; use a model with fields")
    inner = {name: _convert(value, definitions, f"{where}.{name}", seen) for name, value in properties.items()}
    required = [name for name in inner if name in node.get("required", ())]
    schema: dict[str, Any] = {"properties": inner, "propertyOrdering": list(inner)}
    return schema | ({"required": required} if required else {})
