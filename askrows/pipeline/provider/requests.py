"""Build request lines from prompts, and response schemas from Pydantic models.

- The API parses a request file as a whole, and a single bad line makes it refuse the file. So the
  same builder makes the lines of batches and the requests of live calls.
- All requests use the dialect `responseSchema`. Batch answers under `responseJsonSchema` have
  arrived as broken JSON (2026-08).
- A request contains no `model` and no `serviceTier`: the model is part of the URL. Current models
  ignore or refuse sampling settings (model pages, read 2026-11). A temperature is sent only if a
  user's task sets it and the model accepts it.
- The dialect is a subset of OpenAPI 3.0 with types in capitals (Gemini API reference, `Schema`,
  read 2026-11). It has no `$ref`, no `$schema`, no `additionalProperties` and no recursion, and an
  array must declare its items. The API refuses a whole file for a violation.
- The schema omits constraints such as a pattern or a length. Validation of the answer checks them.
- An enum of numbers is sent as an enum of texts. A mapping cannot be expressed and is refused.
  `decode_reply` and `encode_answer` convert answers from and to that form.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.provider.usage import (
    DEFAULT_ANSWER_TOKENS,
    DEFAULT_IMAGE_TOKENS,
    Usage,
    estimate_request_usage,
)

# Our own limit: the API documents no limit for the key of a request.
MAX_KEY_BYTES = 200


class Prompt(NamedTuple):
    """The question about one row, in the shapes of the REST API."""

    # The system instruction; "" sends none.
    system: str
    # Text and image parts of the user's turn.
    parts: Sequence[Mapping[str, Any]]
    # Limit of answer and thoughts together, because endless output would be billed.
    max_output_tokens: int


def make_request_key(task_name: str, row_id: str) -> str:
    """Return the key of a row's requests, `<task>/<row id>`.

    If the key would be longer than MAX_KEY_BYTES, it has the SHA-256 of the id instead of the id.
    In the keys of built-in tasks, whose names contain a dash, the id is never replaced, even if the
    key is longer.

    Raises:
        ValueError: The id or the task name is empty, or the task name contains a slash.
    """
    if not task_name or "/" in task_name or not row_id:
        raise ValueError(f"task {task_name!r} and row {row_id!r} cannot make a key")

    key = f"{task_name}/{row_id}"
    if "-" in task_name or len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY_BYTES:
        return key

    id_hash = hashlib.sha256(row_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{task_name}/{id_hash}"


def make_request_line(key: str, request: Mapping[str, Any]) -> bytes:
    """Return a request line of a key and a request object, without a line end.

    Raises:
        TypeError: The request contains a value that JSON cannot express.
    """
    return orjson.dumps({"key": key, "request": request})


def parse_request(line: bytes) -> dict[str, Any]:
    """Parse a request line and return its `request` object, which is the body of a live call."""
    request: dict[str, Any] = orjson.loads(line)["request"]
    return request


def make_result_line(line: bytes, **reply_members: Any) -> bytes:
    """Make the line of a result file that answers a request line.

    Args:
        line: The request line; the result line gets its key.
        reply_members: `response` or `error`, with the JSON value of the reply.

    Returns:
        One line of JSON, with a line end.
    """
    result = {"key": orjson.loads(line)["key"], **reply_members}
    return orjson.dumps(result) + b"\n"


def make_image_part(mime_type: str, image_base64: str) -> dict[str, Any]:
    """Return the part of a prompt that is an image."""
    return {"inlineData": {"mimeType": mime_type, "data": image_base64}}


def convert_part_to_decision_block(
    part: Mapping[str, Any], resolution: str | None
) -> dict[str, Any]:
    """Return a part of a prompt as a block of a request to a decision model.

    Args:
        part: A text or an image.
        resolution: The media resolution of an image, or None for the default.
    """
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    inline_data = part["inlineData"]
    block = {
        "type": "image",
        "mime_type": inline_data["mimeType"],
        "data": inline_data["data"],
    }
    if resolution is not None:
        block["resolution"] = resolution
    return block


def read_system_text(request: Mapping[str, Any]) -> str:
    """Return the system instruction of a request; "" if it has none."""
    instruction = request.get("systemInstruction")
    return str(instruction["parts"][0]["text"]) if instruction else ""


def list_prompt_parts(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the parts of a request about its row: texts, and images or blocks of images."""
    parts = request["input"] if "questions" in request else request["contents"][0]["parts"]
    return [{"text": parts}] if isinstance(parts, str) else list(parts)


