"""Translate requests of ours to bodies of chat completions, and completions to replies of ours.

In a strict schema every member of an object is required, and no other member is allowed. A member
that may be missing accepts null instead; `decode_reply` drops such a null. Limits: structured
outputs guide, read 2025-09.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.provider.answer_schema import iterate_nested_schemas
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.responses import (
    MAX_TOKEN_COUNT,
    object_or_empty,
    parse_count_or_zero,
)

ENDPOINT = "/v1/chat/completions"
# A longer custom id is refused (Batch API reference, read 2025-09).
MAX_CUSTOM_ID_CHARS = 64
SHORT_ID_CHARS = 32
_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
# Tiers of a reply that are no tier of ours; they cost the standard price.
_STANDARD_TIERS = frozenset({"auto", "default"})


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


def make_custom_id(key: str) -> str:
    """Return the id of a request on the wire: its key, or a hash of a key that is too long."""
    if len(key) <= MAX_CUSTOM_ID_CHARS:
        return key
    key_bytes = key.encode("utf-8", "surrogatepass")
    key_hash = hashlib.sha256(key_bytes).hexdigest()
    return key_hash[:SHORT_ID_CHARS]


def make_wire_line(model: Model, line: bytes) -> bytes:
    """Return the line of a batch file for a sealed request line, with a line end."""
    document = orjson.loads(line)
    wire_document = {
        "custom_id": make_custom_id(document["key"]),
        "method": "POST",
        "url": ENDPOINT,
        "body": make_completion_body(model, document["request"]),
    }
    return orjson.dumps(wire_document) + b"\n"


def make_completion_body(model: Model, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a chat completion for a request of ours.

    Text parts are joined to one text if the prompt has no image. The thinking level becomes
    `reasoning_effort`. A temperature and a level that are missing are left out.

    Raises:
        ConfigurationError: The schema of the answer is too large; see `check_strict_schema_limits`.
    """
    config = request["generationConfig"]
    messages = list[dict[str, Any]]()
    instruction = object_or_empty(request.get("systemInstruction"))
    for part in instruction.get("parts", ()):
        messages.append({"role": "system", "content": part["text"]})
    parts = [_convert_prompt_part(part, config) for part in request["contents"][0]["parts"]]
    # Some servers take only a text.
    has_only_texts = all(part["type"] == "text" for part in parts)
    content: Any = parts
    if has_only_texts:
        texts = [part["text"] for part in parts]
        content = "\n\n".join(texts)
    messages.append({"role": "user", "content": content})

    schema = convert_to_json_schema(config["responseSchema"], is_strict=model.strict_schema)
    if model.strict_schema:
        check_strict_schema_limits(schema)
    json_schema = {"name": "answer", "strict": model.strict_schema, "schema": schema}
    limit_name = "max_tokens" if model.has_max_tokens else "max_completion_tokens"
    body = {
        "model": model.name,
        "messages": messages,
        limit_name: config["maxOutputTokens"],
        "response_format": {"type": "json_schema", "json_schema": json_schema},
    }
    if "temperature" in config:
        body["temperature"] = config["temperature"]
    thinking_config = object_or_empty(config.get("thinkingConfig"))
    level = thinking_config.get("thinkingLevel")
    if level:
        body["reasoning_effort"] = str(level).lower()
    return body


def _convert_prompt_part(part: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a text or an image of a prompt as a part of a message.

    An image has low detail if the media resolution in `config` is low.
    """
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    image = part["inlineData"]
    image_url = {"url": f"data:{image['mimeType']};base64,{image['data']}"}
    if str(config.get("mediaResolution", "")).endswith("_LOW"):
        image_url["detail"] = "low"
    return {"type": "image_url", "image_url": image_url}


def convert_completion(completion: Any) -> dict[str, Any]:
    """Return a chat completion as a reply of ours; see `responses.parse_generated_response`.

    Only the first choice counts. A refusal of the model is a blocked reply with its text. Reasoning
    tokens are thoughts, and are not in the count of the answer. Members of another form count as
    missing.
    """
    body = object_or_empty(completion)
    usage = object_or_empty(body.get("usage"))
    output_details = object_or_empty(usage.get("completion_tokens_details"))
    input_details = object_or_empty(usage.get("prompt_tokens_details"))
    output_tokens = parse_count_or_zero(usage.get("completion_tokens"), below=MAX_TOKEN_COUNT)
    reasoning_tokens = parse_count_or_zero(
        output_details.get("reasoning_tokens"), below=MAX_TOKEN_COUNT
    )
    thought_tokens = min(output_tokens, reasoning_tokens)
    metadata: dict[str, Any] = {
        "promptTokenCount": parse_count_or_zero(usage.get("prompt_tokens"), below=MAX_TOKEN_COUNT),
        "candidatesTokenCount": output_tokens - thought_tokens,
        "thoughtsTokenCount": thought_tokens,
        "cachedContentTokenCount": parse_count_or_zero(
            input_details.get("cached_tokens"), below=MAX_TOKEN_COUNT
        ),
    }
    service_tier = body.get("service_tier")
    if isinstance(service_tier, str):
        is_standard = service_tier in _STANDARD_TIERS
        metadata["serviceTier"] = "standard" if is_standard else service_tier

    return {
        "candidates": _convert_first_choice(body.get("choices")),
        "usageMetadata": metadata,
        "modelVersion": body.get("model"),
        "responseId": body.get("id"),
    }


def _convert_first_choice(choices: Any) -> list[dict[str, Any]]:
    """Return the first choice of a completion as the only candidate; [] if there is none.

    If the model refused, the text is its refusal and the finish reason SAFETY. An unknown finish
    reason is OTHER.
    """
    if not isinstance(choices, list) or not choices:
        return []
    choice = object_or_empty(choices[0])
    message = object_or_empty(choice.get("message"))
    finish_reason = _FINISH_REASONS.get(str(choice.get("finish_reason")), "OTHER")
    text = message.get("content")
    if message.get("refusal"):
        finish_reason = "SAFETY"
        text = message["refusal"]
    return [{"finishReason": finish_reason, "content": {"parts": [{"text": text}]}}]


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
