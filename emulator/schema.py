"""What a response schema asks for, as far as this server can serve it.

It can serve a list of strings, bare or as the one property of an object, which is what a question for tags is. An
`enum` restricts the words, `minItems` and `maxItems` bound their number. Anything else is refused rather than filled
with invented content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emulator.errors import ApiError, invalid

AT_LEAST = 3
"""How many tags are given where the schema does not say (the local tagger tops up to this)."""
AT_MOST = 8
"""How many tags are given at most where the schema does not say."""
_MAX_DEPTH = 16


@dataclass(frozen=True)
class Shape:
    """The answer that is wanted: the property it stands in, if any, the words allowed, and how many."""

    name: str | None
    allowed: tuple[str, ...] | None
    at_least: int
    at_most: int

    def wrap(self, tags: list[str]) -> object:
        """Return the answer's JSON document."""
        return tags if self.name is None else {self.name: tags}


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Return the shape that a generation config asks for.

    Raises:
        ApiError: 400 where there is no schema, two of them, or one that cannot be served.
    """
    plain = config.get("responseSchema")
    json_schema = config.get("responseJsonSchema", config.get("_responseJsonSchema"))
    if plain is not None and json_schema is not None:
        raise invalid("Only one of responseSchema and responseJsonSchema may be set.")
    if plain is not None:
        check_items(plain, where="generation_config.response_schema")
        return _shape(plain)
    if isinstance(json_schema, Mapping):
        return _shape(_resolved(json_schema, root=json_schema, depth=0))
    raise invalid(
        "The local engine answers with tags only: set generationConfig.responseSchema to an ARRAY of STRING, "
        "or to an OBJECT with one such property."
    )


def check_items(schema: Mapping[str, Any], *, where: str) -> None:
    """Refuse a list that does not say what it holds, at any depth, as the live service does.

    Raises:
        ApiError: 400 naming the list.
    """
    if str(schema.get("type", "")).upper() == "ARRAY" and "items" not in schema:
        raise invalid(f"* GenerateContentRequest.{where}.items: missing field.")
    if "items" in schema:
        check_items(schema["items"], where=f"{where}.items")
    for name, member in schema.get("properties", {}).items():
        check_items(member, where=f"{where}.properties[{name}]")


def _shape(schema: Mapping[str, Any]) -> Shape:
    """Return the shape of a schema whose references are resolved."""
    kind = str(schema.get("type", "")).upper()
    if kind == "ARRAY":
        return _list_shape(schema, name=None)
    properties = schema.get("properties") or {}
    if kind == "OBJECT" and len(properties) == 1:
        name, member = next(iter(properties.items()))
        if isinstance(member, Mapping) and str(member.get("type", "")).upper() == "ARRAY":
            return _list_shape(member, name=name)
    raise _refused(f"{kind or 'no type'} with the properties {sorted(properties)}")


def _list_shape(schema: Mapping[str, Any], *, name: str | None) -> Shape:
    """Return the shape of a list of strings."""
    items = schema.get("items")
    if not isinstance(items, Mapping) or str(items.get("type", "")).upper() != "STRING":
        raise _refused(f"ARRAY of {items.get('type') if isinstance(items, Mapping) else items!r}")
    at_most = schema.get("maxItems")
    at_least = int(schema.get("minItems", AT_LEAST))
    most = max(AT_MOST, at_least) if at_most is None else int(at_most)
    if at_least < 0 or ("minItems" in schema and at_least > most):
        raise invalid(f"minItems {at_least} is above maxItems {most}.")
    words = items.get("enum")
    return Shape(name, None if words is None else tuple(words), min(at_least, most), most)


def _refused(found: str) -> ApiError:
    """Return the 400 for a schema that this server cannot serve."""
    return invalid(
        f"The local engine cannot serve this response schema: found {found}, "
        "expected ARRAY of STRING, or an OBJECT with exactly one such property."
    )


def _resolved(schema: Mapping[str, Any], *, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return a JSON Schema with its local references put in place."""
    if depth > _MAX_DEPTH:
        raise invalid("A schema in GenerationConfig in the request exceeds the maximum allowed nesting depth.")
    reference = schema.get("$ref")
    if reference is not None:
        found = root.get("$defs", {}).get(str(reference).removeprefix("#/$defs/"))
        if not isinstance(found, Mapping):
            raise invalid(f"Unresolved reference {reference!r} in responseJsonSchema.")
        return _resolved(found, root=root, depth=depth + 1)
    resolved = dict(schema)
    if isinstance(schema.get("items"), Mapping):
        resolved["items"] = _resolved(schema["items"], root=root, depth=depth + 1)
    if isinstance(schema.get("properties"), Mapping):
        resolved["properties"] = {
            name: _resolved(member, root=root, depth=depth + 1) if isinstance(member, Mapping) else member
            for name, member in schema["properties"].items()
        }
    return resolved
