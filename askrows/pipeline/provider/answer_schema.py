"""The JSON schema of an answer as it is sent, and the form of an answer in a reply.

The dialect is the subset of JSON schema that the API accepts as `responseSchema`. A node is a part
of a JSON schema that describes a value. The declared form of an answer is the JSON of its Pydantic
model; in a reply, number choices are texts. A vocabulary is a file with the terms that a field may
contain. A value is a choice if it is from a fixed list.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from askrows.pipeline.core.answer_fields import OPTION_MEANINGS_KEYWORD, map_choices_by_text
from askrows.pipeline.core.declaration import make_inlined_json_schema
from askrows.pipeline.core.quotes import QUOTE_FORMATS, list_json_schema_text_formats
from askrows.pipeline.core.vocabulary import VOCABULARY, describe_terms, separate_vocabularies

if TYPE_CHECKING:
    from pydantic import BaseModel


# Our own limit: the API refuses "over-deep" schemas and documents no limit.
MAX_SCHEMA_DEPTH = 10
_DATE_FORMATS = frozenset({"date", "date-time"})
# Formats of JSON Schema that the API accepts.
_TIME_FORMATS = _DATE_FORMATS | {"time", "duration"}
_COMPACT_DATE_PATTERN = re.compile(r"\d{8}")
_DIALECT_TYPES = ("OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN")
_COPIED_KEYWORDS = ("minItems", "maxItems", "minimum", "maximum")
# The converter drops keywords that only narrow or describe a value.
_KNOWN_KEYWORDS = {
    *_COPIED_KEYWORDS, "type", "const", "enum",
    "items", "properties", "required", "format", "description", "title", "default", "examples",
    "deprecated", "readOnly", "writeOnly", "pattern", "minLength", "maxLength", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "uniqueItems", "additionalProperties", "discriminator",
    OPTION_MEANINGS_KEYWORD, VOCABULARY,
}  # fmt: skip
# The texts of these two tables are sent to the API. A quotation names its source.
_FORMAT_DESCRIPTIONS = {
    "date": "a date, YYYY-MM-DD",
    "quotation": "copied from {}, word for word",
    "optional quotation": "copied from {}, word for word",
}
_LIMIT_DESCRIPTIONS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching the regular expression {}",
    "exclusiveMinimum": "greater than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "uniqueItems": "each one once",
}
# Ends the description of a field with a vocabulary. The system instruction lists its terms.
_TERMS_NOTE = "a term of {}"
_UNTYPED_MESSAGE = "the field has no type, and responseSchema needs a type; declare its type"


def make_response_schema(
    answer_model: "type[BaseModel]",
    *,
    describe_limits: bool = False,
    quoted_source: str = "the text",
) -> dict[str, Any]:
    """Convert an answer model to the API's schema dialect, in the field order of the model.

    References are inlined. `X | None` becomes `nullable`, and a `Literal` an enum of texts.
    Descriptions of fields are included. Docstrings of models are left out, because they are written
    for programmers.

    Args:
        answer_model: The answer model.
        describe_limits: Also describe the constraints that the dialect lacks, such as a length.
        quoted_source: The source of quotations that such a description names.

    Raises:
        TypeError: The dialect cannot express the model; the message lists the fields at fault.
            Or the answer is not an object, or the schema is nested too deep.
    """
    converter = _ResponseSchemaConverter(describe_limits, quoted_source)
    schema = converter.convert(make_inlined_json_schema(answer_model), answer_model.__name__)
    if schema.get("type") != "OBJECT":
        raise TypeError(
            f"{answer_model.__name__} must be a model with fields, because an answer is an object",
        )
    if max(level for level, _ in iterate_nested_schemas(schema)) > MAX_SCHEMA_DEPTH:
        raise TypeError(f"{answer_model.__name__} is nested deeper than {MAX_SCHEMA_DEPTH} levels")
    return schema


def describe_vocabularies(answer_model: "type[BaseModel]") -> str:
    """Return the terms of an answer's vocabularies as text for a model; "" without any."""
    _, vocabularies = separate_vocabularies(make_inlined_json_schema(answer_model))
    return "\n\n".join(
        describe_terms(file, vocabulary["terms"]) for file, vocabulary in vocabularies.items()
    )


