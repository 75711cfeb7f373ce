"""Translate requests of ours to bodies of chat completions, and completions to replies of ours."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.openai.strict_schema import (
    check_strict_schema_limits,
    convert_to_json_schema,
)
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
