"""Parse response schemas, and refuse those that the live service refuses.

- A schema is `responseSchema`, a subset of OpenAPI with types in capitals.
- `pattern` is ignored.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from emulator.messages import ApiError, invalid_argument

# Levels of the deepest schema (our own limit, the live service does not publish its limit).
MAX_DEPTH = 16
# Largest minimum length of a list or a text (our own limit).
MAX_MIN_SIZE = 10_000
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

    # One of `KINDS`; empty for a choice between `options`.
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
    # Alternatives of `anyOf` without null.
    options: tuple["SchemaNode", ...] = ()
    # Items of an ARRAY or characters of a STRING.
    min_size: int = 0
    max_size: int | None = None
    # Bounds of an INTEGER or NUMBER, inclusive; infinite if there is no bound.
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
        raise invalid_argument(
            "The local engine answers by a schema only: set generationConfig.responseSchema.",
        )
    return _parse_document(orjson.dumps(config["responseSchema"]), system)


@functools.lru_cache(maxsize=256)
def _parse_document(document: bytes, system: str) -> SchemaNode:
    """Parse a serialized schema once, because each line of a file may repeat it."""
    schema = orjson.loads(document)
    _add_term_lists(schema, dict(_TERM_LIST.findall(system)))
    return _parse_schema(schema, "", "generation_config.response_schema", 1)


def _add_term_lists(schema: Any, lists_by_name: Mapping[str, str]) -> None:
    """Append lists of terms to the descriptions of a schema that name them, at any depth.

    A description names a list if it ends with "a term of NAME". Changes the schema in place.

    Args:
        lists_by_name: The text of each list, with a line per term, by the name of the list.
    """
    if isinstance(schema, list):
        for member in schema:
            _add_term_lists(member, lists_by_name)
    if not isinstance(schema, dict):
        return

    match = _TERM_LIST_NAME.search(str(schema.get("description", "")))
    if match is not None and match[1] in lists_by_name:
        schema["description"] += f"\n{lists_by_name[match[1]]}"
    for member in schema.values():
        _add_term_lists(member, lists_by_name)


def _parse_schema(schema: Mapping[str, Any], name: str, path: str, depth: int) -> SchemaNode:
    """Check a schema and all schemas inside it, and return its node with the nodes inside.

    Args:
        name: Words of the property's name in lower case, such as "birth date" for birthDate.
        path: Path of the schema, for error messages.
        depth: Level of the schema, 1 for the outermost.

    Raises:
        ApiError: 400, if the schema is too deep or invalid.
    """
    if depth > MAX_DEPTH:
        raise invalid_argument(
            "A schema in GenerationConfig in the request exceeds the maximum allowed "
            "nesting depth.",
        )

    kind = _get_kind(schema)
    texts = [str(schema[key]) for key in ("title", "description") if schema.get(key)]
    node = SchemaNode(kind, name, " ".join(texts), nullable=bool(schema.get("nullable")))

    if schema.get("anyOf") and not kind:
        return _parse_options(node, schema["anyOf"], path, depth)
    if kind == "OBJECT":
        return _parse_object(node, schema, path, depth)
    if kind == "ARRAY":
        return _parse_array(node, schema, path, depth)
    if kind in KINDS:
        return _parse_scalar_schema(node, schema, path)

    raise _schema_error(path, f".type: must be one of {', '.join(KINDS)}")


def _parse_options(
    node: SchemaNode,
    schemas: Sequence[Mapping[str, Any]],
    path: str,
    depth: int,
) -> SchemaNode:
    """Return a copy of a node with the alternatives of `anyOf`; a NULL makes the value nullable.

    Raises:
        ApiError: 400, if all alternatives are NULL, or an alternative is invalid.
    """
    options = tuple(
        _parse_schema(schema, node.name, f"{path}.any_of[{index}]", depth + 1)
        for index, schema in enumerate(schemas)
        if _get_kind(schema) != "NULL"
    )
    if not options:
        raise _schema_error(path, ".any_of: must have one that is not null")

    return replace(node, options=options, nullable=node.nullable or len(options) < len(schemas))


def _parse_object(node: SchemaNode, schema: Mapping[str, Any], path: str, depth: int) -> SchemaNode:
    """Return a copy of an object's node with its parsed properties as `members`.

    The properties in `propertyOrdering` come first, then the others. Names in `propertyOrdering`
    that are not properties are ignored. `required` is only checked, because an answer always has
    all properties.

    Args:
        schema: The schema of the object.
        path: Path of the schema for error messages.
        depth: Depth of the object; its properties are one deeper.

    Raises:
        ApiError: 400, if there is no property, if `required` names something that is not a
            property, or if the schema of a property is invalid.
    """
    properties = schema.get("properties") or {}
    if not properties:
        raise _schema_error(path, ".properties: should be non-empty for OBJECT type")

    for index, name in enumerate(schema.get("required") or ()):
        if name not in properties:
            raise _schema_error(path, f".required[{index}]: property is not defined")

    ordering = schema.get("propertyOrdering") or ()
    ordered_names = [name for name in ordering if name in properties]
    members = {
        name: _parse_schema(
            properties[name],
            _split_name(name),
            f"{path}.properties[{name}]",
            depth + 1,
        )
        for name in dict.fromkeys([*ordered_names, *properties])
    }
    return replace(node, members=tuple(members.items()))


def _parse_array(node: SchemaNode, schema: Mapping[str, Any], path: str, depth: int) -> SchemaNode:
    """Return a copy of a node with the node of its items and the bounds of their number.

    Items without a description have that of the list.

    Raises:
        ApiError: 400, if the items are missing or invalid, or the bounds contradict each other.
    """
    if "items" not in schema:
        raise _schema_error(path, ".items: missing field.")

    items = _parse_schema(schema["items"], node.name, f"{path}.items", depth + 1)
    items = replace(items, description=items.description or node.description)
    return replace(
        _add_sizes(node, schema.get("minItems"), schema.get("maxItems"), path),
        items=items,
    )


def _parse_scalar_schema(node: SchemaNode, schema: Mapping[str, Any], path: str) -> SchemaNode:
    """Return a copy of a node with choices, format and bounds of a text, a number or a boolean.

    If the schema of a text has no choices, the terms that its description lists are the choices.

    Bounds are also read from the description, such as "at most 60 characters" or "greater than 0"
    (see `_DESCRIBED_BOUND`). A length there counts only if the schema itself does not have this
    bound (`minLength` or `maxLength`). Bounds of a number there count only if they do not
    contradict those of the schema.

    Args:
        path: The place of the node in the whole schema, for messages.

    Raises:
        ApiError: 400, if a value that is not a text has choices, or the bounds allow no value.
    """
    if node.kind != "STRING" and schema.get("enum"):
        raise _schema_error(path, ".enum: only allowed for STRING type")

    choices = tuple(schema.get("enum") or ())
    if node.kind == "STRING" and not choices:
        choices = tuple(_LISTED_TERM.findall(node.description))
    node = replace(
        node,
        choices=choices,
        format=str(schema.get("format", "")),
    )
    described_bounds = {
        bound: float(number) for bound, number in _DESCRIBED_BOUND.findall(node.description)
    }
    if node.kind == "STRING":
        min_length = schema.get("minLength", described_bounds.get("at least"))
        max_length = schema.get("maxLength", described_bounds.get("at most"))
        return _add_sizes(node, min_length, max_length, path)

    if node.kind == "BOOLEAN":
        return node
    return _add_number_bounds(node, schema, described_bounds, path)


def _add_number_bounds(
    node: SchemaNode,
    schema: Mapping[str, Any],
    described_bounds: Mapping[str, float],
    path: str,
) -> SchemaNode:
    """Return a copy of a node with the bounds of a number, which are inclusive or infinite.

    The bounds of an INTEGER are rounded inwards.

    Args:
        node: The node.
        schema: Its schema, with inclusive bounds `minimum` and `maximum`.
        described_bounds: Exclusive bounds of the description, under "greater than" and "less
            than". The next number inside becomes the inclusive bound. They are ignored if they
            contradict the bounds of the schema.
        path: Path of the schema, for error messages.

    Raises:
        ApiError: 400, if no number is within the bounds.
    """
    minimum = schema.get("minimum", -math.inf)
    maximum = schema.get("maximum", math.inf)

    inner_minimum = minimum
    inner_maximum = maximum
    if "greater than" in described_bounds:
        inner_minimum = max(minimum, math.nextafter(described_bounds["greater than"], math.inf))
    if "less than" in described_bounds:
        inner_maximum = min(maximum, math.nextafter(described_bounds["less than"], -math.inf))
    if inner_minimum <= inner_maximum:
        minimum = inner_minimum
        maximum = inner_maximum

    if node.kind == "INTEGER":
        if not math.isinf(minimum):
            minimum = math.ceil(minimum)
        if not math.isinf(maximum):
            maximum = math.floor(maximum)
    if minimum > maximum:
        raise _schema_error(path, f": minimum {minimum} is above maximum {maximum}.")

    return replace(node, minimum=minimum, maximum=maximum)


def _add_sizes(
    node: SchemaNode,
    min_size: float | None,
    max_size: float | None,
    path: str,
) -> SchemaNode:
    """Return a copy of a node with the bounds of a list or a text, as integers.

    A `min_size` of None means 0, a `max_size` of None unlimited.

    Raises:
        ApiError: 400, if the minimum is negative, too large, or above the maximum.
    """
    minimum = int(min_size or 0)
    maximum = None if max_size is None else int(max_size)
    suffix = "Items" if node.kind == "ARRAY" else "Length"
    if minimum < 0:
        raise _schema_error(path, f": min{suffix} {minimum} is negative.")
    if maximum is not None and minimum > maximum:
        raise _schema_error(path, f": min{suffix} {minimum} is above max{suffix} {maximum}.")

    if minimum > MAX_MIN_SIZE:
        raise invalid_argument(
            "The specified schema produces a constraint that has too many states for serving.",
        )

    return replace(node, min_size=minimum, max_size=maximum)


def _get_kind(schema: Mapping[str, Any]) -> str:
    """Return the type of a schema in capitals; empty if it has no type."""
    return str(schema.get("type", "")).upper().replace("TYPE_UNSPECIFIED", "")


def _split_name(name: str) -> str:
    """Return the words of a property name in lower case, separated by blanks."""
    return " ".join(_WORD.findall(_CAMEL_CASE_BOUNDARY.sub(" ", name))).lower()


def _schema_error(path: str, message: str) -> ApiError:
    """Return the 400 error of the schema at `path`; `message` begins with a field or a colon."""
    return invalid_argument(f"* GenerateContentRequest.{path}{message}")
