"""The outside server checks a file of requests and refuses it at the first bad line."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.outside.answers import Json, member

SCALAR = ""
# Fields whose values are not messages.
CONFIG_SCALARS = (
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "responseMimeType",
    "responseJsonSchema",
    "mediaResolution",
    "responseModalities",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
)
SCHEMA_SCALARS = (
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "required",
    "propertyOrdering",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
)
# Messages of the protocol with their fields. A field of a message type has the name of the type.
MESSAGES: Mapping[str, Mapping[str, str]] = {
    "Request": {
        "contents": "Content",
        "systemInstruction": "Content",
        "generationConfig": "Config",
        **dict.fromkeys(
            ("safetySettings", "tools", "toolConfig", "cachedContent", "labels", "model"), SCALAR
        ),
    },
    "Content": {"role": SCALAR, "parts": "Part"},
    "Part": {"text": SCALAR, "inlineData": "Blob", "fileData": "Reference", "thought": SCALAR},
    "Blob": {"mimeType": SCALAR, "data": SCALAR},
    "Reference": {"mimeType": SCALAR, "fileUri": SCALAR},
    "Config": {
        "responseSchema": "Schema",
        "thinkingConfig": "Thinking",
        **dict.fromkeys(CONFIG_SCALARS, SCALAR),
    },
    "Thinking": dict.fromkeys(("thinkingBudget", "thinkingLevel", "includeThoughts"), SCALAR),
    "Schema": {
        "items": "Schema",
        "anyOf": "Schema",
        "properties": "Schemas",
        **dict.fromkeys(SCHEMA_SCALARS, SCALAR),
    },
    "Embed": {
        "content": "Content",
        **dict.fromkeys(("taskType", "title", "outputDimensionality", "model"), SCALAR),
    },
}
KINDS = frozenset({"OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN"})


class BadRequestError(ValueError):
    """A request is refused with 400; `field` is the name of the wrong field, if any."""

    def __init__(self, message: str, field: str = "") -> None:
        """Store the message and the field."""
        super().__init__(message)
        self.field = field


def read_lines(data: bytes) -> list[tuple[str, Json]]:
    """Return (key, request) of each line of a file.

    Raises:
        BadRequestError: A line is wrong; the message has its number from 1 and its column.
    """
    requests_by_key: dict[str, Json] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        key, request = _read_line(line, number)
        if key in requests_by_key:
            message = f"Error on line {number}: the key '{key}' is on another line, too"
            raise BadRequestError(message)
        requests_by_key[key] = request
    if not requests_by_key:
        raise BadRequestError("The input file holds no request.")
    return list(requests_by_key.items())


def _read_line(line: bytes, number: int) -> tuple[str, Json]:
    """Return key and request of a line."""
    error_prefix = f"Error on line {number}: invalid JSON, near column"
    try:
        document = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"{error_prefix} {getattr(error, 'colno', 1)}: {error}") from error
    if not isinstance(document, dict):
        character = line[:1].decode()
        message = f"{error_prefix} 1: unexpected character: {character!r}; expected '{{'"
        raise BadRequestError(message)

    key = document.get("key")
    request = document.get("request")
    if not isinstance(key, str) or not isinstance(request, dict):
        raise BadRequestError(f"Error on line {number}: 'key' and 'request' are required")

    try:
        check(request, "Request")
    except BadRequestError as error:
        column = line.find(f'"{error.field}"'.encode()) + 1
        raise BadRequestError(f"{error_prefix} {max(1, column)}: {error}") from error
    return key, request


def check(document: Any, message: str) -> None:
    """Refuse a document that is no message of the protocol; names are camelCase or snake_case.

    Raises:
        BadRequestError: A field is unknown, or a schema is incomplete.
    """
    if message == "Schemas":
        for inner in document.values():
            check(inner, "Schema")
        return
    if not isinstance(document, dict):
        raise BadRequestError(f"expected an object, found {document!r:.40}")
    for name, value in document.items():
        inner = MESSAGES[message].get(_camel(name))
        if inner is None:
            raise BadRequestError(f"no such field: '{name}'", name)
        if inner:
            for element in value if isinstance(value, list) else [value]:
                check(element, inner)
    _check_message(document, message)


def _check_message(document: Json, message: str) -> None:
    """Refuse a message of known fields that is incomplete or contradictory."""
    if message == "Schema":
        _check_schema(document)
    if message == "Request" and not member(document, "contents"):
        raise BadRequestError("contents: missing field")
    if message == "Thinking" and len(document.keys() - {"includeThoughts", "include_thoughts"}) > 1:
        raise BadRequestError("You can only set only one of thinking budget and thinking level.")


def _check_schema(schema: Json) -> None:
    """Refuse an incomplete schema."""
    if member(schema, "anyOf"):
        return
    kind = schema.get("type")
    if kind not in KINDS:
        raise BadRequestError(f"invalid value {kind!r} for type", "type")
    if kind == "ARRAY" and "items" not in schema:
        raise BadRequestError("response_schema.items: missing field")
    if kind == "OBJECT" and set(schema.get("required", ())) - schema.get("properties", {}).keys():
        raise BadRequestError("response_schema.required: property is not defined")


def _camel(name: str) -> str:
    """Return a name in camelCase."""
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)
