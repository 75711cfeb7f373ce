"""Parse response schemas, and refuse those that the live service refuses.

- A schema is `responseSchema`, a subset of OpenAPI with types in capitals.
- `pattern` is ignored.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from askrows.emulator.messages import ApiError, make_invalid_argument_error

KINDS = ("OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN")
_WORD = re.compile(r"[^\W\d_]+|\d+")
# A list of terms in a system instruction. The description of a schema ends with `a term of NAME`.
_TERM_LIST = re.compile(r"^Terms of (.+), each to be copied as it is:\n((?:.+\n?)+)", re.MULTILINE)
_TERM_LIST_NAME = re.compile(r"\ba term of (.+?)\)?$")
# A line of such a list: `- term: meaning (also: other words)`.
_LISTED_TERM = re.compile(r"^- (.+?)(?=: | \(also: |$)", re.MULTILINE)
_CAMEL_CASE_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# A bound in a description, because the live service ignores lengths and has no open bounds.
_DESCRIBED_BOUND = re.compile(
    r"\b(at least|at most|greater than|less than) (-?\d{1,15}(?:\.\d{1,15})?)"
    r"(?: characters\b|(?=[;)]|$))",
)


@dataclass(frozen=True)
class SchemaNode:
    """A value that a schema asks for, with its bounds."""

    # One of `KINDS`; any if there are `options`.
    kind: str
    # Words of the property name in lower case. The items of a list have the words of the list.
    name: str = ""
    # Title and description.
    description: str = ""
    nullable: bool = False
    # Allowed texts of a STRING; empty if all texts are allowed.
    choices: tuple[Any, ...] = ()
    # Properties of an OBJECT, in the order of the answer.
    members: tuple[tuple[str, "SchemaNode"], ...] = ()
    # Items of an ARRAY.
    items: "SchemaNode | None" = None
    # Alternatives of `anyOf`.
    options: tuple["SchemaNode", ...] = ()
    # Items of an ARRAY or characters of a STRING.
    min_size: int = 0
    max_size: int | None = None
    # Bounds of an INTEGER or NUMBER, inclusive.
    minimum: float = -math.inf
    maximum: float = math.inf
    # `format` of a STRING, for example "date-time".
    format: str = ""

    @property
    def label(self) -> str:
        """Name, title and description in one text."""
        return f"{self.name} {self.description}".strip()


def parse_response_schema(config: Mapping[str, Any], system: str = "") -> SchemaNode:
    """Return the node of the response schema of a generation config.

    Args:
        system: The system instruction, which may list the terms that texts can have.

    Raises:
        ApiError: 400, if the schema is missing or the live service would refuse it. The message
            contains the path of the fault.
    """
    if config.get("responseSchema") is None:
        raise make_invalid_argument_error(
            "The local engine answers by a schema only: set generationConfig.responseSchema.",
        )
    term_lists = dict(_TERM_LIST.findall(system))
    return _parse_schema(
        config["responseSchema"], "", "generation_config.response_schema", term_lists
    )


def _parse_schema(
    schema: Mapping[str, Any],
    name: str,
    path: str,
    term_lists: Mapping[str, str],
) -> SchemaNode:
    """Check a schema and all schemas inside it, and return its node with the nodes inside.

    Args:
        name: Words of the property's name in lower case, such as "birth date" for birthDate.
        path: Path of the schema, for error messages.
        term_lists: The text of each list of terms, by the name of the list. A text whose
            description names a list has the terms as choices.

    Raises:
        ApiError: 400, if the schema is invalid.
    """
    kind = str(schema.get("type", "")).upper()
    description = " ".join(str(schema[key]) for key in ("title", "description") if schema.get(key))
    list_name = _TERM_LIST_NAME.search(description)
    terms = term_lists.get(list_name[1], "") if list_name else ""
    node = SchemaNode(kind, name, f"{description}\n{terms}", nullable=bool(schema.get("nullable")))

    if schema.get("anyOf"):
        options = [
            _parse_schema(option, name, f"{path}.any_of[{index}]", term_lists)
            for index, option in enumerate(schema["anyOf"])
        ]
        return replace(node, options=tuple(options))

    if kind == "OBJECT":
        if not schema.get("properties"):
            raise _schema_error(path, ".properties: should be non-empty for OBJECT type")
        members = {
            member_name: _parse_schema(
                member,
                _split_name(member_name),
                f"{path}.properties[{member_name}]",
                term_lists,
            )
            for member_name, member in schema["properties"].items()
        }
        return replace(node, members=tuple(members.items()))

    if kind == "ARRAY":
        if "items" not in schema:
            raise _schema_error(path, ".items: missing field.")
        items = _parse_schema(schema["items"], name, f"{path}.items", term_lists)
        return replace(
            node,
            # Items without a description have that of the list.
            items=replace(items, description=items.description.strip() or node.description),
            min_size=schema.get("minItems", 0),
            max_size=schema.get("maxItems"),
        )

    if kind not in KINDS:
        raise _schema_error(path, f".type: must be one of {', '.join(KINDS)}")
    choices = tuple(schema.get("enum", ())) or tuple(_LISTED_TERM.findall(terms))
    return _copy_with_bounds(
        replace(node, choices=choices, format=schema.get("format", "")), schema, description
    )


def _copy_with_bounds(node: SchemaNode, schema: Mapping[str, Any], description: str) -> SchemaNode:
    """Return a copy of a scalar's node with the bounds of its length or of its number.

    Bounds are also read from the description, such as "at most 60 characters" or "greater than 0"
    (see `_DESCRIBED_BOUND`). A length there counts only if the schema itself does not have this
    bound. The bounds of an INTEGER are rounded inwards.
    """
    described = {bound: float(number) for bound, number in _DESCRIBED_BOUND.findall(description)}
    if node.kind == "STRING":
        min_length = schema.get("minLength", described.get("at least", 0))
        max_length = schema.get("maxLength", described.get("at most"))
        return replace(
            node,
            min_size=int(min_length),
            max_size=None if max_length is None else int(max_length),
        )

    # The next number inside an open bound.
    inner_minimum = math.nextafter(described.get("greater than", -math.inf), math.inf)
    inner_maximum = math.nextafter(described.get("less than", math.inf), -math.inf)
    minimum = max(schema.get("minimum", -math.inf), inner_minimum)
    maximum = min(schema.get("maximum", math.inf), inner_maximum)
    if node.kind == "INTEGER":
        return replace(node, minimum=math.ceil(minimum), maximum=math.floor(maximum))
    return replace(node, minimum=minimum, maximum=maximum)


def _split_name(name: str) -> str:
    """Return the words of a property name in lower case, separated by blanks."""
    return " ".join(_WORD.findall(_CAMEL_CASE_BOUNDARY.sub(" ", name))).lower()


def _schema_error(path: str, message: str) -> ApiError:
    """Return the 400 error of the schema at `path`; `message` begins with a field or a colon."""
    return make_invalid_argument_error(f"* GenerateContentRequest.{path}{message}")
