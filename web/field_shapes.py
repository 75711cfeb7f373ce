"""Edit a field of an answer in the shape of its type.

A form sends a text for each leaf of a value, under a dotted path: `value.0.verdict` is the verdict
of the first object in a list. The texts of a value (`Texts`) form a tree: a leaf is a text, an
object is a dict by member name, and a list is a dict by index. They are kept as typed, so that a
refused form can be displayed again.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.core.declaration import json_schema
from pipeline.core.errors import InputError
from pipeline.core.quotes import OPTIONAL_QUOTE_FORMAT, QUOTE_FORMAT, is_quotation

# Texts by path member, or the text of a leaf.
Texts = Any
Kind = Literal["choice", "number", "checkbox", "text", "quotation", "list", "object", "json"]

# Name of the form field, or the first member of its path.
ROOT_NAME = "value"
CHECKED_TEXT = "true"
_KINDS_BY_TYPE: Mapping[Any, Kind] = {
    "boolean": "checkbox",
    "integer": "number",
    "number": "number",
    "string": "text",
    "array": "list",
    "object": "object",
}
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")
# Pydantic's messages that name Python's types or its steps, with plain words.
_PLAIN_MESSAGES = (
    (
        re.compile(r"^(?:String|List) should have at (least|most) (\d+) items? .*"),
        r"at \1 \2 lines",
    ),
    (re.compile(r"^String should have at (least|most) (\d+) character.*"), r"at \1 \2 characters"),
    (re.compile(r"^Input should be (.*)"), r"it must be \1"),
    (re.compile(r"^Value error, (.*)"), r"\1"),
    (re.compile(r"^(?:Assertion failed), (.*)"), r"\1"),
)
_FAULT_PATH = re.compile(r"^[\w.]+: ")


@dataclass(frozen=True)
class FieldShape:
    """How a value is edited."""

    kind: Kind
    label: str = ""
    description: str = ""
    # Whether the value may be null.
    is_optional: bool = False
    choices: tuple[Any, ...] = ()
    # Bounds of a number.
    is_whole: bool = False
    minimum: float | None = None
    maximum: float | None = None
    # Of an object, by name.
    members: tuple[tuple[str, "FieldShape"], ...] = ()
    # Of the elements of a list.
    element: "FieldShape | None" = None


def make_shapes(model: type[BaseModel]) -> dict[str, FieldShape]:
    """Return the shape of each field of an answer's model."""
    properties = json_schema(model, by_alias=False).get("properties", {})
    return {name: _make_shape(name, node) for name, node in properties.items()}


def _make_shape(name: str, node: Mapping[str, Any], *, is_optional: bool = False) -> FieldShape:
    """Return the shape of a node of a JSON schema; an unusual node is edited as JSON.

    A union with null is optional. A union of several other types is edited as JSON. The label of
    the shape is the name with blanks in place of underscores.
    """
    alternatives = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    if "anyOf" in node and len(alternatives) == 1:
        inner_node = {**node, **alternatives[0]}
        del inner_node["anyOf"]
        has_null = len(node["anyOf"]) > 1
        return _make_shape(name, inner_node, is_optional=is_optional or has_null)

    kind = _find_kind(node, is_optional=is_optional)
    choices: Sequence[Any] = node.get("enum", ())
    if "const" in node:
        choices = [node["const"]]
    elif kind == "choice" and not choices:
        choices = (True, False)
    properties = {}
    if kind == "object":
        properties = node["properties"]
    element = None
    if kind == "list":
        element = _make_shape("", node["items"])
    return FieldShape(
        kind,
        label=name.replace("_", " "),
        description=str(node.get("description", "")),
        is_optional=is_optional or node.get("format") == OPTIONAL_QUOTE_FORMAT,
        choices=tuple(choices),
        is_whole=node.get("type") == "integer",
        minimum=node.get("minimum"),
        maximum=node.get("maximum"),
        members=tuple((member, _make_shape(member, part)) for member, part in properties.items()),
        element=element,
    )


def _find_kind(node: Mapping[str, Any], *, is_optional: bool) -> Kind:
    """Return the kind of input for a node of a JSON schema.

    An `enum` or `const` is a choice, and so is a boolean that may be null, because a checkbox
    cannot be empty. A text with the format of a quotation is a "quotation". Other nodes have the
    kind of their type. Lists of mixed types, objects without properties and unions are "json".
    """
    if "enum" in node or "const" in node:
        return "choice"

    type_name = node.get("type")
    is_list = isinstance(node.get("items"), Mapping) and "prefixItems" not in node
    if type_name == "boolean" and is_optional:
        # A checkbox cannot be empty.
        return "choice"
    if type_name == "string" and node.get("format") in {QUOTE_FORMAT, OPTIONAL_QUOTE_FORMAT}:
        return "quotation"
    if (type_name == "array" and not is_list) or (
        type_name == "object" and not node.get("properties")
    ):
        return "json"
    return _KINDS_BY_TYPE.get(type_name, "json")


def to_texts(shape: FieldShape, value: Any) -> Texts:
    """Return the texts of a value for a form: a text, or a dict of texts for a list or object.

    The keys of a dict are the indexes of the list ("0", "1", …), or the members of the object.
    Elements and members that are lists or objects are dicts, too. If the shape is a list but the
    value is not, the list is empty. If the shape is an object but the value is not, the texts of
    its members are empty.
    """
    if shape.kind == "list":
        elements: list[Any] = []
        if isinstance(value, list):
            elements = value
        element_shape = shape.element or FieldShape("json")
        return {str(index): to_texts(element_shape, item) for index, item in enumerate(elements)}
    if shape.kind == "object":
        members: Mapping[str, Any] = {}
        if isinstance(value, Mapping):
            members = value
        return {name: to_texts(member, members.get(name)) for name, member in shape.members}
    return _to_leaf_text(shape, value)


