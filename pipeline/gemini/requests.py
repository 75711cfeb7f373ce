"""Make the request line of a prompt, with the schema of its answer made from a Pydantic model.

The API parses a request file as a whole and refuses all of it for one bad line. One builder serves batch lines and live
calls, with one schema dialect, `responseSchema`: under `responseJsonSchema` batch answers have come back as broken JSON
(2026-08). `model` and `serviceTier` stay out, for the model stands in the URL. So do sampling settings, which current
models ignore or refuse (model pages, read 2026-11); a temperature goes out where a task of one's own says so and the
model is one that takes it.

The dialect is a subset of OpenAPI 3.0 with types in capitals (Gemini API reference, `Schema`, read 2026-11): no `$ref`,
no `$schema`, no `additionalProperties`, no recursion, and an array must say what its items are, or the API refuses the
whole file. What only narrows a value (a pattern, a length) is left out here and held when the answer is validated. An
enum of numbers goes out as one of their texts, a mapping as a list of pairs; `as_replied` and `as_declared` turn an
answer into that form and back.
"""

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from pipeline.core.declaration import json_schema
from pipeline.core.errors import InputError
from pipeline.gemini.models import ANSWER_TOKENS, PART_TOKENS, Usage, estimate_request

if TYPE_CHECKING:
    from pydantic import BaseModel

MAX_KEY = 200  # bytes of the key of a request; ours, the API says nothing of a limit


class Prompt(NamedTuple):
    """What to ask about one item, in the API's REST shapes; a model that runs on costs money, so output is limited."""

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
    told = {
        "mimeType": inline["mimeType"],
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return {"inlineData": told}


@dataclass(frozen=True)
class RequestSettings:
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
        """Return the line of one request without its end, and what it may use; what JSON cannot hold is refused."""
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
            **(
                {"systemInstruction": {"parts": [{"text": prompt.system}]}} if prompt.system else {}
            ),
            "generationConfig": settings,
        }
        try:
            line = orjson.dumps({"key": key, "request": request})
        except TypeError as error:
            raise InputError(
                f"the request {key!r} cannot be written as JSON: {error}; no line was written"
            ) from error
        sizes = {"answer_tokens": self.answer_tokens, "image_tokens": self.image_tokens}
        return line, estimate_request(prompt.system, prompt.parts, settings, **sizes)


MAX_DEPTH = 10  # ours: the API refuses "over-deep" schemas without saying where its limit is

# Formats of JSON schema that the API takes, each with the name by which a refused value is told of.
TIME_FORMATS = {
    "date": "date",
    "date-time": "date and time",
    "time": "time",
    "duration": "duration",
}
_NUMERIC = re.compile(r"[+-]?\d+(\.\d*)?")
_COMPACT_DATE = re.compile(r"\d{8}")
_PYTHON_DURATION = re.compile(r"[+-]?\s*\d+(:| day)")  # what pydantic accepts beside ISO 8601

