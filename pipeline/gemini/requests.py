"""Make the request line of a prompt.

The API parses a request file as a whole and refuses all of it for one bad line. One builder serves batch lines and live
calls, with one schema dialect, `responseSchema`: under `responseJsonSchema` batch answers have come back as broken JSON
(2026-08). `model` and `serviceTier` stay out, for the model stands in the URL. So do sampling settings, which current
models ignore or refuse (model pages, read 2026-11); a temperature goes out where a task of one's own says so and the
model is one that takes it.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from pipeline.core.errors import InputError
from pipeline.gemini.tokens import ANSWER_TOKENS, PART_TOKENS, Usage, estimate_request

MAX_KEY = 200  # bytes of the key of a request; ours, the API says nothing of a limit


class Prompt(NamedTuple):
    """What to ask about one item, in the API's REST shapes: `parts` are the user's (`{"text": …}`).

    `max_output_tokens` is always set, because a model that runs on costs money.
    """

    system: str
    parts: Sequence[Mapping[str, Any]]
    max_output_tokens: int


def request_key(task_name: str, item_id: str) -> str:
    """Return the key of a request: `<task>/<item id>`, the same each time the item is asked.

    A key of more than 200 bytes has the SHA-256 of the id in its place; not in built-in tasks, whose names hold a dash.
    """
    if not task_name or "/" in task_name or not item_id:
        raise ValueError(f"no key can be made of task {task_name!r} and item {item_id!r}")
    key = f"{task_name}/{item_id}"
    if "-" in task_name or len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY:
        return key
    return f"{task_name}/{hashlib.sha256(item_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def object_of(line: bytes) -> dict[str, Any]:
    """Return the request object of a line of ours, as a live call sends it."""
    request: dict[str, Any] = orjson.loads(line)["request"]
    return request


def reply_line(line: bytes, **told: Any) -> bytes:
    """Return the line of a result file that answers a request line of ours: its key, and a `response` or an `error`."""
    return orjson.dumps({"key": orjson.loads(line)["key"], **told}) + b"\n"


def shown_object(line: bytes) -> dict[str, Any]:
    """Return the request object of a line as it may be kept and shown: size and SHA-256 in the place of each image."""
    found: dict[str, Any] = _shown(object_of(line))
    return found


def shown_line(line: bytes) -> bytes:
    """Return a line of ours as it may be kept and shown; the same bytes where it has no image."""
    return orjson.dumps(_shown(orjson.loads(line))) if b'"inlineData"' in line else line


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(one) for one in value]
    if not isinstance(value, dict):
        return value
    inline = value.get("inlineData")
    if not isinstance(inline, dict):
        return {name: _shown(one) for name, one in value.items()}
    data = base64.b64decode(inline["data"])
    told = {"mimeType": inline["mimeType"], "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {"inlineData": told}


@dataclass(frozen=True)
class Form:
    """What all requests of one task have in common: the answer's schema, and what is set of the model.

    `thinking` is the `thinkingConfig`, `media_resolution` a word of the API; without them and without a `temperature`
    the model has its defaults. `answer_tokens` and `image_tokens` are what an answer and an image are taken to have.
    """

    schema: Mapping[str, Any]
    thinking: Mapping[str, Any] | None
    temperature: float | None = None
    answer_tokens: int = ANSWER_TOKENS
    media_resolution: str | None = None
    image_tokens: int = PART_TOKENS

    def fill(self, key: str, prompt: Prompt) -> tuple[bytes, Usage]:
        """Return the line of one request, UTF-8 JSON without its line end, and what it may use.

        Raises:
            InputError: the request holds what JSON or UTF-8 cannot: a lone surrogate, an integer beyond 64 bits.
        """
        own = {
            "thinkingConfig": self.thinking,
            "temperature": self.temperature,
            "mediaResolution": self.media_resolution,
        }
        settings = {
            "responseMimeType": "application/json",
            "responseSchema": self.schema,
            "maxOutputTokens": prompt.max_output_tokens,
            **{name: value for name, value in own.items() if value is not None},
        }
        request = {
            "contents": [{"role": "user", "parts": prompt.parts}],
            **({"systemInstruction": {"parts": [{"text": prompt.system}]}} if prompt.system else {}),
            "generationConfig": settings,
        }
        try:
            line = orjson.dumps({"key": key, "request": request})
        except TypeError as error:
            raise InputError(f"the request {key!r} cannot be written as JSON: {error}; no line was written") from error
        sizes = {"answer_tokens": self.answer_tokens, "image_tokens": self.image_tokens}
        return line, estimate_request(prompt.system, prompt.parts, settings, **sizes)
