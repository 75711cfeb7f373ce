"""Tokens and cost of calls: usage, prices and estimates."""

import math
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from askrows.pipeline.core.declaration import make_inlined_json_schema

if TYPE_CHECKING:
    from pydantic import BaseModel
from askrows.pipeline.provider.models import Model

# "A token is about 4 characters" (Gemini token guide, read 2026-11). Characters outside ASCII have
# two to four bytes; that they are more tokens is our own estimate.
BYTES_PER_TOKEN = 4
# Tokens of an image if the number of the model is unknown; see `Model.count_image_tokens`.
DEFAULT_IMAGE_TOKENS = 1_120
# Our own estimate for a task that does not declare the length of its answers.
DEFAULT_ANSWER_TOKENS = 96
# Thought tokens for a short question without a thinking level (batch notebook, 2025-09).
DEFAULT_THOUGHT_TOKENS = 829


class Usage(NamedTuple):
    """Tokens of a reply, or the sum of many replies; `+` adds the fields of two usages."""

    prompt: int = 0
    answer: int = 0
    thoughts: int = 0
    # Tokens of the prompt that came from the cache.
    cached: int = 0

    # The sum of two tuples would be a longer tuple.
    def __add__(self, other: "Usage") -> "Usage":  # type: ignore[override]
        """Return the sum of the two usages, field by field."""
        return Usage(
            prompt=self.prompt + other.prompt,
            answer=self.answer + other.answer,
            thoughts=self.thoughts + other.thoughts,
            cached=self.cached + other.cached,
        )


NO_USAGE = Usage()


def sum_usage(usages: Iterable[Usage]) -> Usage:
    """Return the sum of usages; NO_USAGE without any."""
    return sum(usages, NO_USAGE)


def calculate_cost(model: Model, usage: Usage, service_tier: str, *, day: date) -> float:
    """Return the cost of a usage in USD; prompt tokens from the cache have the cached price.

    A token of thoughts costs as much as a token of the answer. If a reply says that more tokens
    were cached than the prompt has, only the tokens of the prompt count as cached.

    Args:
        model: The model that answered.
        usage: The tokens to be paid.
        service_tier: The service tier; see `ModeFacts.tier`.
        day: The day of the request, which selects the prices.
    """
    prices = model.find_prices(service_tier, day=day)
    cached_tokens = min(usage.cached, usage.prompt)
    uncached_tokens = usage.prompt - cached_tokens

    input_cost = uncached_tokens * prices.prompt + cached_tokens * prices.cached
    output_cost = (usage.answer + usage.thoughts) * prices.answer
    return (input_cost + output_cost) / 1_000_000


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text, rounded up, from its length in UTF-8.

    So a token has four ASCII letters, two Cyrillic or 1.3 Chinese characters.
    """
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def estimate_request_usage(
    system: str,
    parts: Iterable[Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    answer_tokens: int = DEFAULT_ANSWER_TOKENS,
    image_tokens: int = DEFAULT_IMAGE_TOKENS,
) -> Usage:
    """Estimate the usage of a request: its prompt, and the expected answer and thoughts.

    - The schema counts as 0: no source says whether `usageMetadata` includes it, and past answers
      give better estimates.
    - A thinking budget counts in full. Thinking that is off or MINIMAL counts as 0. Other thinking
      counts as DEFAULT_THOUGHT_TOKENS.
    - Answer and thoughts together never exceed `maxOutputTokens`.

    Args:
        system: The system instruction.
        parts: Text and image parts of the prompt.
        settings: The `generationConfig` of the request.
        answer_tokens: Expected tokens of the answer.
        image_tokens: Tokens of each part that is not a text.
    """
    prompt_tokens = estimate_tokens(system)
    for part in parts:
        prompt_tokens += estimate_tokens(part["text"]) if "text" in part else image_tokens

    thinking = settings.get("thinkingConfig") or {}
    thought_tokens = thinking.get("thinkingBudget", -1)
    # The budget -1 leaves the amount to the model.
    if thought_tokens < 0:
        is_minimal = thinking.get("thinkingLevel") == "MINIMAL"
        thought_tokens = 0 if is_minimal else DEFAULT_THOUGHT_TOKENS

    max_output_tokens = settings["maxOutputTokens"]
    limited_answer_tokens = min(answer_tokens, max_output_tokens)
    max_thought_tokens = max_output_tokens - limited_answer_tokens
    return Usage(prompt_tokens, limited_answer_tokens, min(thought_tokens, max_thought_tokens))


# Our own estimates for the parts of an answer.
# A text or a quotation, whatever its limits.
TEXT_VALUE_TOKENS = 15
# A text in a list, which is a tag.
TAG_TOKENS = 4
# Members of a list or a mapping, whatever its limits.
MEMBERS_PER_LIST = 3
# Quotes, colon and comma of a member; a pair of brackets; a number, true, false or null.
PUNCTUATION_TOKENS = 3


def estimate_answer_tokens(answer_model: "type[BaseModel]") -> int:
    """Estimate the tokens of an answer of a model in JSON."""
    return _estimate_node_tokens(make_inlined_json_schema(answer_model))


def _estimate_node_tokens(node: Mapping[str, Any], text_tokens: int = TEXT_VALUE_TOKENS) -> int:
    """Estimate the tokens of a value that a node of a JSON schema describes.

    A union and an enum count as their longest choice. An object counts all its properties with
    their names. A list counts as MEMBERS_PER_LIST members. Each value adds PUNCTUATION_TOKENS.

    Args:
        node: The node.
        text_tokens: Tokens of a text that is no quotation.
    """
    union_choices = node.get("anyOf") or node.get("oneOf")
    if union_choices:
        return max(map(_estimate_node_tokens, union_choices))

    tokens = PUNCTUATION_TOKENS
    for name, property_node in node.get("properties", {}).items():
        name_tokens = PUNCTUATION_TOKENS + estimate_tokens(name)
        tokens += name_tokens + _estimate_node_tokens(property_node)

    if "items" in node:
        tokens += MEMBERS_PER_LIST * _estimate_node_tokens(node["items"], TAG_TOKENS)

    choices = node.get("enum", [node["const"]] if "const" in node else [])
    if choices:
        tokens += max(estimate_tokens(str(choice)) for choice in choices)
    elif node.get("type") == "string":
        tokens += TEXT_VALUE_TOKENS if "format" in node else text_tokens
    return tokens
