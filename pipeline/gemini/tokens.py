"""Count tokens: those a reply reports, what they cost in USD, and an estimate of what is not run yet.

Cost comes from tokens, never from a count of requests: a model that thinks can use a hundred times the tokens of its
answer, and every thought is billed as output (Gemini API pricing page, read 2026-10).
"""

import math
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.gemini.models import Model

if TYPE_CHECKING:
    from pydantic import BaseModel


ASCII_PER_TOKEN = 4.0  # "a token is about 4 characters" (Gemini token guide, read 2026-11)
TWO_BYTE_PER_TOKEN = 2.0  # ours: accented Latin, Cyrillic, Greek, Arabic, Hebrew; between English and Chinese
THREE_BYTE_PER_TOKEN = 1.5  # ours: Chinese, Japanese, Korean, Indic and Thai letters
FOUR_BYTE_PER_TOKEN = 0.5  # ours: an emoji is often two tokens
PART_TOKENS = 1_120  # one image, where the model's own figure is not known: see `Model.tokens_of_image`
ANSWER_TOKENS = 96  # ours: where a task does not say how long its answers are
THOUGHT_TOKENS = 829  # what a model left to itself thought about a short question (batch notebook, 2025-09)


class Usage(NamedTuple):
    """Tokens of one or many replies: the prompt (cached ones included), the answer, the thoughts, the cached ones.

    A tuple because one is made for every line, though `+` adds two up.
    """

    prompt: int = 0
    answer: int = 0
    thoughts: int = 0
    cached: int = 0

    def __add__(self, other: "Usage") -> "Usage":  # type: ignore[override]  # of tuples it makes a longer one
        """Return both together."""
        return Usage(*(one + more for one, more in zip(self, other, strict=True)))


NO_USAGE = Usage()


def usage_cost(model: Model, usage: Usage, *, batch: bool, on: date) -> float:
    """Return USD: prompt x in + (answer + thoughts) x out, at the price of that day; cached tokens at full price."""
    return cost_at(model.prices(batch=batch, on=on), usage)


def cost_at(prices: tuple[float, float], usage: Usage) -> float:
    """Return USD for tokens at (input, output) prices per million."""
    return (usage.prompt * prices[0] + (usage.answer + usage.thoughts) * prices[1]) / 1_000_000


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has, rounded up, by how many bytes its characters take in UTF-8."""
    if text.isascii():
        return math.ceil(len(text) / ASCII_PER_TOKEN)
    data = text.encode("utf-8", "surrogatepass")
    high = data.translate(None, _PLAIN)  # few bytes, mostly
    two, four = (len(high) - len(high.translate(None, leads)) for leads in (_TWO, _FOUR))
    plain = len(data) - len(high)
    three = len(text) - plain - two - four
    return math.ceil(
        plain / ASCII_PER_TOKEN + two / TWO_BYTE_PER_TOKEN + three / THREE_BYTE_PER_TOKEN + four / FOUR_BYTE_PER_TOKEN
    )


def estimate_request(
    system: str,
    parts: Iterable[Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    answer_tokens: int = ANSWER_TOKENS,
    image_tokens: int = PART_TOKENS,
) -> Usage:
    """Return about what a request uses: its instruction and parts, and the answer and thoughts to expect.

    A schema counts nothing: whether it counts as prompt in `usageMetadata` could not be found, and past answers tell
    better. A thinking budget counts whole, thinking that is off or minimal counts nothing, thinking that is left to the
    model counts as in Google's sample; answer and thoughts together never exceed `maxOutputTokens`.
    """
    prompt = sum(estimate_tokens(part["text"]) if "text" in part else image_tokens for part in parts)
    most, thinking = settings["maxOutputTokens"], settings.get("thinkingConfig") or {}
    thoughts = thinking.get("thinkingBudget", -1)
    if thoughts < 0:
        thoughts = 0 if thinking.get("thinkingLevel") == "MINIMAL" else THOUGHT_TOKENS
    answer = min(answer_tokens, most)
    return Usage(estimate_tokens(system) + prompt, answer, min(thoughts, most - answer))


_PLAIN = bytes(range(0x80))
_TWO = bytes(range(0xC2, 0xE0))
_FOUR = bytes(range(0xF0, 0xF5))


TEXT = 60  # characters of a text or a quotation, where its limits leave room for so many
MEMBERS = 3  # of a list, where its limits do
ROUND = 3  # tokens of quotes, colon and comma round a member, of brackets, or of a number, true, false or null


def answer_size(answer: "type[BaseModel]") -> int:
    """Return about how many tokens an answer of a model has, written as JSON."""
    document = answer.model_json_schema()
    return _size(document, document.get("$defs", {}))


def _size(node: Mapping[str, Any], models: Mapping[str, Any]) -> int:
    if "$ref" in node:
        return _size(models[node["$ref"].rpartition("/")[2]], models)
    if choices := node.get("anyOf") or node.get("oneOf"):
        return max(_size(one, models) for one in choices)
    if "properties" in node:
        named = node["properties"].items()
        return ROUND + sum(ROUND + estimate_tokens(name) + _size(inner, models) for name, inner in named)
    if node.get("type") == "array":
        return ROUND + _within(MEMBERS, node.get("minItems"), node.get("maxItems")) * _size(node["items"], models)
    return _scalar(node)


def _scalar(node: Mapping[str, Any]) -> int:
    if values := node.get("enum") or ([node["const"]] if "const" in node else []):
        return ROUND + max(estimate_tokens(str(one)) for one in values)
    if node.get("type") != "string":
        return ROUND
    return ROUND + round(_within(TEXT, node.get("minLength"), node.get("maxLength")) / ASCII_PER_TOKEN)


def _within(usual: int, least: int | None, most: int | None) -> int:
    return max(least or 0, usual if most is None else min(usual, most))
