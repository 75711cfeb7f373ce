"""Say in lines that a person reads what a request holds, what a schema wants, and what an answer says."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.answer_paths import is_stored_quotation, likeness_told

INDENT = "    "
LONGEST = 2_000  # characters of a text that are shown; --json has all
END = 300  # of these, of its end
KINDS = {
    "STRING": "text",
    "INTEGER": "whole number",
    "NUMBER": "number",
    "BOOLEAN": "true or false",
    "OBJECT": "object",
}


def cut(text: str) -> str:
    """Return a text with the middle of a long one left out."""
    left_out = len(text) - LONGEST
    if left_out <= 0:
        return text
    return f"{text[: LONGEST - END]}\n… {left_out:,} characters that are sent, too …\n{text[-END:]}"


def attached(part: Mapping[str, Any]) -> str:
    """Return a line that stands for a part of a prompt that is no text."""
    inline: Mapping[str, Any] = part.get("inlineData") or part.get("fileData") or {}
    size = f", {inline['size']:,} bytes" if "size" in inline else ""
    return f"[{inline.get('mimeType', 'attachment')}{size}]"


def schema_lines(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Yield a line for each field of an answer, those of objects and lists beneath them."""
    inner = schema.get("items", schema) if schema.get("type") == "ARRAY" else schema
    needed = inner.get("required", ())
    for name, one in inner.get("properties", {}).items():
        may = "" if name in needed else ", may be left out"
        about = f"  ({one['description']})" if one.get("description") else ""
        yield f"{indent}{name}: {_kind(one)}{may}{about}"
        yield from schema_lines(one, indent + INDENT)


def _kind(schema: Mapping[str, Any]) -> str:
    """Return in words what a value must be."""
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if schema.get("type") == "ARRAY":
        kind = _kind(schema["items"])
        said = f"list of {'objects' if kind == 'object' else kind}{_bounds(schema, 'minItems', 'maxItems')}"
    else:
        said = " | ".join(schema["enum"]) if "enum" in schema else KINDS[schema["type"]]
        said += _bounds(schema, "minimum", "maximum")
    return f"{said}, or null" if schema.get("nullable") else said


def _bounds(schema: Mapping[str, Any], least: str, most: str) -> str:
    """Return the bounds of a number or of how many there are."""
    words = {least: "at least", most: "at most"}
    return "".join(f", {word} {schema[name]}" for name, word in words.items() if name in schema)


def value_lines(name: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of one field of an answer; a quotation has its place behind it."""
    if is_stored_quotation(value):
        where = f"characters {value['start']} to {value['end']}{likeness_told(value)}"
        yield f'{indent}{name}: "{value["quote"]}" ({where})'
    elif isinstance(value, Mapping):
        yield f"{indent}{name}:"
        for inner, one in value.items():
            yield from value_lines(inner, one, indent + INDENT)
    elif isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
        for number, one in enumerate(value, start=1):
            yield from value_lines(f"{name} {number}", one, indent)
    else:
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"{indent}{name}: {'-' if shown is None or shown == '' else shown}"
