"""Default answers of the outside server: simple values that a schema allows.

The values depend on a hash of the question. Equal questions get equal answers, and different
questions nearly always get different answers.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
# A function from a request to the document that the model writes.
Answerer = Callable[[Json], Json]

DATED = re.compile(r"date|day$|_on$|_at$|\bdue\b|YYYY-MM-DD", re.IGNORECASE)
ISO_DAY = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
LONG = re.compile(r"quot|verbatim|sentence|word for word", re.IGNORECASE)
FALLBACK_DAY = "2026-01-31"


class RefusedLine(Exception):  # noqa: N818 - an outcome of a line, not a failure
    """An answerer raises it to end a line with an error of a google.rpc code."""

    def __init__(self, code: int, message: str = "") -> None:
        """Store the code and the message of Google."""
        super().__init__(message)
        self.code = code
        self.message = message


def member(document: Any, name: str) -> Any:
    """Return a member by its camelCase name or its snake_case name; the protocol allows both."""
    if not isinstance(document, dict):
        return None
    snake_name = re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", name)
    return document.get(name, document.get(snake_name))


def user_text(request: Json) -> str:
    """Return all text of the last content."""
    contents = member(request, "contents") or [{}]
    return "\n".join(part["text"] for part in contents[-1].get("parts", ()) if "text" in part)


def source_text(request: Json) -> str:
    """Return the source of quotations: the longest text between tags, or else the whole text."""
    text = user_text(request)
    tagged_texts = [match[2] for match in re.finditer(r"<(\w+)>(.*?)</\1>", text, re.DOTALL)]
    return max(tagged_texts, key=len) if tagged_texts else text


def fill(request: Json) -> Json:
    """Return a document that fits the `responseSchema`; a text if there is no schema."""
    schema = member(member(request, "generationConfig"), "responseSchema")
    filler = Filler(source_text(request))
    if schema is None:
        return {"said": filler.string({}, "said")}
    document: Json = filler.value(schema, "answer")
    return document


@dataclass(frozen=True)
class Filler:
    """Fills schemas with values that depend on a text."""

    text: str

    def value(self, schema: Json, path: str) -> Any:
        """Return a value for the node of a schema at a path."""
        if choices := member(schema, "anyOf"):
            return self.value(choices[0], path)
        if schema.get("enum"):
            return schema["enum"][self._draw(path, len(schema["enum"]))]
        kind = str(schema["type"]).lower()
        filled: Any = getattr(self, kind)(schema, path)
        return filled

    def object(self, schema: Json, path: str) -> Json:
        """Return an object; some optional members are null, and some are left out."""
        required = schema.get("required", ())
        members: Json = {}
        for name, inner in schema["properties"].items():
            member_path = f"{path}.{name}"
            is_optional = name not in required and inner.get("nullable")
            choice = self._draw(f"{member_path}?", 4) if is_optional else None

            # An optional member is left out, null, or present twice as often.
            if choice == 0:
                continue
            members[name] = None if choice == 1 else self.value(inner, member_path)
        return members

    def array(self, schema: Json, path: str) -> list[Any]:
        """Return up to two values, within the bounds of the schema."""
        min_count = int(member(schema, "minItems") or 1)
        max_count = int(member(schema, "maxItems") or 9)
        count = max(min_count, min(max_count, 1 + self._draw(f"{path}[]", 2)))
        return [self.value(schema["items"], f"{path}[{number}]") for number in range(count)]

    def string(self, schema: Json, path: str) -> str:
        """Return a day if the name or the description mentions days, else a slice of the text."""
        hints = f"{path.rpartition('.')[2]} {schema.get('description', '')}"
        if str(schema.get("format", "")).startswith("date") or DATED.search(hints):
            day = ISO_DAY.search(self.text)
            return day[0] if day else FALLBACK_DAY

        return self._slice(path, max_words=8 if LONG.search(hints) else 3)

    def integer(self, schema: Json, path: str) -> int:
        """Return a whole number between the bounds."""
        return self._number(schema, path)

    def number(self, schema: Json, path: str) -> float:
        """Return a whole number as a float between the bounds."""
        return float(self._number(schema, path))

    def boolean(self, _schema: Json, path: str) -> bool:
        """Return true or false."""
        return bool(self._draw(path, 2))

    def _number(self, schema: Json, path: str) -> int:
        minimum: int = math.ceil(schema.get("minimum", 0))
        maximum: int = math.floor(schema.get("maximum", minimum + 100))
        return minimum + self._draw(path, maximum - minimum + 1)

    def _slice(self, path: str, *, max_words: int) -> str:
        """Return a slice of the longest line with a maximum number of words."""
        line = max(re.split(r"[\n<>&]", self.text), key=len).strip() or "nothing"
        words = list(re.finditer(r"\S+", line))
        first = self._draw(path, max(1, len(words) - max_words + 1))
        last = min(len(words), first + max_words) - 1
        return line[words[first].start() : words[last].end()]

    def _draw(self, path: str, count: int) -> int:
        """Return a number below `count` that depends on the text and the path."""
        return int.from_bytes(hashlib.sha256(f"{path}\0{self.text}".encode()).digest()[:6]) % count


def reply(request: Json, document: Json, *, model: str) -> Json:
    """Return the reply with a document, in the form of generateContent and result lines."""
    text = json.dumps(document, ensure_ascii=False, separators=(", ", ": "))
    prompt_tokens = tokens(user_text(request))
    output_tokens = tokens(text)
    half = len(text) // 2
    # The API may split a text into any number of parts.
    parts = [{"text": text[:half]}, {"text": text[half:]}]
    return {
        "modelVersion": model,
        "responseId": hashlib.sha256(text.encode()).hexdigest()[:22],
        "usageMetadata": {
            "totalTokenCount": prompt_tokens + output_tokens,
            "candidatesTokenCount": output_tokens,
            "promptTokenCount": prompt_tokens,
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
    """Estimate the number of tokens of a text; the minimum is 1."""
    return max(1, math.ceil(len(text.encode()) / 4))


def vector(text: str, width: int) -> list[float]:
    """Return a vector of unit length with two hashed positions for each word."""
    values = [0.0] * width
    for word in re.findall(r"\w+", text.casefold()) or [""]:
        digest = hashlib.sha256(word.encode()).digest()
        for offset in (0, 8):
            values[int.from_bytes(digest[offset : offset + 8]) % width] += 1.0
    length = math.hypot(*values)
    return [value / length for value in values]


def request_vector(request: Json) -> list[float]:
    """Return the vector of a request; its parts are joined into a text."""
    parts = (member(request, "content") or {}).get("parts", ())
    text = " ".join(part.get("text", "") for part in parts)
    return vector(text, member(request, "outputDimensionality") or 3072)
