"""Describe the fields of an answer, and validate answers.

The description is derived once from the answer's class, and stored with the task. Forms, questions
to a decision model, corrections, kinds of columns and messages read it, so that they need not load
the class.

The validator is made from the class's core schema, which is pydantic's description of a type.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, get_args

from askrows.pipeline.core.declaration import make_inlined_json_schema
from askrows.pipeline.core.quotes import OPTIONAL_QUOTE_FORMAT, QUOTE_FORMAT, QUOTE_FORMATS
from askrows.pipeline.core.vocabulary import MAX_OPTIONS, VOCABULARY, describe_meaning

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import SchemaValidator

# A json value is of no other kind, such as a mapping. A union has alternatives of several kinds.
Kind = Literal[
    "boolean", "choice", "json", "list", "null", "number", "object", "quotation", "text", "union"
]
# The option for a missing value.
NO_VALUE_MEANING = "none of these, or not stated"
# The keyword of a schema with the meanings of an enum's choices.
OPTION_MEANINGS_KEYWORD = "enumDescriptions"
# The kind of a column for lists, objects, quotations and values of several kinds.
JSON = "json"
_KINDS_BY_TYPE: Mapping[str, Kind] = {
    "boolean": "boolean",
    "integer": "number",
    "number": "number",
    "string": "text",
    "array": "list",
    "object": "object",
    "null": "null",
}
_COLUMN_KINDS = {
    "string": "text",
    "integer": "integer",
    "number": "real",
    "boolean": "boolean",
    "date": "date",
    "date-time": "time",
    QUOTE_FORMAT: JSON,
    OPTIONAL_QUOTE_FORMAT: JSON,
}
# Keywords of the bounds of a whole number, and what an inclusive bound differs by.
_LOWER_BOUNDS = (("minimum", 0), ("exclusiveMinimum", 1))
_UPPER_BOUNDS = (("maximum", 0), ("exclusiveMaximum", 1))
# Keywords of a schema that an `AnswerField` expresses, or that limit no value.
_KNOWN_KEYWORDS = frozenset(
    {
        "const", "default", "description", "enum", "exclusiveMaximum", "exclusiveMinimum",
        "examples", "format", "items", "maximum", "maxItems", "minimum", "minItems", "properties",
        "required", "title", "type", OPTION_MEANINGS_KEYWORD,
    },
)  # fmt: skip
# The beginning of each time type of a core schema in ISO 8601. Pydantic accepts more forms, such
# as a number of seconds.
_ISO_PATTERNS = {
    "date": re.compile(r"\d{4}-"),
    "datetime": re.compile(r"\d{4}-"),
    "time": re.compile(r"\d\d:"),
    "timedelta": re.compile(r"[+-]?P"),
}
# Serializers of these packages write values that read back equal, except secrets.
_LOSSLESS_PACKAGES = frozenset({"askrows", "pydantic", "pydantic_core"})


class Option(NamedTuple):
    """A value that a closed field or a member of its list may have."""

    # The JSON value in a reply; None for a missing value.
    value: Any
    # What the value means; "" if its text says all.
    meaning: str = ""

    @property
    def text(self) -> str:
        """Return the value as text."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


