"""Validate answers by the core schema of their model, which is pydantic's description of a type."""

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import SchemaValidator

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
    strict_schema: Any = _make_strict_node(core_schema, answer_model.__name__, faults)
    if faults:
        raise TypeError("\n".join(faults))
    # A prebuilt validator of a model would be used instead of the changed schema.
    return SchemaValidator(strict_schema, _use_prebuilt=False)


def _make_strict_node(node: Any, field_path: str, faults: dict[str, None]) -> Any:
    """Return a copy of a core schema that reads times only from ISO 8601, and only finite numbers.

    Args:
        node: The core schema, or a part of it.
        field_path: Path of the field, for messages.
        faults: Gets a message for each part whose stored values do not read back equal.
    """
    if isinstance(node, list | tuple):
        return type(node)(_make_strict_node(element, field_path, faults) for element in node)
    if not isinstance(node, dict):
        return node

    fault = _find_lossy_reason(node)
    if fault:
        faults[f"{field_path}: {fault}"] = None
    strict_node = dict(node)
    for key, child in node.items():
        is_field = isinstance(child, dict) and str(child.get("type")).endswith("-field")
        child_path = f"{field_path}.{key}" if is_field else field_path
        strict_node[key] = _make_strict_node(child, child_path, faults)
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
