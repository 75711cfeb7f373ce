"""Translate the schema of an answer to JSON Schema, and check OpenAI's limits of strict schemas.

In a strict schema every member of an object is required, and no other member is allowed. A member
that may be missing accepts null instead; `decode_reply` drops such a null. Limits: structured
outputs guide, read 2025-09.
"""

from collections.abc import Mapping
from typing import Any

from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.provider.answer_schema import iterate_nested_schemas

MAX_MEMBERS = 5_000
MAX_CHOICES = 1_000
_COPIED_KEYWORDS = (
    "description",
    "enum",
    "format",
    "maximum",
    "minimum",
    "maxItems",
    "minItems",
)


def convert_to_json_schema(schema: Mapping[str, Any], *, is_strict: bool) -> dict[str, Any]:
    """Return the JSON Schema of a `responseSchema`; see the docstring of the module.

    Args:
        schema: A node of a `responseSchema`.
        is_strict: Require all members, as OpenAI does. Other servers take optional members.
    """
    converted = {keyword: schema[keyword] for keyword in _COPIED_KEYWORDS if keyword in schema}
    if "anyOf" in schema:
        choices = [
            convert_to_json_schema(choice, is_strict=is_strict) for choice in schema["anyOf"]
        ]
        if schema.get("nullable"):
            choices.append({"type": "null"})
        return {"anyOf": choices, **converted}

    kind = schema["type"].lower()
    converted = {"type": kind, **converted}
    if kind == "array":
        converted["items"] = convert_to_json_schema(schema["items"], is_strict=is_strict)
    if kind == "object":
        converted |= _convert_members(schema, is_strict=is_strict)
    if schema.get("nullable"):
        converted["type"] = [kind, "null"]
        if "enum" in converted:
            converted["enum"] = [*converted["enum"], None]
    return converted


def _convert_members(schema: Mapping[str, Any], *, is_strict: bool) -> dict[str, Any]:
    """Return the keywords of an object: its members, the required names, no additional members.

    If `is_strict`, all members are required, and optional members may be null.
    """
    required_names = schema.get("required", ())
    members = {}
    for name, node in schema["properties"].items():
        if is_strict and name not in required_names:
            node = {**node, "nullable": True}  # noqa: PLW2901 - the node as it is sent
        members[name] = convert_to_json_schema(node, is_strict=is_strict)
    return {
        "properties": members,
        "required": list(members) if is_strict else list(required_names),
        "additionalProperties": False,
    }


def check_strict_schema_limits(schema: Mapping[str, Any]) -> None:
    """Check that a strict schema has no more members and choices than OpenAI accepts.

    Args:
        schema: The result of `convert_to_json_schema`. An answer of every provider is an object of
            at most 10 levels; see `make_response_schema`.

    Raises:
        ConfigurationError: The schema has too many members or choices; nothing was sent.
    """
    nodes = [node for _, node in iterate_nested_schemas(schema)]
    figures = {
        "members": (sum(len(node.get("properties", ())) for node in nodes), MAX_MEMBERS),
        "choices": (sum(len(node.get("enum", ())) for node in nodes), MAX_CHOICES),
    }
    for name, (count, limit) in figures.items():
        if count > limit:
            raise ConfigurationError(
                f"the answer has {count:,} {name}, and OpenAI accepts {limit:,}; nothing was sent",
                hint="shorten the lists of choices, or split the task in two",
            )
