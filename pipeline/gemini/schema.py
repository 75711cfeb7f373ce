"""Make a schema in the dialect of `responseSchema` from a Pydantic model.

It is a subset of OpenAPI 3.0 with types in capitals (Gemini API reference, `Schema`, read 2026-11): no `$ref`, no
`$schema`, no `additionalProperties`, no recursion, and an array must say what its items are, or the API refuses the
whole file. What only narrows a value (a pattern, a length) is left out here and held when the answer is validated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


MAX_DEPTH = 10  # ours: the API refuses "over-deep" schemas without saying where its limit is

_TYPES = ("OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN")
_COPIED = ("minItems", "maxItems", "minimum", "maximum")
# what is left out only narrows a value, or says nothing about it
_KNOWN = {
    "type", "const", "enum", "items", "properties", "required", "format", "description", *_COPIED, "title", "default",
    "examples", "deprecated", "readOnly", "writeOnly", "pattern", "minLength", "maxLength", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "uniqueItems", "additionalProperties", "discriminator", "$defs",
}  # fmt: skip
_FORMATS = {
    "date": "a date, YYYY-MM-DD",
    "quotation": "copied from the text, word for word",
    "optional quotation": "copied from the text, word for word",
}
_LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching the regular expression {}",
    "exclusiveMinimum": "greater than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "uniqueItems": "each one once",
}
_ANYTHING = "anything goes there, and responseSchema cannot say that; give it a type"


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
    schema = _Converter(document.get("$defs", {}), tells_limits=tells_limits).converted(document, answer.__name__)
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
class _Converter:
    definitions: Mapping[str, Any]
    tells_limits: bool

    def converted(self, node: Any, where: str, within: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return a node of a JSON schema, which stands in the definitions `within`, in the dialect."""
        if not isinstance(node, dict):
            raise TypeError(f"{where}: {_ANYTHING}")
        if "prefixItems" in node:
            raise TypeError(f"{where}: responseSchema cannot say a tuple; use a list or a model")
        if "$ref" in node:
            schema = self._inlined(node["$ref"].removeprefix("#/$defs/"), where, within)
        elif choices := node.get("anyOf") or node.get("oneOf"):
            schema = self._choice(choices, where, within)
        else:
            schema = self._plain(node, where, within)
        if isinstance(said := node.get("description"), str) and "properties" not in node:
            told = schema.get("description") if self.tells_limits else None
            schema["description"] = f"{said} ({told})" if told else said
        return schema

    def _inlined(self, name: str, where: str, within: tuple[str, ...]) -> dict[str, Any]:
        if name in within or name not in self.definitions:
            raise TypeError(f"{where}: {name} contains itself, and responseSchema cannot say that")
        target = {member: value for member, value in self.definitions[name].items() if member != "description"}
        return self.converted(target, where, (*within, name))

    def _choice(self, choices: list[Any], where: str, within: tuple[str, ...]) -> dict[str, Any]:
        """Return a choice of types: one type and null is `nullable`, several are `anyOf`."""
        inner = [self.converted(choice, where, within) for choice in choices if choice != {"type": "null"}]
        if not inner:
            raise TypeError(f"{where}: it can only be null")
        schema = inner[0] if len(inner) == 1 else {"anyOf": inner}
        return schema | ({"nullable": True} if len(inner) < len(choices) else {})

    def _plain(self, node: dict[str, Any], where: str, within: tuple[str, ...]) -> dict[str, Any]:
        """Return a node that is neither a reference nor a choice; an enum without a type is one of texts."""
        if strange := node.keys() - _KNOWN:
            raise TypeError(f"{where}: responseSchema cannot say {min(strange)!r}")
        choices = [node["const"]] if "const" in node else node.get("enum")
        schema: dict[str, Any] = {"type": str(node.get("type", "string" if choices else None)).upper()}
        if schema["type"] not in _TYPES:
            raise TypeError(f"{where}: {_ANYTHING}")
        if self.tells_limits and (told := "; ".join(_limits(node))):
            schema["description"] = told
        if choices:
            if not all(isinstance(choice, str) for choice in choices):
                raise TypeError(f"{where}: an enum may hold texts only, found {choices!r}")
            schema["enum"] = choices
        if node.get("format") == "date-time":
            schema["format"] = "date-time"
        schema |= {name: node[name] for name in _COPIED if name in node}
        if schema["type"] == "ARRAY":
            schema["items"] = self.converted(node.get("items"), f"{where}[]", within)
        if schema["type"] == "OBJECT":
            schema |= self._properties(node, where, within)
        return schema

    def _properties(self, node: dict[str, Any], where: str, within: tuple[str, ...]) -> dict[str, Any]:
        if not node.get("properties") or isinstance(node.get("additionalProperties"), dict):
            raise TypeError(f"{where}: responseSchema cannot say a free mapping; use a model with fields")
        inner = {name: self.converted(one, f"{where}.{name}", within) for name, one in node["properties"].items()}
        required = [name for name in inner if name in node.get("required", ())]
        return {"properties": inner, "propertyOrdering": list(inner), **({"required": required} if required else {})}


def _limits(node: Mapping[str, Any]) -> Iterator[str]:
    if node.get("format") in _FORMATS:
        yield _FORMATS[node["format"]]
    for name, told in _LIMITS.items():
        if node.get(name) or (name.startswith("exclusive") and name in node):  # which may be 0
            yield told.format(node[name])