@dataclass(frozen=True, kw_only=True)
class AnswerField:
    """A field of an answer, or a value in a list, an object or a union."""

    # Its name in the answer's class, and the name of its member in a reply.
    name: str = ""
    member: str = ""
    kind: Kind = "json"
    # Its type and its format in the JSON schema.
    json_type: str = ""
    format: str = ""
    # Kind of a column for its values.
    column_kind: str = JSON
    description: str = ""
    # It may be null, or is a quotation that may be missing.
    is_optional: bool = False
    # Values of a choice, or true and false; what choices mean, by their texts.
    choices: Sequence[Any] = field(default_factory=list)
    meanings: Mapping[str, str] = field(default_factory=dict)
    # Inclusive bounds of a number.
    minimum: float | None = None
    maximum: float | None = None
    # Bounds of the length of a list.
    min_members: int = 0
    max_members: int | None = None
    # Keywords of the schema with other limits.
    limits: Sequence[str] = field(default_factory=list)
    # Members of an object; alternatives of a union; the only part of a list is its element.
    parts: Sequence["AnswerField"] = field(default_factory=list)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return a stored field; its document has its members, and those of its parts."""
        parts = [cls.from_document(part) for part in document["parts"]]
        return cls(**{**document, "parts": parts})

    @property
    def label(self) -> str:
        """Return the name with blanks in the place of underscores."""
        return self.name.replace("_", " ")

    @property
    def is_whole(self) -> bool:
        """Return whether the field is a whole number."""
        return self.json_type == "integer"

    def parse_typed_text_or_keep(self, text: str) -> Any:
        """Return the value that a person typed; a text that is no value is returned unchanged.

        Nothing is validated. A blank text or `null` is None if the field is optional. A text or a
        quotation is returned as typed, and the text of a choice gives the choice. The members of a
        list are separated by semicolons, or else by commas; blank members are dropped. Numbers,
        objects and truth values in any case are JSON, and so is a list that begins with a bracket.
        """
        if self.is_optional and text.strip() in {"", "null"}:
            return None
        if self.kind in {"text", "quotation"}:
            return text
        if self.kind == "choice":
            return map_choices_by_text(self.choices).get(text.strip(), text)
        if self.kind == "list" and not text.startswith("["):
            separator = ";" if ";" in text else ","
            parts = (part.strip() for part in text.split(separator))
            return [self.parts[0].parse_typed_text_or_keep(part) for part in parts if part]

        json_text = text
        if self.kind == "boolean":
            # A spreadsheet writes TRUE.
            json_text = text.lower()
        # Brackets that are nested too deeply are no JSON, but a text.
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(json_text)
        return text

    def has_only_choices(self) -> bool:
        """Return whether all values in the field are choices, true, false or null."""
        if self.kind in {"boolean", "choice", "null"}:
            return True
        return bool(self.parts) and all(part.has_only_choices() for part in self.parts)

    def list_options(self) -> list[Option] | None:
        """Return the values that the field allows, in their order; None if they cannot be listed.

        Values with the same text, such as 1 and "1", are one option with the first of them, because
        a model chooses an option by its text. A missing value is an option, too.
        """
        options = self._list_values_without_null()
        if options is None:
            return None
        options_by_text: dict[str, Option] = {}
        for option in options:
            options_by_text.setdefault(option.text, option)
        listed_options = list(options_by_text.values())
        if self.is_optional or None in self.choices:
            listed_options.append(Option(None, NO_VALUE_MEANING))
        return listed_options

    def _list_values_without_null(self) -> list[Option] | None:
        """Return the values that are not null; None if they cannot be listed.

        Only these can be listed: a choice, null (an empty list), a boolean, a whole number from a
        minimum to a maximum with 1 to MAX_OPTIONS values, and a union of these.
        """
        if self.kind == "union":
            return self._list_union_values()
        if self.kind == "number":
            return self._list_whole_numbers()
        if self.kind == "boolean":
            return [Option(value=True, meaning="yes"), Option(value=False, meaning="no")]
        if self.kind not in {"choice", "null"}:
            return None
        texts = map_choices_by_text(self.choices)
        return [Option(text, self.meanings.get(text, "")) for text in texts]

    def _list_union_values(self) -> list[Option] | None:
        """Return the options of all alternatives; None if any of them cannot be listed."""
        options: list[Option] = []
        for part in self.parts:
            part_options = part.list_options()
            if part_options is None:
                return None
            options += part_options
        return options

    def _list_whole_numbers(self) -> list[Option] | None:
        """Return the numbers from minimum to maximum if there are 1 to MAX_OPTIONS; else None.

        The result is also None for numbers with decimals, without a bound, or with a `multipleOf`.
        """
        is_listed = self.is_whole and "multipleOf" not in self.limits
        if not is_listed or self.minimum is None or self.maximum is None:
            return None
        numbers = range(int(self.minimum), int(self.maximum) + 1)
        if not 0 < len(numbers) <= MAX_OPTIONS:
            return None
        return [Option(number) for number in numbers]


def map_choices_by_text(choices: Sequence[Any]) -> dict[str, Any]:
    """Map the text of each enum choice to the choice; null is left out."""
    return {
        choice if isinstance(choice, str) else json.dumps(choice): choice
        for choice in choices
        if choice is not None
    }


@lru_cache(maxsize=256)
def list_answer_fields(answer_model: "type[BaseModel]") -> tuple[AnswerField, ...]:
    """Return the fields of an answer's class, in its order."""
    nodes = make_inlined_json_schema(answer_model, by_alias=False).get("properties", {})
    members = make_inlined_json_schema(answer_model).get("properties", {})
    stored_nodes = make_inlined_json_schema(answer_model, by_alias=False, mode="serialization").get(
        "properties", {}
    )
    answer_fields = []
    for (name, node), member in zip(nodes.items(), members, strict=True):
        column_kind = _find_column_kind(stored_nodes[name])
        annotation = answer_model.model_fields[name].annotation
        # The JSON schema of a decimal number is a string.
        if column_kind == "text" and Decimal in {annotation, *get_args(annotation)}:
            column_kind = "decimal"
        answer_fields.append(
            _make_field(node, name=name, member=member, column_kind=column_kind),
        )
    return tuple(answer_fields)


