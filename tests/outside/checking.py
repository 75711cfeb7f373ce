"""How the outside server checks a file of requests: as a whole, and the first bad line refuses all of it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.outside.answers import Json, member

SCALAR = ""
# messages of the protocol by field; a field that holds another message names it
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
        **dict.fromkeys(
            (
                *(
                    "temperature",
                    "topP",
                    "topK",
                    "candidateCount",
                    "maxOutputTokens",
                    "stopSequences",
                    "seed",
                ),
                *(
                    "responseMimeType",
                    "responseJsonSchema",
                    "mediaResolution",
                    "responseModalities",
                ),
                *("presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs"),
            ),
            SCALAR,
        ),
    },
    "Thinking": dict.fromkeys(("thinkingBudget", "thinkingLevel", "includeThoughts"), SCALAR),
    "Schema": {
        "items": "Schema",
        "anyOf": "Schema",
        "properties": "Schemas",
        **dict.fromkeys(
            (
                *(
                    "type",
                    "format",
                    "title",
                    "description",
                    "nullable",
                    "enum",
                    "required",
                    "propertyOrdering",
                ),
                *("minItems", "maxItems", "minimum", "maximum"),
            ),
            SCALAR,
        ),
    },
    "Embed": {
        "content": "Content",
        **dict.fromkeys(("taskType", "title", "outputDimensionality", "model"), SCALAR),
    },
}
KINDS = frozenset({"OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN"})


class BadRequestError(ValueError):
    """What was sent is refused with 400; `field` is the name that it is about, where it is about one."""

    def __init__(self, message: str, field: str = "") -> None:
        """Keep the message and the field."""
        super().__init__(message)
        self.field = field


def read_lines(data: bytes) -> list[tuple[str, Json]]:
    """Return (key, request) of each line of a file.

    Raises:
        BadRequestError: a line is bad; the message names it, counted from 1, and about the column.
    """
    found: dict[str, Json] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        key, request = _read_line(line, number)
        if key in found:
            raise BadRequestError(
                f"Error on line {number}: the key '{key}' is on another line, too"
            )
        found[key] = request
    if not found:
        raise BadRequestError("The input file holds no request.")
    return list(found.items())


def _read_line(line: bytes, number: int) -> tuple[str, Json]:
    """Return key and request of one line."""
    where = f"Error on line {number}: invalid JSON, near column"
    try:
        document = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"{where} {getattr(error, 'colno', 1)}: {error}") from error
    if not isinstance(document, dict):
        raise BadRequestError(
            f"{where} 1: unexpected character: {line[:1].decode()!r}; expected '{{'"
        )
    key = document.get("key")
    request = document.get("request")
    if not isinstance(key, str) or not isinstance(request, dict):
        raise BadRequestError(f"Error on line {number}: 'key' and 'request' are required")
    try:
        check(request, "Request")
    except BadRequestError as error:
        column = line.find(f'"{error.field}"'.encode()) + 1
        raise BadRequestError(f"{where} {max(1, column)}: {error}") from error
    return key, request


def check(document: Any, message: str) -> None:
    """Refuse a document that is not a message of the protocol; names are camelCase or snake_case.

    Raises:
        BadRequestError: a field that there is none of, or a schema that cannot be meant.
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
            for one in value if isinstance(value, list) else [value]:
                check(one, inner)
    _check_whole(document, message)


def _check_whole(document: Json, message: str) -> None:
    """Refuse what has known fields only, and cannot be meant."""
    if message == "Schema":
        _check_schema(document)
    if message == "Request" and not member(document, "contents"):
        raise BadRequestError("contents: missing field")
    if message == "Thinking" and len(document.keys() - {"includeThoughts", "include_thoughts"}) > 1:
        raise BadRequestError("You can only set only one of thinking budget and thinking level.")


def _check_schema(schema: Json) -> None:
    """Refuse a schema that says what it is about by halves."""
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
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)