def replace_line_images_by_hashes(line: bytes) -> bytes:
    """Return a request line with size and SHA-256 in place of each image's bytes.

    A line without an image is returned unchanged.
    """
    if b'"inlineData"' not in line and b'"mime_type"' not in line:
        return line

    return orjson.dumps(_replace_images_by_hashes(orjson.loads(line)))


def _replace_images_by_hashes(node: Any) -> Any:
    """Copy a JSON value, with each image's bytes replaced by MIME type, size and SHA-256.

    Raises:
        KeyError: Inline data lacks its data or its MIME type.
    """
    if isinstance(node, list):
        return [_replace_images_by_hashes(child) for child in node]
    if not isinstance(node, dict):
        return node

    if node.get("type") == "image" and isinstance(node.get("data"), str):
        return {**node, "data": _summarize_image(node["mime_type"], node["data"])}
    inline_data = node.get("inlineData")
    if not isinstance(inline_data, dict):
        return {name: _replace_images_by_hashes(child) for name, child in node.items()}

    return {"inlineData": _summarize_image(inline_data["mimeType"], inline_data["data"])}


def _summarize_image(mime_type: str, image_base64: str) -> dict[str, Any]:
    """Return MIME type, size in bytes and SHA-256 of an image."""
    content = base64.b64decode(image_base64)
    return {
        "mimeType": mime_type,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@dataclass(frozen=True)
class RequestSettings:
    """The parts that all requests of one task have in common."""

    # The schema of an answer, as `make_response_schema` makes it.
    answer_schema: Mapping[str, Any]
    # The `thinkingConfig` to send, or None for the default of the model.
    thinking_config: Mapping[str, Any] | None
    # None for the default of the model.
    temperature: float | None = None
    # Estimated tokens of an answer.
    answer_tokens: int = DEFAULT_ANSWER_TOKENS
    # The API's name of a media resolution, or None for the default of the model.
    media_resolution: str | None = None
    # Estimated tokens of an image.
    image_tokens: int = DEFAULT_IMAGE_TOKENS
    # The end of the system instruction: the terms that fields of the answer may contain. They are
    # not in the schema, because no source says how the API counts its tokens.
    terms: str = ""

    def build_request_line(self, key: str, prompt: Prompt) -> tuple[bytes, Usage]:
        """Build the line of a request and estimate the tokens of the request.

        Settings that are None and an empty system instruction are left out.

        Returns:
            The line without a line end, and the estimate.

        Raises:
            InputError: The prompt contains a value that JSON cannot express.
        """
        generation_config: dict[str, Any] = {
            "responseMimeType": "application/json",
            "responseSchema": self.answer_schema,
            "maxOutputTokens": prompt.max_output_tokens,
        }
        optional_settings = {
            "thinkingConfig": self.thinking_config,
            "temperature": self.temperature,
            "mediaResolution": self.media_resolution,
        }
        generation_config |= {
            name: setting for name, setting in optional_settings.items() if setting is not None
        }

        request: dict[str, Any] = {"contents": [{"role": "user", "parts": prompt.parts}]}
        system = "\n\n".join(text for text in (prompt.system, self.terms) if text)
        if system:
            request["systemInstruction"] = {"parts": [{"text": system}]}
        request["generationConfig"] = generation_config

        try:
            line = make_request_line(key, request)
        except TypeError as error:
            raise InputError(
                f"the request {key!r} cannot be written as JSON: {error}; no line was written",
            ) from error

        estimate = estimate_request_usage(
            system,
            prompt.parts,
            generation_config,
            answer_tokens=self.answer_tokens,
            image_tokens=self.image_tokens,
        )
        return line, estimate