def _find_column_kind(node: Mapping[str, Any]) -> str:
    """Return the kind of a column for the values of a node; null does not count.

    The kind is JSON for objects, lists and other types, and for alternatives of different kinds.
    """
    if "anyOf" in node:
        kinds = {
            _find_column_kind(branch) for branch in node["anyOf"] if branch.get("type") != "null"
        }
        if len(kinds) != 1:
            return JSON
        return kinds.pop()

    kind = _COLUMN_KINDS.get(node.get("type", ""), JSON)
    if kind != "text":
        return kind
    return _COLUMN_KINDS.get(node.get("format", ""), kind)


def _make_field(
    node: Mapping[str, Any], *, name: str = "", member: str = "", column_kind: str = JSON
) -> AnswerField:
    """Return the field that a node of a JSON schema describes."""
    branches = list(_iterate_alternatives(node))
    values = [branch for branch in branches if branch.get("type") != "null"]
    value_node = node
    if len(values) == 1:
        value_node = values[0]
    json_type = str((values or branches)[0].get("type", ""))
    text_format = str(value_node.get("format", ""))
    kind = _find_kind(value_node, json_type, text_format)
    choices = _read_choices(value_node, kind)
    minimum, maximum = _read_inclusive_bounds(value_node)
    return AnswerField(
        name=name,
        member=member,
        column_kind=column_kind,
        kind=kind,
        json_type=json_type,
        format=text_format,
        description=str(node.get("description") or value_node.get("description", "")),
        is_optional=len(values) < len(branches) or text_format == OPTIONAL_QUOTE_FORMAT,
        choices=choices,
        meanings=_read_choice_meanings(value_node, choices),
        minimum=minimum,
        maximum=maximum,
        min_members=value_node.get("minItems", 0),
        max_members=value_node.get("maxItems"),
        limits=sorted(value_node.keys() - _KNOWN_KEYWORDS),
        parts=_make_part_fields(value_node, kind, values),
    )


def _make_part_fields(
    node: Mapping[str, Any], kind: Kind, alternatives: Sequence[Mapping[str, Any]]
) -> list[AnswerField]:
    """Return the members of an object, the element of a list or the alternatives of a union."""
    if kind == "object":
        members = node["properties"].items()
        return [_make_field(part, name=name, member=name) for name, part in members]
    if kind == "list":
        return [_make_field(node["items"])]
    if kind == "union":
        return [_make_field(alternative) for alternative in alternatives]
    return []


def _read_choices(node: Mapping[str, Any], kind: Kind) -> list[Any]:
    """Return the values of a boolean, a constant or an enum; [] if the node is none of these."""
    if kind == "boolean":
        return [True, False]
    if "const" in node:
        return [node["const"]]
    return list(node.get("enum", []))


