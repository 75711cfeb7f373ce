"""Make a model of answers from the JSON schema that was kept of one, so that what was asked in the past can be judged.

No code is kept and none is run: what the schema says is held, and what a validator of the file said is not.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union
from uuid import UUID

from pipeline.core.errors import ConfigurationError
from pipeline.core.quotes import FORMAT, OPTIONAL_FORMAT, Quote

if TYPE_CHECKING:
    from pydantic import BaseModel

_LIMITS: Mapping[str, str] = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "pattern": "pattern",
}
_PLAIN: Mapping[str, Any] = {"integer": int, "number": float, "boolean": bool, "string": str, "null": None}
_FORMATS: Mapping[str, Any] = {
    FORMAT: Quote,
    OPTIONAL_FORMAT: Quote(optional=True),
    "date": date,
    "date-time": datetime,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
}
_SILENT = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$defs"}
_SHAPE = {"type", "format", "items", "properties", "required", "uniqueItems", "additionalProperties", "discriminator"}
_KNOWN = {*_LIMITS, *_SILENT, *_SHAPE}


def answer_model(schema: Mapping[str, Any]) -> "type[BaseModel]":
    """Return the model of answers that a JSON schema describes, of the kind that `model_json_schema` makes.

    Raises:
        ConfigurationError: it says what this cannot hold, so that no answer may be judged by it.
    """
    return _model(schema, schema.get("$defs", {}))


def _model(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> "type[BaseModel]":
    from pydantic import ConfigDict, Field, create_model

    required = node.get("required", ())
    fields: dict[str, Any] = {}
    for number, (name, inner) in enumerate(node["properties"].items()):
        default = ... if name in required else inner.get("default")
        kept = name if name.isidentifier() and not name.startswith(("_", "model_")) else f"field_{number}"
        named = {} if kept == name else {"alias": name, "serialization_alias": name}
        fields[kept] = (_type(inner, definitions), Field(default, validate_default=False, **named))
    extra: Any = "forbid" if node.get("additionalProperties") is False else "ignore"
    config = ConfigDict(extra=extra, serialize_by_alias=True, regex_engine="python-re", protected_namespaces=())
    made: type[BaseModel] = create_model(str(node.get("title", "Answer")), __config__=config, **fields)
    return made


def _type(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Return the type of the values that a node of a schema lets through."""
    if "$ref" in node:
        return _type(definitions[str(node["$ref"]).removeprefix("#/$defs/")], definitions)
    if "const" in node:
        return Literal[node["const"]]
    if "enum" in node:
        return Literal[tuple(node["enum"])]
    if choices := node.get("anyOf") or node.get("oneOf"):
        return Union[tuple(_type(one, definitions) for one in choices)]  # noqa: UP007 - of as many as there are
    strange = sorted(node.keys() - _KNOWN)
    if strange or node.get("format", "") not in {"", *_FORMATS} or node.get("type") not in {*_PLAIN, "array", "object"}:
        said = strange[0] if strange else node.get("format") or node.get("type")
        raise ConfigurationError(f"the schema that was asked with says {said!r}, which cannot be held without its file")
    return _limited(node, _unlimited(node, definitions))


def _unlimited(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Return the type of a node's values but for their limits."""
    if node["type"] == "object":
        return _model(node, definitions)
    if node["type"] == "array":
        inner = _type(node["items"], definitions)
        return set[inner] if node.get("uniqueItems") else list[inner]  # type: ignore[valid-type]
    return _FORMATS.get(node.get("format", ""), _PLAIN[node["type"]])


def _limited(node: Mapping[str, Any], kind: Any) -> Any:
    """Return a type with the limits that a node sets."""
    from pydantic import Field

    limits: dict[str, Any] = {_LIMITS[name]: node[name] for name in _LIMITS if name in node}
    return Annotated[kind, Field(**limits)] if limits else kind
