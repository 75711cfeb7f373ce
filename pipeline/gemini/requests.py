"""Make the request line of a prompt, and check that none is sent that would be refused.

The API parses a request file as a whole and refuses all of it for one bad line, so every line is checked here first.
One builder serves batch lines and live calls, with one schema dialect, `responseSchema`: under `responseJsonSchema`
batch answers have come back as broken JSON (2026-08). `model` and `serviceTier` stay out, for the model stands in the
URL. So do sampling settings, which current models ignore or refuse (model pages, read 2026-11); a temperature goes out
where a task of one's own says so and the model is one that takes it.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import orjson

from pipeline.core.errors import InputError
from pipeline.core.task import Prompt
from pipeline.gemini.schema import check_schema
from pipeline.gemini.tokens import ANSWER_TOKENS, PART_TOKENS, Usage, estimate_parts, estimate_tokens, estimate_usage

MAX_KEY = 200  # bytes of the key of a request; ours, the API says nothing of a limit
# Beside `contents`; `model`, `serviceTier`, `tools` and `cachedContent` are known to the API but never ours
REQUEST_MEMBERS = frozenset({"contents", "systemInstruction", "generationConfig", "safetySettings"})
# Inside `generationConfig`; what is left out on purpose is named in `_MISPLACED`
SETTING_MEMBERS = frozenset(
    {
        "responseMimeType",
        "responseSchema",
        "maxOutputTokens",
        "thinkingConfig",
        "mediaResolution",
        "stopSequences",
        "candidateCount",
        "seed",
        "temperature",
    }
)
THINKING_MEMBERS = frozenset({"thinkingBudget", "thinkingLevel", "includeThoughts"})
PART_MEMBERS = frozenset({"text", "inlineData", "fileData"})
BEFORE_PARTS = b'{"contents":[{"role":"user","parts":'  # how every request object begins
_MISPLACED = {
    "cachedContent": "a cached content refuses the whole file",
    "responseJsonSchema": "batch answers break under responseJsonSchema; use responseSchema",
    "model": "the model stands in the URL",
    "serviceTier": "a batch has no service tier",
    "topP": "current models ignore sampling settings",
    "topK": "current models ignore sampling settings",
    "presencePenalty": "current models refuse penalties",
    "frequencyPenalty": "current models refuse penalties",
}


def request_key(task_name: str, item_id: str) -> str:
    """Return the key of a request: `<task>/<item id>`, the same each time the item is asked.

    A key of more than 200 bytes has the SHA-256 of the id in its place. Built-in tasks, whose names hold a dash as no
    other's can, keep theirs, which older workspaces have sent.

    Raises:
        ValueError: the task's name is empty or holds a slash, or the item's id is empty.
    """
    if not task_name or "/" in task_name or not item_id:
        raise ValueError(f"no key can be made of task {task_name!r} and item {item_id!r}")
    key = f"{task_name}/{item_id}"
    if "-" in task_name or len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY:
        return key
    return f"{task_name}/{hashlib.sha256(item_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def build_request(
    prompt: Prompt,
    *,
    schema: Mapping[str, Any],
    thinking: Mapping[str, Any] | None,
    temperature: float | None = None,
    media_resolution: str | None = None,
) -> dict[str, Any]:
    """Return the request object for a prompt, camelCase, with the answer's schema and the model's thinking settings.

    `thinking` is the `thinkingConfig`, `media_resolution` a word of the API; without them and without a `temperature`
    the model has its defaults.
    """
    settings: dict[str, Any] = {
        "responseMimeType": "application/json",
        "responseSchema": dict(schema),
        "maxOutputTokens": prompt.max_output_tokens,
    }
    if thinking is not None:
        settings["thinkingConfig"] = dict(thinking)
    if temperature is not None:
        settings["temperature"] = temperature
    if media_resolution is not None:
        settings["mediaResolution"] = media_resolution
    request: dict[str, Any] = {"contents": [{"role": "user", "parts": [dict(part) for part in prompt.parts]}]}
    if prompt.system:
        request["systemInstruction"] = {"parts": [{"text": prompt.system}]}
    request["generationConfig"] = settings
    return request


def request_line(key: str, request: Mapping[str, Any]) -> bytes:
    """Return the line for one request, UTF-8 JSON without its line end.

    Raises:
        InputError: the request holds what JSON or UTF-8 cannot: a lone surrogate, an integer beyond 64 bits.
    """
    try:
        return orjson.dumps({"key": key, "request": request})
    except TypeError as error:
        raise InputError(f"the request {key!r} cannot be written as JSON: {error}; no line was written") from error


def object_of(line: bytes) -> dict[str, Any]:
    """Return the request object of a line of ours, as a live call sends it."""
    request: dict[str, Any] = orjson.loads(line)["request"]
    return request


def shown_object(line: bytes) -> dict[str, Any]:
    """Return the request object of a line as it may be kept and shown: size and SHA-256 in the place of each image."""
    found: dict[str, Any] = _shown(object_of(line))
    return found


def split_request(line: bytes) -> tuple[str, str]:
    """Return the request object of a line of ours in two, its contents and all else, each as JSON, to be kept.

    Of an image its size and hash stand there in the place of its bytes.
    """
    request = shown_object(line)
    contents = request.pop("contents")
    return orjson.dumps(contents).decode(), orjson.dumps(request).decode()


def shown_line(line: bytes) -> bytes:
    """Return a line of ours as it may be kept and shown; the same bytes where it has no image."""
    return orjson.dumps(_shown(orjson.loads(line))) if b'"inlineData"' in line else line


def _shown(value: Any) -> Any:
    """Return a part of a document without the bytes of images."""
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


def joined_request(contents: str, rest: str) -> str:
    """Return the request object that was split so, as JSON."""
    return f'{{"contents":{contents},{rest[1:]}'


class Form:
    """The requests of one task, as the functions of this module and `estimate_usage` make them, in a tenth of the time.

    All but the key and the parts is the same in every line, so it is written, checked and estimated once, and its bytes
    are put round those of each item.
    """

    def __init__(
        self,
        *,
        schema: Mapping[str, Any],
        thinking: Mapping[str, Any] | None,
        temperature: float | None = None,
        answer_tokens: int = ANSWER_TOKENS,
        media_resolution: str | None = None,
        image_tokens: int = PART_TOKENS,
    ) -> None:
        """Take what `build_request` takes beside the prompt, and what `estimate_usage` takes beside the request."""
        self._build = partial(
            build_request,
            schema=schema,
            thinking=thinking,
            temperature=temperature,
            media_resolution=media_resolution,
        )
        self._estimate = partial(estimate_usage, answer_tokens=answer_tokens)
        self._count = partial(estimate_parts, image_tokens=image_tokens)
        self._frames: dict[tuple[str, int], _Frame] = {}

    def fill(self, key: str, prompt: Prompt) -> tuple[bytes, bytes, bytes, Usage]:
        """Return the checked line of one request, without its line end, in two, what is asked, and what it may use.

        The first part of the line ends with what is asked; the second one is the same object in many lines.

        Raises:
            InputError: the request cannot be sent; see `request_line` and `check_request`.
        """
        system, parts, most = prompt
        frame = self._frames.get((system, most)) or self._frame(prompt)
        try:
            named, asked = orjson.dumps(key), orjson.dumps(parts)  # which leaves a text's UTF-8 with it
            text = parts[0].get("text") if len(parts) == 1 and len(parts[0]) == 1 else None
            if text and text.__class__ is str:  # as nearly all are
                tokens = estimate_tokens(text)
            else:
                _check_parts({"parts": parts})
                tokens = self._count(parts)
        except InputError as error:
            raise InputError(f"request {key!r}: {error.message}") from error
        except TypeError as error:
            raise InputError(f"the request {key!r} cannot be written as JSON: {error}; no line was written") from error
        return _HEAD % (named, asked), frame.rest, asked, frame.used.get(tokens) or frame.use(tokens)

    def _frame(self, prompt: Prompt) -> "_Frame":
        """Return what is round the parts of all prompts that are like this one but for their parts."""
        request = self._build(prompt._replace(parts=[_SAMPLE]))
        whole = request_line("key", request)
        check_request(whole)
        before = _HEAD % (b'"key"', orjson.dumps([_SAMPLE]))
        assert whole.startswith(before)  # noqa: S101 - the order in which both functions write
        usage = self._estimate(request)
        prompt_tokens = usage.prompt - estimate_parts([_SAMPLE])
        frame = _Frame(whole.removeprefix(before), Usage(prompt_tokens, usage.answer, usage.thoughts), {})
        self._frames[prompt.system, prompt.max_output_tokens] = frame
        return frame


class _Frame(NamedTuple):
    """What is the same in many lines: the bytes after the parts, what is used beside them, and with so many tokens."""

    rest: bytes
    usage: Usage
    used: dict[int, Usage]

    def use(self, tokens: int) -> Usage:
        """Return what is used with so many tokens in the parts, one object for all lines that have as many."""
        used = self.used[tokens] = Usage(self.usage.prompt + tokens, self.usage.answer, self.usage.thoughts)
        return used


_SAMPLE = {"text": "x"}
_HEAD = b'{"key":%b,"request":' + BEFORE_PARTS + b"%b"  # of a line, with its key and its parts as JSON


def check_request(line: bytes) -> None:
    """Refuse a line that would make the API refuse its whole file.

    Held: one JSON object on one line with `key` and `request` alone; the key a text that is not empty; contents whose
    parts hold something; every member at the place the API reads it from; `maxOutputTokens` set; the schema in the
    subset of `responseSchema`. Whether keys repeat is checked by the writer, which sees all lines.

    Raises:
        InputError: the message names the member and what is wrong with it.
    """
    if b"\n" in line or b"\r" in line:
        raise InputError("a request must stand on one line; it holds a line end")
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"a request line must be JSON: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"a request line must be a JSON object, not {_kind(document)}")
    _known(document, frozenset({"key", "request"}), "the line")
    key = document.get("key")
    if not isinstance(key, str) or not key.strip():
        raise InputError(f"'key' must be a text that is not empty, not {_kind(key)}")
    try:
        _check_request(_object(document, "request", "the line"))
    except InputError as error:
        raise InputError(f"request {key!r}: {error.message}") from error


def _check_request(request: dict[str, Any]) -> None:
    """Refuse a request object that is not as the API wants it."""
    _known(request, REQUEST_MEMBERS, "the request")
    contents = _filled_list(request, "contents", "the request")
    for content in contents:
        if not isinstance(content, dict):
            raise InputError(f"'contents' must hold objects, not {_kind(content)}")
        _known(content, frozenset({"role", "parts"}), "a content")
        if content.get("role", "user") not in ("user", "model"):  # a set cannot be asked for a list
            raise InputError(f"'role' must be user or model, not {content['role']!r}")
        _check_parts(content)
    if "systemInstruction" in request:
        instruction = _object(request, "systemInstruction", "the request")
        _known(instruction, frozenset({"role", "parts"}), "'systemInstruction'")
        _check_parts(instruction)
    if "safetySettings" in request:
        _filled_list(request, "safetySettings", "the request")
    _check_settings(_object(request, "generationConfig", "the request"))


def _check_parts(content: Mapping[str, Any]) -> None:
    """Refuse a content without parts, and a part that holds nothing or more than one thing."""
    for part in _filled_list(content, "parts", "a content"):
        if not isinstance(part, dict) or len(part) != 1:
            raise InputError("a part must be an object with one of text, inlineData, fileData")
        if "text" in part:
            if not isinstance(part["text"], str) or not part["text"]:
                raise InputError(f"'text' must be a text that is not empty, not {_kind(part['text'])}")
            continue
        _known(part, PART_MEMBERS, "a part")
        name, source = ("inlineData", "data") if "inlineData" in part else ("fileData", "fileUri")
        media = _object(part, name, "a part")
        _known(media, frozenset({"mimeType", source}), f"'{name}'")
        if not all(isinstance(media.get(member), str) and media[member] for member in ("mimeType", source)):
            raise InputError(f"'{name}' needs 'mimeType' and '{source}'")


def _check_settings(settings: dict[str, Any]) -> None:
    """Refuse a generationConfig with members the API does not read there, without a cap, or with a schema it cannot."""
    _known(settings, SETTING_MEMBERS, "'generationConfig'")
    most = settings.get("maxOutputTokens")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise InputError(f"'maxOutputTokens' must be a number of 1 or more, not {most!r}")
    if not isinstance(settings.get("temperature", 0), int | float):
        raise InputError(f"'temperature' must be a number, not {settings['temperature']!r}")
    if "thinkingConfig" in settings:
        thinking = _object(settings, "thinkingConfig", "'generationConfig'")
        _known(thinking, THINKING_MEMBERS, "'thinkingConfig'")
        if {"thinkingBudget", "thinkingLevel"} <= thinking.keys():
            raise InputError("'thinkingBudget' and 'thinkingLevel' exclude each other")
    if "responseSchema" in settings:
        if settings.get("responseMimeType") != "application/json":
            raise InputError("'responseSchema' needs 'responseMimeType' application/json")
        check_schema(_object(settings, "responseSchema", "'generationConfig'"))


def _known(document: dict[str, Any], members: frozenset[str], where: str) -> None:
    """Refuse members that do not belong at this place."""
    for name in document:
        if name not in members:
            reason = _MISPLACED.get(name, "the API knows no such field there, and refuses the whole file for it")
            raise InputError(f"{name!r} does not belong in {where}: {reason}")


def _object(document: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        raise InputError(f"{name!r} in {where} must be an object, not {_kind(value)}")
    return value


def _filled_list(document: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list) or not value:
        raise InputError(f"{name!r} in {where} must be a list that is not empty, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if value in ("", [], {}):
        return "an empty one"
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")
