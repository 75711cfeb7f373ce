"""Validate answers by their model, and find fields whose stored values do not read back equal.

Both read the core schema of the model, which is pydantic's own description of a type.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import SchemaValidator

# Types of a core schema that pydantic also reads from a number of seconds, and their names.
_TIME_TYPE_NAMES = {
    "date": "date",
    "datetime": "date and time",
    "time": "time",
    "timedelta": "duration",
}
_NUMBER_PATTERN = re.compile(r"[+-]?\d+(\.\d*)?")
# Pydantic accepts this form in addition to ISO 8601.
_PYTHON_DURATION_PATTERN = re.compile(r"[+-]?\s*\d+(:| day)")
# Parts of a core schema that describe no values.
_KEYS_WITHOUT_VALUES = frozenset({"config", "metadata", "serialization"})
# Serializers of these packages write values that read back equal, except secrets.
_LOSSLESS_PACKAGES = frozenset({"pipeline", "pydantic", "pydantic_core"})


@lru_cache(maxsize=1024)
def make_answer_validator(answer_model: "type[BaseModel]") -> "SchemaValidator":
    """Return a validator of answers that reads no number as a date, time or duration.

    Pydantic reads the text "86400" as 1970-01-02. Here, a date refuses this text, and `date | str`
    keeps it. All other values are validated as by the model.
    """
    from pydantic import TypeAdapter
    from pydantic_core import SchemaValidator

    core_schema: Any = _refuse_numbers(TypeAdapter(answer_model).core_schema)
    # A prebuilt validator of a model would be used instead of the changed schema.
    return SchemaValidator(core_schema, _use_prebuilt=False)


def _refuse_numbers(node: Any) -> Any:
    """Return a copy of a core schema whose dates, times and durations refuse numbers."""
    if isinstance(node, list | tuple):
        return type(node)(map(_refuse_numbers, node))
    if not isinstance(node, dict):
        return node

    copied_node = {
        key: child if key in _KEYS_WITHOUT_VALUES else _refuse_numbers(child)
        for key, child in node.items()
    }
    if copied_node.get("type") not in _TIME_TYPE_NAMES:
        return copied_node
    from pydantic_core import core_schema

    return core_schema.no_info_before_validator_function(
        _make_time_reader(copied_node), copied_node
    )


def _make_time_reader(time_schema: Any) -> Any:
    """Return a function that reads the text of a date, time or duration in ISO 8601.

    The function raises ValueError for a number and for a duration in Python's form. It returns
    other values unchanged.
    """
    from pydantic_core import SchemaValidator

    time_type = time_schema["type"]
    validator = SchemaValidator(time_schema)

    def read_time(value: Any) -> Any:
        is_python_duration = time_type == "timedelta" and _PYTHON_DURATION_PATTERN.match(str(value))
        if isinstance(value, int | float | str) and (
            _NUMBER_PATTERN.fullmatch(str(value)) or is_python_duration
        ):
            raise ValueError(f"{value!r} is not a {_TIME_TYPE_NAMES[time_type]} in ISO 8601 form")
        if isinstance(value, str):
            return validator.validate_json(json.dumps(value), strict=True)
        return value

    return read_time


def iterate_lossy_fields(answer_model: "type[BaseModel]") -> Iterator[str]:
    """Yield a message for each field of an answer whose stored value does not read back equal.

    These are excluded fields, secrets, and values or models with a serializer of their own. The
    message begins with the path of the field, such as `Answer.parts.size`.
    """
    from pydantic import TypeAdapter

    core_schema = TypeAdapter(answer_model).core_schema
    for field_path, node in _iterate_nodes(core_schema, answer_model.__name__):
        if "serialization_exclude" in node or "serialization_exclude_if" in node:
            yield f"{field_path}: an excluded field is not stored; leave out exclude"

        serializer = node.get("serialization", {}).get("function")
        package = getattr(serializer, "__module__", "pydantic").partition(".")[0]
        if "secret" in getattr(serializer, "__qualname__", ""):
            yield f"{field_path}: the value of a secret is not stored; use str"
        elif package not in _LOSSLESS_PACKAGES:
            yield f"{field_path}: a serializer may change the stored value; leave it out"


def _iterate_nodes(node: Any, field_path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of a core schema with the path of its field, outer objects first."""
    if isinstance(node, list | tuple):
        for element in node:
            yield from _iterate_nodes(element, field_path)
    if not isinstance(node, dict):
        return

    yield field_path, node
    for key, child in node.items():
        if key == "fields" and isinstance(child, dict):
            for name, field_node in child.items():
                yield from _iterate_nodes(field_node, f"{field_path}.{name}")
        elif key not in _KEYS_WITHOUT_VALUES:
            yield from _iterate_nodes(child, field_path)