_TYPES = ("OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN")
_COPIED = ("minItems", "maxItems", "minimum", "maximum")
# what is left out only narrows a value, or says nothing about it
_BOUNDS = {"minProperties": "minItems", "maxProperties": "maxItems"}
_KEY = "key"  # of a pair
_VALUE = "value"
_KNOWN = {
    *_BOUNDS, "propertyNames",
    "type", "const", "enum", "items", "properties", "required", "format", "description", *_COPIED, "title", "default",
    "examples", "deprecated", "readOnly", "writeOnly", "pattern", "minLength", "maxLength", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "uniqueItems", "additionalProperties", "discriminator",
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

    References are inlined, `X | None` becomes `nullable`, a `Literal` becomes an enum of texts, a mapping a list of
    pairs; descriptions of fields go out, docstrings of classes do not, for those are written for us. With
    `tells_limits` descriptions also say what the dialect leaves out and validation holds, such as a greatest length.
    """
    schema = _Converter(tells_limits=tells_limits).converted(json_schema(answer), answer.__name__)
    if schema.get("type") != "OBJECT":
        raise TypeError(
            f"{answer.__name__} must be a model with fields, for an answer is an object"
        )
    if _depth(schema) > MAX_DEPTH:
        raise TypeError(f"{answer.__name__} is nested deeper than {MAX_DEPTH}")
    return schema


def _depth(schema: Mapping[str, Any]) -> int:
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += [schema["items"]] if "items" in schema else []
    return 1 + max(map(_depth, inner), default=0)


@dataclass(frozen=True)
class _Converter:
    tells_limits: bool

    def converted(self, node: Any, where: str) -> dict[str, Any]:
        """Return a node of a JSON schema in the dialect."""
        if not isinstance(node, dict):
            raise TypeError(f"{where}: {_ANYTHING}")
        if "prefixItems" in node:
            raise TypeError(f"{where}: responseSchema cannot say a tuple; use a list or a model")
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/$defs/")
            raise TypeError(f"{where}: {name} contains itself, and responseSchema cannot say that")
        choices = node.get("anyOf") or node.get("oneOf")
        schema = self._choice(choices, where) if choices else self._plain(node, where)
        if isinstance(said := node.get("description"), str):
            told = schema.get("description") if self.tells_limits else None
            schema["description"] = f"{said} ({told})" if told else said
        return schema

    def _choice(self, choices: list[Any], where: str) -> dict[str, Any]:
        inner = [self.converted(choice, where) for choice in choices if choice != {"type": "null"}]
        if not inner:
            raise TypeError(f"{where}: it can only be null")
        schema = inner[0] if len(inner) == 1 else {"anyOf": inner}
        return schema | ({"nullable": True} if len(inner) < len(choices) else {})

    def _plain(self, node: dict[str, Any], where: str) -> dict[str, Any]:
        """Return a node that is no choice; an enum without a type is one of texts."""
        if strange := node.keys() - _KNOWN:
            raise TypeError(f"{where}: responseSchema cannot say {min(strange)!r}")
        choices = [node["const"]] if "const" in node else node.get("enum")
        if choices:
            return self._enum(node, choices, where)
        schema: dict[str, Any] = {"type": str(node.get("type")).upper()}
        if schema["type"] not in _TYPES:
            raise TypeError(f"{where}: {_ANYTHING}")
        if self.tells_limits and (told := "; ".join(_limits(node))):
            schema["description"] = told
        if node.get("format") in TIME_FORMATS:
            schema["format"] = node["format"]
        schema |= {name: node[name] for name in _COPIED if name in node}
        if schema["type"] == "ARRAY":
            schema["items"] = self.converted(node.get("items"), f"{where}[]")
        if schema["type"] == "OBJECT":
            made = self._pairs if _is_mapping(node) else self._properties
            schema |= made(node, where)
        return schema

    def _enum(self, node: dict[str, Any], choices: list[Any], where: str) -> dict[str, Any]:
        texts = list(_texts_of(choices))
        if len(texts) < len([one for one in choices if one is not None]) or not texts:
            raise TypeError(
                f"{where}: an enum holds different texts and numbers, found {choices!r}"
            )
        told = "; ".join(_limits(node)) if self.tells_limits else ""
        shown = {"type": "STRING"} | ({"description": told} if told else {}) | {"enum": texts}
        return shown | ({"nullable": True} if None in choices else {})

    def _pairs(self, node: dict[str, Any], where: str) -> dict[str, Any]:
        key = self.converted(node.get("propertyNames", {"type": "string"}), f"{where}{{}}")
        pair = {_KEY: key, _VALUE: self.converted(node["additionalProperties"], f"{where}{{}}")}
        bounds = {_BOUNDS[name]: node[name] for name in _BOUNDS if name in node}
        items = {
            "type": "OBJECT",
            "properties": pair,
            "propertyOrdering": [*pair],
            "required": [*pair],
        }
        return {"type": "ARRAY", **bounds, "items": items}

    def _properties(self, node: dict[str, Any], where: str) -> dict[str, Any]:
        if not node.get("properties") or isinstance(node.get("additionalProperties"), dict):
            raise TypeError(
                f"{where}: responseSchema cannot say a free mapping; use a model with fields"
            )
        inner = dict[str, Any]()
        faults = list[str]()
        for name, one in node["properties"].items():
            try:
                inner[name] = self.converted(one, f"{where}.{name}")
            except TypeError as error:
                faults.append(str(error))
        if faults:
            raise TypeError("\n".join(faults))
        required = [name for name in inner if name in node.get("required", ())]
        return {
            "properties": inner,
            "propertyOrdering": list(inner),
            **({"required": required} if required else {}),
        }


def _limits(node: Mapping[str, Any]) -> Iterator[str]:
    if node.get("format") in _FORMATS:
        yield _FORMATS[node["format"]]
    for name, told in _LIMITS.items():
        if node.get(name) or (name.startswith("exclusive") and name in node):  # which may be 0
            yield told.format(node[name])


def _is_mapping(node: Mapping[str, Any]) -> bool:
    return not node.get("properties") and isinstance(node.get("additionalProperties"), dict)


def _texts_of(choices: Iterable[Any]) -> dict[str, Any]:
    return {
        one if isinstance(one, str) else json.dumps(one): one for one in choices if one is not None
    }


def as_declared(reply: Any, answer: "type[BaseModel]") -> Any:
    """Return a reply, JSON, as the model of an answer declares it.

    Raises:
        ValueError: A mapping has a key twice, or a date, time or duration is not written as ISO 8601 has it.
    """
    return _turned(reply, json_schema(answer), is_reply=True)


def as_replied(answer: Any, model: "type[BaseModel]") -> Any:
    """Return an answer, a document of JSON, as it is to be replied: with texts for numbers, and pairs for mappings."""
    return _turned(answer, json_schema(model), is_reply=False)


def _turned(value: Any, node: Mapping[str, Any], *, is_reply: bool) -> Any:
    """Return a value in its other form, by its node of a JSON schema."""
    turned = partial(_turned, is_reply=is_reply)
    if choices := node.get("anyOf") or node.get("oneOf"):
        # Any text may stand where a plain text may, so it is not held to be a date.
        takes_any_text = any(
            choice.get("type") == "string" and "format" not in choice for choice in choices
        )
        relevant = [
            choice
            for choice in choices
            if not (takes_any_text and choice.get("format") in TIME_FORMATS)
        ]
        return reduce(turned, relevant, value)
    if texts := _texts_of(node.get("enum", [node.get("const")])):
        return _chosen(value, texts) if is_reply else _text_of_choice(value, texts)
    if is_reply and not isinstance(value, list | dict):
        return _scalar(value, node)
    if _is_mapping(node):
        inner = partial(turned, node=node["additionalProperties"])
        return _mapping_of(value, inner) if is_reply else _pairs_of(value, inner)
    if isinstance(value, list):
        return [turned(one, node.get("items", {})) for one in value]
    members = node.get("properties", {})
    is_object = isinstance(value, dict)
    return (
        {name: turned(one, members.get(name, {})) for name, one in value.items()}
        if is_object
        else value
    )


def _chosen(value: Any, texts: Mapping[str, Any]) -> Any:
    """Return the choice that a replied text stands for."""
    booleans = [choice for choice in texts.values() if isinstance(choice, bool)]
    if isinstance(value, bool) and value not in booleans:
        return json.dumps(value)  # as a text it is refused; Python takes true for 1
    return texts.get(value, value) if isinstance(value, str) else value


def _text_of_choice(value: Any, texts: Mapping[str, Any]) -> Any:
    """Return the text by which a choice is replied; a value that is no choice stays."""
    same = (
        text for text, choice in texts.items() if choice == value and type(choice) is type(value)
    )
    return next(same, value)


def _scalar(value: Any, node: Mapping[str, Any]) -> Any:
    """Return a replied number or text as its type has it: 3.0 as a whole number, a date as ISO 8601 has it."""
    if node.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and node.get("format") in TIME_FORMATS:
        return _iso_text(value, node["format"])
    return value


def _iso_text(text: str, form: str) -> str:
    """Return a date or time as ISO 8601 has it; what is no such text is left to the answer's own validators.

    Raises:
        ValueError: It is a number, which would be read as seconds since 1970, or a duration in Python's words.
    """
    if form in {"date", "date-time"} and _COMPACT_DATE.fullmatch(text):
        with contextlib.suppress(ValueError):
            day = date.fromisoformat(text).isoformat()
            return day if form == "date" else f"{day}T00:00:00"
    if _NUMERIC.fullmatch(text) or (form == "duration" and _PYTHON_DURATION.match(text)):
        raise ValueError(f"{text!r} is not a {TIME_FORMATS[form]} as ISO 8601 has it")
    return text


def _pairs_of(mapping: Any, turned: Callable[[Any], Any]) -> Any:
    is_mapping = isinstance(mapping, dict)
    return (
        [{_KEY: key, _VALUE: turned(one)} for key, one in mapping.items()]
        if is_mapping
        else mapping
    )


def _mapping_of(pairs: Any, turned: Callable[[Any], Any]) -> Any:
    is_pairs = isinstance(pairs, list) and all(
        isinstance(one, dict) and one.keys() == {_KEY, _VALUE} for one in pairs
    )
    if not is_pairs or not all(isinstance(one[_KEY], str) for one in pairs):
        return pairs
    found = {one[_KEY]: turned(one[_VALUE]) for one in pairs}
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one mapping")
    return found
