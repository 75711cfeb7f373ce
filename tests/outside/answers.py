"""What the outside server answers where a test says nothing else: the simplest values that a schema allows.

They are drawn from a hash of the question, so that two questions seldom get one answer, and the same one always does.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Answerer = Callable[
    [Json], Json
]  # from a request as it was sent to the document that the model writes

DATED = re.compile(r"date|day$|_on$|_at$|\bdue\b|YYYY-MM-DD", re.IGNORECASE)
ISO_DAY = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
LONG = re.compile(r"quot|verbatim|sentence|word for word", re.IGNORECASE)
FALLBACK_DAY = "2026-01-31"


class RefusedLine(Exception):  # noqa: N818 - an outcome of one line, as the protocol has it
    """Raised by an answerer: this line ends with an error of a google.rpc code, and not with an answer."""

    def __init__(self, code: int, message: str = "") -> None:
        """Keep the code and Google's words."""
        super().__init__(message)
        self.code = code
        self.message = message


def member(document: Any, name: str) -> Any:
    """Return a member by its camelCase name, or by the snake_case one, which the protocol allows everywhere."""
    if not isinstance(document, dict):
        return None
    return document.get(
        name, document.get(re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name))
    )


def user_text(request: Json) -> str:
    """Return all text of the last content."""
    contents = member(request, "contents") or [{}]
    return "\n".join(part["text"] for part in contents[-1].get("parts", ()) if "text" in part)


def source_text(request: Json) -> str:
    """Return the text that quotations come from: the longest data between two tags of one name, else all of it."""
    text = user_text(request)
    inside = [match[2] for match in re.finditer(r"<(\w+)>(.*?)</\1>", text, re.DOTALL)]
    return max(inside, key=len) if inside else text


def fill(request: Json) -> Json:
    """Return a document that the request's `responseSchema` allows; without one, some words."""
    schema = member(member(request, "generationConfig"), "responseSchema")
    filler = Filler(source_text(request))
    if schema is None:
        return {"said": filler.string({}, "said")}
    document: Json = filler.value(schema, "answer")
    return document


@dataclass(frozen=True)
class Filler:
    """Fills schemas from one text."""

    text: str

    def value(self, schema: Json, path: str) -> Any:
        """Return a value for one node of a schema; `path` is where it stands."""
        if choices := member(schema, "anyOf"):
            return self.value(choices[0], path)
        if schema.get("enum"):
            return schema["enum"][self._draw(path, len(schema["enum"]))]
        kind = str(schema["type"]).lower()
        filled: Any = getattr(self, kind)(schema, path)
        return filled

    def object(self, schema: Json, path: str) -> Json:
        """Return an object; of what is not required, and may be null, some is left out and some is null."""
        required = schema.get("required", ())
        found: Json = {}
        for name, inner in schema["properties"].items():
            place = f"{path}.{name}"
            if (
                name not in required
                and inner.get("nullable")
                and (fate := self._draw(f"{place}?", 4)) < 2
            ):
                found |= {name: None} if fate else {}
                continue
            found[name] = self.value(inner, place)
        return found

    def array(self, schema: Json, path: str) -> list[Any]:
        """Return one or two values, or as many as there must be."""
        least = int(member(schema, "minItems") or 1)
        most = int(member(schema, "maxItems") or 9)
        count = max(least, min(most, 1 + self._draw(f"{path}[]", 2)))
        return [self.value(schema["items"], f"{path}[{number}]") for number in range(count)]

    def string(self, schema: Json, path: str) -> str:
        """Return a day where the name or the description asks for one, else a slice of the text."""
        told = f"{path.rpartition('.')[2]} {schema.get('description', '')}"
        if str(schema.get("format", "")).startswith("date") or DATED.search(told):
            found = ISO_DAY.search(self.text)
            return found[0] if found else FALLBACK_DAY
        return self._slice(path, most=8 if LONG.search(told) else 3)

    def integer(self, schema: Json, path: str) -> int:
        """Return a whole number between the bounds."""
        return self._number(schema, path)

    def number(self, schema: Json, path: str) -> float:
        """Return a whole number as a real one between the bounds."""
        return float(self._number(schema, path))

    def boolean(self, _schema: Json, path: str) -> bool:
        """Return true or false."""
        return bool(self._draw(path, 2))

    def _number(self, schema: Json, path: str) -> int:
        least: int = math.ceil(schema.get("minimum", 0))
        most: int = math.floor(schema.get("maximum", least + 100))
        return least + self._draw(path, most - least + 1)

    def _slice(self, path: str, *, most: int) -> str:
        """Return at most so many words of the text as they stand there, from its longest line."""
        line = max(re.split(r"[\n<>&]", self.text), key=len).strip() or "nothing"
        words = list(re.finditer(r"\S+", line))
        first = self._draw(path, max(1, len(words) - most + 1))
        last = min(len(words), first + most) - 1
        return line[words[first].start() : words[last].end()]

    def _draw(self, path: str, count: int) -> int:
        """Return a number below `count` that depends on the text and the place."""
        return int.from_bytes(hashlib.sha256(f"{path}\0{self.text}".encode()).digest()[:6]) % count


def reply(request: Json, document: Json, *, model: str) -> Json:
    """Return the reply that brings a document, as generateContent and result lines have it."""
    text = json.dumps(document, ensure_ascii=False, separators=(", ", ": "))
    asked = tokens(user_text(request))
    written = tokens(text)
    half = len(text) // 2
    parts = [
        {"text": text[:half]},
        {"text": text[half:]},
    ]  # what is written comes in as many parts as it likes
    return {
        "modelVersion": model,
        "responseId": hashlib.sha256(text.encode()).hexdigest()[:22],
        "usageMetadata": {
            "totalTokenCount": asked + written,
            "candidatesTokenCount": written,
            "promptTokenCount": asked,
            "trafficType": "ON_DEMAND",
        },
        "candidates": [
            {
                "finishReason": "STOP",
                "avgLogprobs": -0.07,
                "content": {"role": "model", "parts": parts},
            }
        ],
        "etag": f'"{half}"',
    }


def tokens(text: str) -> int:
    """Return about how many tokens a text has; at least one."""
    return max(1, math.ceil(len(text.encode()) / 4))


def vector(text: str, width: int) -> list[float]:
    """Return a vector of unit length: each word of a text points to hashed places."""
    values = [0.0] * width
    for word in re.findall(r"\w+", text.casefold()) or [""]:
        digest = hashlib.sha256(word.encode()).digest()
        for place in (0, 8):
            values[int.from_bytes(digest[place : place + 8]) % width] += 1.0
    length = math.hypot(*values)
    return [value / length for value in values]
