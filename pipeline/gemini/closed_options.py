"""Read the options of a closed field from the JSON schema of an answer.

A closed field has a fixed list of values (options), so a decision model can answer it. A branch is
an alternative of a union, or the only node of a field. A missing value is null.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from pipeline.core.vocabulary import MAX_OPTIONS, VOCABULARY, describe_meaning
from pipeline.gemini.answer_schema import OPTION_MEANINGS_KEYWORD, map_choices
from pipeline.gemini.responses import (
    object_or_empty,
)

# Options of a choice, and levels of a score (types of google-genai 3.3.0).
MIN_OPTIONS = 2
# The option for a missing value.
NO_VALUE_ID = "no value"
NO_VALUE_MEANING = "none of these, or not stated"


class Option(NamedTuple):
    """A value that a closed field or a member of its list may have."""

    # The JSON value in a reply, as `decode_reply` reads it; None for a missing value.
    value: Any
    # What the value means; "" if its text says all.
    meaning: str = ""

    @property
    def text(self) -> str:
        """Return the value as text."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


def list_branches(node: Any) -> list[Mapping[str, Any]]:
    """Return the alternatives of a node in their order; nested unions are flattened.

    A union is a node with `anyOf` or `oneOf`. A node that is not a union is its own only
    alternative; a `$ref` is not followed. A value that is not an object has no alternatives.
    """
    if not isinstance(node, dict):
        return []

    alternatives = node.get("anyOf") or node.get("oneOf")
    if not alternatives:
        return [node]
    return list(chain.from_iterable(map(list_branches, alternatives)))


def read_options(branches: Sequence[Mapping[str, Any]]) -> list[Option] | None:
    """Return the values that alternatives allow, in their order; None if they cannot be listed.

    Values with the same text, such as 1 and "1", are one option with the first of them, because a
    model chooses an option by its text. Null is an option, too, and differs from the text "null".
    """
    options: list[Option] = []
    for branch in branches:
        branch_options = _read_branch_options(branch)
        if branch_options is None:
            return None
        options += branch_options

    options_by_text: dict[Any, Option] = {}
    for option in options:
        text = None if option.value is None else option.text
        options_by_text.setdefault(text, option)
    return list(options_by_text.values())


def _read_branch_options(branch: Mapping[str, Any]) -> list[Option] | None:
    """Return the values that a node without alternatives allows; None if they cannot be listed.

    They are those of an enum, a constant, a boolean, null, or a whole number with bounds. The
    result is None for other nodes, and if there are more than MAX_OPTIONS whole numbers.
    """
    if branch.get("type") == "null":
        return [Option(None, NO_VALUE_MEANING)]
    if "const" in branch or "enum" in branch:
        return _read_choices(branch)
    if is_boolean(branch):
        return [Option(value=True, meaning="yes"), Option(value=False, meaning="no")]
    if is_whole_number(branch):
        minimum = branch.get("minimum", -math.inf)
        maximum = branch.get("maximum", math.inf)
        # The smallest and the largest number, both inclusive.
        lowest = max(minimum, branch.get("exclusiveMinimum", -math.inf) + 1)
        highest = min(maximum, branch.get("exclusiveMaximum", math.inf) - 1)
        if not 0 <= highest - lowest < MAX_OPTIONS:
            return None
        return [Option(number) for number in range(lowest, highest + 1)]
    return None


def _read_choices(branch: Mapping[str, Any]) -> list[Option]:
    """Return the options of an enum or a constant.

    The meaning of an option is read from the schema or its vocabulary. If a node has a single
    choice and no meaning for it, the description of the node is the meaning.
    """
    choices = [branch["const"]] if "const" in branch else branch["enum"]
    meanings = dict(object_or_empty(branch.get(OPTION_MEANINGS_KEYWORD)))
    for term in branch.get(VOCABULARY, {}).get("terms", ()):
        meanings[term["name"]] = describe_meaning(term)
    texts = list(map_choices(choices))
    if len(choices) == 1 and texts and isinstance(branch.get("description"), str):
        meanings.setdefault(texts[0], branch["description"])

    options = [Option(text, str(meanings.get(text, ""))) for text in texts]
    if None in choices:
        options.append(Option(None, NO_VALUE_MEANING))
    return options


def is_boolean(branch: Mapping[str, Any]) -> bool:
    """Return whether a node allows true and false, and is no enum."""
    return branch.get("type") == "boolean" and "enum" not in branch and "const" not in branch


def is_whole_number(branch: Mapping[str, Any]) -> bool:
    """Return whether a node allows every whole number between two bounds, and is no enum."""
    has_minimum = "minimum" in branch or "exclusiveMinimum" in branch
    has_maximum = "maximum" in branch or "exclusiveMaximum" in branch
    is_plain = not {"enum", "const", "multipleOf"} & branch.keys()
    return branch.get("type") == "integer" and is_plain and has_minimum and has_maximum


def name_options(options: Sequence[Option]) -> dict[str, Option]:
    """Return options by id, in their order.

    The id is the text of the value. The value None, and a text that the API does not accept as an
    id, get an id of ours that no other option has.
    """
    texts = {option.text for option in options if option.value is not None}
    options_by_id: dict[str, Option] = {}
    for index, option in enumerate(options):
        option_id = option.text
        if option.value is None or not _is_option_id(option_id):
            option_id = NO_VALUE_ID if option.value is None else f"option {index + 1}"
            while option_id in texts:
                option_id = f"({option_id})"
        options_by_id[option_id] = option
    return options_by_id


def _is_option_id(text: str) -> bool:
    """Return whether the API accepts a text as the id of an option.

    It must not be empty, must have no blanks at its ends and no control characters (types of
    google-genai 3.3.0).
    """
    return bool(text) and text == text.strip() and text.isprintable()