def _iterate_alternatives(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the alternatives of a node, also those of unions in it; else the node itself."""
    alternatives = node.get("anyOf") or node.get("oneOf")
    if not alternatives:
        yield node
        return
    yield from chain.from_iterable(map(_iterate_alternatives, alternatives))


def _find_kind(node: Mapping[str, Any], json_type: str, text_format: str) -> Kind:
    """Return the kind of a node.

    A list without a schema for all its members, an object without properties and an unknown type
    are of the kind "json".
    """
    if "anyOf" in node or "oneOf" in node:
        return "union"
    if "enum" in node or "const" in node:
        return "choice"
    if json_type == "string" and text_format in QUOTE_FORMATS:
        return "quotation"

    is_mixed_list = not isinstance(node.get("items"), Mapping) or "prefixItems" in node
    if json_type == "array" and is_mixed_list:
        return "json"
    if json_type == "object" and not node.get("properties"):
        return "json"
    return _KINDS_BY_TYPE.get(json_type, "json")


def _read_inclusive_bounds(node: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the inclusive minimum and maximum of a number, each None if there is none.

    An exclusive bound of a whole number is converted. That of any other number is ignored.
    """
    if node.get("type") != "integer":
        return node.get("minimum"), node.get("maximum")
    lower_bounds = [node[name] + step for name, step in _LOWER_BOUNDS if name in node]
    upper_bounds = [node[name] - step for name, step in _UPPER_BOUNDS if name in node]
    return max(lower_bounds, default=None), min(upper_bounds, default=None)


def _read_choice_meanings(node: Mapping[str, Any], choices: Sequence[Any]) -> dict[str, str]:
    """Return the meanings of choices by their texts, from the schema or its vocabulary.

    The description of a node with a single choice is the meaning of the choice.
    """
    meanings = {
        text: str(meaning) for text, meaning in node.get(OPTION_MEANINGS_KEYWORD, {}).items()
    }
    for term in node.get(VOCABULARY, {}).get("terms", ()):
        meanings[term["name"]] = describe_meaning(term)
    if len(choices) == 1 and isinstance(node.get("description"), str):
        for text in map_choices_by_text(choices):
            meanings.setdefault(text, node["description"])
    return meanings


@lru_cache(maxsize=1024)
def make_strict_answer_validator(answer_model: "type[BaseModel]") -> "SchemaValidator":
    """Return a validator of answers that reads times only from ISO 8601, and only finite numbers.

    Pydantic reads the text "86400" as 1970-01-02. Here, a date refuses this text, and `date | str`
    keeps it. All other values are validated as by the model.

    Raises:
        TypeError: The stored value of a field would not read back equal. The message has a line for
            each such field, which begins with its path, such as `Answer.parts.size`.
    """
    from pydantic import TypeAdapter
    from pydantic_core import SchemaValidator

    faults = dict[str, None]()
    core_schema = TypeAdapter(answer_model).core_schema
    strict_schema: Any = _make_strict_core_schema(core_schema, answer_model.__name__, faults)
    if faults:
        raise TypeError("\n".join(faults))
    # A prebuilt validator of a model would be used instead of the changed schema.
    return SchemaValidator(strict_schema, _use_prebuilt=False)


def _make_strict_core_schema(node: Any, field_path: str, faults: dict[str, None]) -> Any:
    """Return a copy of a core schema that reads times only from ISO 8601, and only finite numbers.

    Args:
        node: The core schema, or a part of it.
        field_path: Path of the field, for messages.
        faults: Gets a message for each part whose stored values do not read back equal.
    """
    if isinstance(node, list | tuple):
        return type(node)(_make_strict_core_schema(element, field_path, faults) for element in node)
    if not isinstance(node, dict):
        return node

    fault = _find_lossy_reason(node)
    if fault:
        faults[f"{field_path}: {fault}"] = None
    strict_node = dict(node)
    for key, child in node.items():
        is_field = isinstance(child, dict) and str(child.get("type")).endswith("-field")
        child_path = f"{field_path}.{key}" if is_field else field_path
        strict_node[key] = _make_strict_core_schema(child, child_path, faults)
    # JSON has no NaN and no infinity.
    if node.get("type") == "float":
        strict_node["allow_inf_nan"] = False
    # The fields of a model are an object, too, and one may be called `type`.
    is_time = str(node.get("type")) in _ISO_PATTERNS
    return _make_iso_time_node(strict_node) if is_time else strict_node


def _find_lossy_reason(node: dict[str, Any]) -> str:
    """Return why the stored values of a core schema do not read back equal; "" if they do."""
    serializer = node.get("serialization", {}).get("function")
    package = getattr(serializer, "__module__", "pydantic").partition(".")[0]
    if "serialization_exclude" in node or "serialization_exclude_if" in node:
        return "an excluded field is not stored; leave out exclude"
    if "secret" in getattr(serializer, "__qualname__", ""):
        return "the value of a secret is not stored; use str"
    return "" if package in _LOSSLESS_PACKAGES else "a serializer may change the stored value"


def _make_iso_time_node(node: Any) -> Any:
    """Return a core schema that reads a time type only from ISO 8601, in JSON's strict form.

    It refuses other texts and all numbers. Other values get to the given node unchanged.
    """
    from pydantic_core import SchemaValidator, core_schema

    validator = SchemaValidator(node)

    def read_text(value: Any) -> Any:
        if isinstance(value, str) and _ISO_PATTERNS[node["type"]].match(value):
            return validator.validate_json(json.dumps(value), strict=True)
        if isinstance(value, str | int | float):
            # Pydantic reports a ValueError as the fault of the field.
            raise ValueError(  # noqa: TRY004
                f"{value!r} is not a {node['type']} in ISO 8601 form"
            )
        return value

    return core_schema.no_info_before_validator_function(read_text, node)