def _to_leaf_text(shape: FieldShape, value: Any) -> str:
    """Return the text of a value that has a single input in the form.

    - None is "".
    - If the kind of the shape is "json", any other value is indented JSON.
    - Otherwise a text stays as it is, a quotation becomes its words, and any other value is JSON.
    """
    if value is None:
        return ""
    if shape.kind == "json":
        return json.dumps(value, ensure_ascii=False, indent=2)
    if shape.kind == "quotation" and is_quotation(value):
        return str(value["quote"])
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def empty_texts(shape: FieldShape) -> Texts:
    """Return the texts of a new value."""
    return to_texts(shape, None)


def nest_texts(form: Mapping[str, str]) -> Texts:
    """Return the tree of texts of a form's value, in the order of the form.

    The value has the form fields `value`, if it is a leaf, or `value.0`, `value.0.name` and so on.
    Other form fields are ignored. If a form has both `value.a` and then `value.a.b`, the second is
    ignored. The tree is empty if the form has no field of the value.
    """
    root: dict[str, Texts] = {}
    for name, text in form.items():
        path = name.split(".")
        if path[0] != ROOT_NAME:
            continue
        branch = root
        for member in path[:-1]:
            next_branch = branch.setdefault(member, {})
            if not isinstance(next_branch, dict):
                break
            branch = next_branch
        else:
            branch[path[-1]] = text
    return root.get(ROOT_NAME, {})


def parse_texts(shape: FieldShape, texts: Texts, path: str = ROOT_NAME) -> Any:
    """Return the value of the texts of a form.

    A blank text of an optional value is None. A blank text that is not optional is read like any
    other text, which is an error for example for a number. Elements of a list without any text are
    left out.

    Args:
        shape: The shape of the value.
        texts: The tree of its texts.
        path: Dotted path of the value in the form.

    Raises:
        InputError: A text does not have the shape; its path is the error's `field`.
    """
    if shape.kind == "list":
        return _parse_list(shape, texts, path)
    if shape.kind == "object":
        branch: dict[str, Texts] = {}
        if isinstance(texts, dict):
            branch = texts
        return {
            name: parse_texts(member, branch.get(name, ""), f"{path}.{name}")
            for name, member in shape.members
        }

    text = ""
    if isinstance(texts, str):
        text = texts
    if shape.is_optional and not text.strip():
        return None
    return _LEAF_PARSERS[shape.kind](shape, text, path)


def _parse_list(shape: FieldShape, texts: Texts, path: str) -> list[Any]:
    """Return the elements of a list; empty lines are left out."""
    lines = texts
    if not isinstance(texts, dict):
        lines = {"0": texts}
    element_shape = shape.element or FieldShape("json")
    return [
        parse_texts(element_shape, line, f"{path}.{name}")
        for name, line in lines.items()
        if _has_text(line)
    ]


def _has_text(texts: Texts) -> bool:
    if isinstance(texts, dict):
        return any(map(_has_text, texts.values()))
    return bool(texts.strip())


def _parse_choice(shape: FieldShape, text: str, path: str) -> Any:
    for choice in shape.choices:
        if text in {choice, json.dumps(choice)}:
            return choice
    raise InputError("choose one of the list", field=path)


def _parse_number(shape: FieldShape, text: str, path: str) -> int | float:
    """Return the number of a text; digits alone are an int.

    Raises:
        InputError: The text is not a finite number of the kind and within the bounds of the shape.
    """
    text = text.strip()
    number: int | float = math.nan
    if _WHOLE_NUMBER.fullmatch(text):
        number = int(text)
    elif not shape.is_whole:
        try:
            number = float(text)
        except ValueError:
            number = math.nan

    is_in_range = (
        math.isfinite(number)
        and (shape.minimum is None or number >= shape.minimum)
        and (shape.maximum is None or number <= shape.maximum)
    )
    if not is_in_range:
        raise InputError(_describe_number(shape), field=path)
    return number


def _describe_number(shape: FieldShape) -> str:
    """Return an instruction such as "type a whole number from 1 to 5"; bounds may be missing."""
    instruction = "type a number"
    if shape.is_whole:
        instruction = "type a whole number"
    if shape.minimum is not None and shape.maximum is not None:
        return f"{instruction} from {shape.minimum:g} to {shape.maximum:g}"
    if shape.minimum is not None:
        return f"{instruction} of at least {shape.minimum:g}"
    if shape.maximum is not None:
        return f"{instruction} of at most {shape.maximum:g}"
    return instruction


def _parse_quotation(_shape: FieldShape, text: str, path: str) -> str:
    if not text.strip():
        raise InputError("select the words in the text, or type them", field=path)
    return text


def _parse_json(_shape: FieldShape, text: str, path: str) -> Any:
    try:
        return json.loads(text)
    # Deep brackets exceed the depth of the parser.
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is not valid JSON: {error}", field=path) from None


_LEAF_PARSERS: Mapping[Kind, Callable[[FieldShape, str, str], Any]] = {
    "checkbox": lambda _shape, text, _path: text == CHECKED_TEXT,
    "choice": _parse_choice,
    "json": _parse_json,
    "number": _parse_number,
    "quotation": _parse_quotation,
    "text": lambda _shape, text, _path: text,
}


def to_plain_reason(reason: str) -> str:
    """Return the reason why an answer is invalid without pydantic's terms and the field's path."""
    message = _FAULT_PATH.sub("", reason, count=1)
    for pattern, replacement in _PLAIN_MESSAGES:
        message = pattern.sub(replacement, message)
    return message