def iterate_nested_schemas(
    schema: Mapping[str, Any], *, level: int = 1
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (level, schema) for a converted schema and all schemas in it, depth first.

    These are the schemas in `properties`, `anyOf` and `items`.
    """
    yield level, schema
    children = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    if "items" in schema:
        children.append(schema["items"])
    for child in children:
        yield from iterate_nested_schemas(child, level=level + 1)


@dataclass(frozen=True)
class _ResponseSchemaConverter:
    """Convert nodes of a JSON schema without references to the API's dialect.

    The parameter `field_path` of the methods is the position of the node, used in messages.
    """

    # Whether descriptions include constraints that the dialect lacks.
    describes_limits: bool
    # What quotations are copied from, in words.
    quoted_source: str

    def convert(self, node: Any, field_path: str) -> dict[str, Any]:
        """Convert a node and all nodes below it, with the description of the node.

        If `describes_limits` is set, constraints that the dialect lacks are added to the
        description in parentheses. They are the description if the node has none. The name of a
        vocabulary's file is always added.

        Args:
            node: A node of a JSON schema.
            field_path: The path of the field, for messages.

        Raises:
            TypeError: The dialect cannot express the node or a node below it. Such a node is not an
                object, is a tuple or a model that contains itself, or has an unknown keyword or no
                type.
        """
        if not isinstance(node, dict):
            raise TypeError(f"{field_path}: {_UNTYPED_MESSAGE}")
        if "prefixItems" in node:
            raise TypeError(
                f"{field_path}: responseSchema does not support tuples; use a list or a model",
            )
        if "$ref" in node:
            model_name = node["$ref"].removeprefix("#/$defs/")
            raise TypeError(
                f"{field_path}: {model_name} contains itself, "
                "and responseSchema does not support that",
            )

        schema = self._convert_without_description(node, field_path)
        description = node.get("description")
        if isinstance(description, str):
            limits = schema.get("description")
            names_terms = limits is not None and _TERMS_NOTE.format("") in limits
            if limits and (self.describes_limits or names_terms):
                description = f"{description} ({limits})"
            schema["description"] = description
        return schema

    def _convert_union(self, choices: list[Any], field_path: str) -> dict[str, Any]:
        """Convert a union to `anyOf`; null among the choices makes the schema nullable.

        A single choice besides null becomes the schema itself.

        Raises:
            TypeError: Null is the only choice, or the dialect cannot express a choice.
        """
        branches = [
            self.convert(choice, field_path) for choice in choices if choice != {"type": "null"}
        ]
        if not branches:
            raise TypeError(f"{field_path}: the field can only be null")

        schema = branches[0] if len(branches) == 1 else {"anyOf": branches}
        if len(branches) < len(choices):
            schema = schema | {"nullable": True}
        return schema

    def _convert_without_description(
        self,
        node: dict[str, Any],
        field_path: str,
    ) -> dict[str, Any]:
        """Convert a node and all nodes below it, without the description of the node.

        A union becomes `anyOf`, a constant or enum an enum of texts. Constraints that the dialect
        lacks become the description of the result.

        Raises:
            TypeError: The node is a mapping, or has an unknown keyword or no type of the dialect,
                or the dialect cannot express a node below it.
        """
        union_choices = node.get("anyOf") or node.get("oneOf")
        if union_choices:
            return self._convert_union(union_choices, field_path)

        is_mapping = isinstance(node.get("additionalProperties"), dict)
        if is_mapping or (node.get("type") == "object" and not node.get("properties")):
            raise TypeError(
                f"{field_path}: responseSchema does not support a mapping; use a model with fields,"
                " or a list of a model with a field for the key and one for the value",
            )
        unknown_keywords = node.keys() - _KNOWN_KEYWORDS
        if unknown_keywords:
            raise TypeError(
                f"{field_path}: responseSchema does not support {min(unknown_keywords)!r}"
            )

        choices = [node["const"]] if "const" in node else node.get("enum")
        if choices:
            return self._convert_enum(node, choices, field_path)

        schema: dict[str, Any] = {"type": str(node.get("type")).upper()}
        if schema["type"] not in _DIALECT_TYPES:
            raise TypeError(f"{field_path}: {_UNTYPED_MESSAGE}")

        limits = self._describe_limits(node)
        if limits:
            schema["description"] = limits
        if node.get("format") in _TIME_FORMATS:
            schema["format"] = node["format"]
        schema |= {keyword: node[keyword] for keyword in _COPIED_KEYWORDS if keyword in node}

        if schema["type"] == "ARRAY":
            schema["items"] = self.convert(node.get("items"), f"{field_path}[]")
        elif schema["type"] == "OBJECT":
            schema |= self._convert_object_members(node, field_path)
        return schema

    def _convert_enum(
        self,
        node: dict[str, Any],
        choices: list[Any],
        field_path: str,
    ) -> dict[str, Any]:
        """Make an enum of texts; null among the choices makes it nullable.

        For a vocabulary, the description names its file; the system instruction lists the terms
        under that name.

        Raises:
            TypeError: Two choices have the same text, a choice is empty or has blanks around it,
                or null is the only choice.
        """
        limits = self._describe_limits(node)
        if VOCABULARY in node:
            terms_note = _TERMS_NOTE.format(node[VOCABULARY]["file"])
            limits = f"{limits}; {terms_note}" if limits else terms_note

        texts = list(map_choices_by_text(choices))
        choice_count = sum(choice is not None for choice in choices)
        has_blanks = any(text != text.strip() or not text for text in texts)
        if len(texts) < choice_count or not texts or has_blanks:
            raise TypeError(
                f"{field_path}: choices must be different texts without blanks around them, "
                f"or numbers, not {choices!r}",
            )

        schema: dict[str, Any] = {"type": "STRING"}
        if limits:
            schema["description"] = limits
        schema["enum"] = texts
        if None in choices:
            schema["nullable"] = True
        return schema

    def _convert_object_members(self, node: dict[str, Any], field_path: str) -> dict[str, Any]:
        """Return the members of an OBJECT schema: properties, their order and the required names.

        Raises:
            TypeError: The dialect cannot express some of its properties. The message has a line
                for each fault.
        """
        schemas_by_name = dict[str, Any]()
        messages = list[str]()
        for name, property_node in node["properties"].items():
            try:
                schemas_by_name[name] = self.convert(property_node, f"{field_path}.{name}")
            except TypeError as error:
                messages.append(str(error))
        if messages:
            raise TypeError("\n".join(messages))

        members: dict[str, Any] = {
            "properties": schemas_by_name,
            "propertyOrdering": list(schemas_by_name),
        }
        required_names = [name for name in schemas_by_name if name in node.get("required", ())]
        if required_names:
            members["required"] = required_names
        return members

    def _describe_limits(self, node: Mapping[str, Any]) -> str:
        """Describe the constraints that the dialect lacks; "" if they are not to be described."""
        if not self.describes_limits:
            return ""
        return "; ".join(_iterate_constraint_descriptions(node, self.quoted_source))


def _iterate_constraint_descriptions(node: Mapping[str, Any], quoted_source: str) -> Iterator[str]:
    """Yield a text for the format of a node and for each constraint that the dialect lacks.

    A limit of 0 gets no text, except an exclusive bound.
    """
    if node.get("format") in _FORMAT_DESCRIPTIONS:
        yield _FORMAT_DESCRIPTIONS[node["format"]].format(quoted_source)

    for keyword, template in _LIMIT_DESCRIPTIONS.items():
        # An exclusive bound of 0 is a limit; other limits of 0 say nothing.
        is_exclusive_bound = keyword.startswith("exclusive") and keyword in node
        if node.get(keyword) or is_exclusive_bound:
            yield template.format(node[keyword])


def decode_reply(reply: Any, answer_model: "type[BaseModel]") -> Any:
    """Convert a JSON reply to the JSON that its answer model declares."""
    return _convert_from_or_to_reply(reply, make_inlined_json_schema(answer_model), from_reply=True)


def encode_answer(answer: Any, answer_model: "type[BaseModel]") -> Any:
    """Convert the JSON of an answer to the form of a reply: number choices become texts."""
    return _convert_from_or_to_reply(
        answer, make_inlined_json_schema(answer_model), from_reply=False
    )


def _convert_from_or_to_reply(value: Any, node: Mapping[str, Any], *, from_reply: bool) -> Any:
    """Convert a JSON value, with all values in it, from the form of a reply or to that form.

    In a reply, number choices are texts. A value that does not fit its node is returned unchanged,
    because validation reports it.

    Args:
        value: A JSON value.
        node: The node of the JSON schema that describes the value; {} if nothing does.
        from_reply: The value is from a reply and gets the declared form. If False, it is the other
            way round.
    """
    choices = node.get("anyOf") or node.get("oneOf")
    if choices:
        return _convert_union_value(value, choices, from_reply=from_reply)

    choices_by_text = map_choices_by_text(node.get("enum", [node.get("const")]))
    if choices_by_text:
        convert_choice = _decode_choice if from_reply else _encode_choice
        return convert_choice(value, choices_by_text)

    if from_reply and not isinstance(value, list | dict):
        return _normalize_replied_scalar(value, node)

    return _convert_children(value, node, from_reply=from_reply)


def _convert_children(value: Any, node: Mapping[str, Any], *, from_reply: bool) -> Any:
    """Convert the items of a list or the members of an object; return other values unchanged.

    Empty texts in a list of quotations are dropped from a reply. All other texts stay as they came.
    Members that are absent, see `_list_optional_members_replied_as_null`, are dropped from a reply,
    too.

    Args:
        value: A JSON value.
        node: The node of the JSON schema that describes the value.
        from_reply: Convert from the form of a reply to the declared form. If False, it is the other
            way round.
    """
    if isinstance(value, list):
        item_node = node.get("items", {})
        items = [
            _convert_from_or_to_reply(child, item_node, from_reply=from_reply) for child in value
        ]
        formats = list_json_schema_text_formats(item_node) if from_reply and "" in items else ()
        if formats and formats <= QUOTE_FORMATS:
            return [item for item in items if item != ""]
        return items

    if isinstance(value, dict):
        property_nodes = node.get("properties", {})
        absent_names = _list_optional_members_replied_as_null(value, node) if from_reply else ()
        return {
            name: _convert_from_or_to_reply(
                child, property_nodes.get(name, {}), from_reply=from_reply
            )
            for name, child in value.items()
            if name not in absent_names
        }

    return value


def _list_optional_members_replied_as_null(
    value: Mapping[str, Any], node: Mapping[str, Any]
) -> list[str]:
    """Return the members of a replied object that are null because they are absent.

    In a strict schema every member is required, so an absent optional member is null. A null that
    the field accepts is a value. Returns [] if the object does not fit the node: a required member
    is missing, a member is unknown, or its value is not a declared choice.
    """
    property_nodes = node.get("properties", {})
    required_names = set(node.get("required", ()))
    if not required_names <= value.keys() <= property_nodes.keys():
        return []
    if not all(_is_null_or_choice(child, property_nodes[name]) for name, child in value.items()):
        return []
    return [
        name
        for name, child in value.items()
        if child is None and name not in required_names and not _accepts_null(property_nodes[name])
    ]


def _is_null_or_choice(value: Any, node: Mapping[str, Any]) -> bool:
    """Return whether a replied value is null or one of the choices of its node, if it has any."""
    choices_by_text = map_choices_by_text(node.get("enum", [node.get("const")]))
    if not choices_by_text or value is None:
        return True
    return _decode_choice(value, choices_by_text) in choices_by_text.values()


def _accepts_null(node: Mapping[str, Any]) -> bool:
    """Return whether null is a value of a node."""
    choices = node.get("anyOf") or node.get("oneOf") or ()
    if node.get("type") == "null" or None in node.get("enum", ()):
        return True
    return any(map(_accepts_null, choices))


def _convert_union_value(
    value: Any,
    choices: Sequence[Mapping[str, Any]],
    *,
    from_reply: bool,
) -> Any:
    """Convert a value by all choices of a union in turn; see `_convert_from_or_to_reply`.

    A choice changes only values that fit it, so the result of a choice is the input of the next.
    Choices with a format, such as a date, are skipped if another choice is plain text.

    Args:
        value: A JSON value.
        choices: The choices of the union, as nodes of the JSON schema.
        from_reply: The value is from a reply and gets the declared form. If False, it is the other
            way round.
    """
    accepts_any_text = any(
        choice.get("type") == "string" and "format" not in choice for choice in choices
    )
    for choice in choices:
        # A union with plain text accepts any text, so a text need not be a date or a quotation.
        if accepts_any_text and "format" in choice:
            continue
        value = _convert_from_or_to_reply(value, choice, from_reply=from_reply)
    return value


def _decode_choice(value: Any, choices_by_text: Mapping[str, Any]) -> Any:
    """Return the enum choice of a replied text; other values are returned unchanged.

    Blanks around the text do not matter. A boolean that is not a choice is returned as a text, so
    that validation refuses it: Python regards true as equal to the choice 1.
    """
    boolean_choices = [choice for choice in choices_by_text.values() if isinstance(choice, bool)]
    if isinstance(value, bool) and value not in boolean_choices:
        return json.dumps(value)
    if isinstance(value, str):
        return choices_by_text.get(value.strip(), value)
    return value


def _encode_choice(value: Any, choices_by_text: Mapping[str, Any]) -> Any:
    """Return the text that replies an enum choice; other values are returned unchanged."""
    for text, choice in choices_by_text.items():
        if choice == value and type(choice) is type(value):
            return text
    return value


def _normalize_replied_scalar(value: Any, node: Mapping[str, Any]) -> Any:
    """Return a replied number or text in the declared form: 3.0 as 3, and a date in ISO 8601.

    In an integer field 3.0 becomes 3. A quotation loses the blanks around it.

    Only a compact date is changed, which is a text of eight digits such as 20261127. It becomes
    2026-11-27 in a field for a date, and 2026-11-27T00:00:00 in a field for a date and time. One
    that is not in the calendar, such as 20261399, stays as it is.

    Other values are returned unchanged; the validation of the answer checks them.
    """
    if node.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)

    is_text = isinstance(value, str)
    text_format = node.get("format")
    if is_text and text_format in QUOTE_FORMATS:
        return value.strip()
    if is_text and text_format in _DATE_FORMATS and _COMPACT_DATE_PATTERN.fullmatch(value):
        with contextlib.suppress(ValueError):
            iso_date = date.fromisoformat(value).isoformat()
            return iso_date if text_format == "date" else f"{iso_date}T00:00:00"
    return value
