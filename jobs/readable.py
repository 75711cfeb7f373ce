"""Say in lines that a person reads what a request holds, and what an answer says."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.answer_paths import is_stored_quotation, likeness_told

INDENT = "    "
LONGEST = 2_000  # characters of a text that are shown; --json has all
END = 300  # of these, of its end


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
