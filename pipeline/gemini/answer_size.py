"""Estimate how many tokens an answer has from its schema alone, until past answers tell better.

Texts and lists without limits have lengths that are ours; limits narrow them. What a schema allows beside makes an
estimate larger, never smaller.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.gemini.tokens import ASCII_PER_TOKEN, estimate_tokens

if TYPE_CHECKING:
    from pydantic import BaseModel

TEXT = 60  # characters of a text or a quotation, where its limits leave room for so many
MEMBERS = 3  # of a list, where its limits do
SCALAR = 3  # tokens of a number, or true, false or null
ROUND = 3  # tokens of quotes, colon and comma round a member, or of brackets
FORMATS = {"date": 10, "date-time": 20}  # characters


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
        return SCALAR
    usual = FORMATS.get(node.get("format", ""), TEXT)
    return ROUND + round(_within(usual, node.get("minLength"), node.get("maxLength")) / ASCII_PER_TOKEN)


def _within(usual: int, least: int | None, most: int | None) -> int:
    return max(least or 0, usual if most is None else min(usual, most))
