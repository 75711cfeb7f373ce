"""Tell one declaration from another: by all that a model's answer depends on, never by the bytes that were sent.

A retry with more output tokens, or a new way to write a request, changes no fingerprint. `check` is code and is not
covered.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.core.declaration import Declaration

PARAMETERS = ("model", "max_output_tokens", "temperature", "thinking", "quotes_in")
OF_IMAGES = ("images", "image_side", "media_resolution")  # of declarations that have some
LONG = 60  # characters of a value that are shown of a difference


def fingerprint_of(declaration: Declaration) -> dict[str, Any]:
    """Return the document that tells what a declaration asks: system, prompt, schema, examples and parameters."""
    examples = [[dict(row), _plain(answer)] for row, answer in declaration.examples]
    return {
        "system": declaration.system,
        "prompt": declaration.prompt,
        "schema": declaration.answer.model_json_schema(),
        "examples": examples,
        **{name: _plain(getattr(declaration, name)) for name in PARAMETERS},
        **{name: _plain(getattr(declaration, name)) for name in (OF_IMAGES if declaration.images else ())},
    }


def digest(document: Mapping[str, Any]) -> str:
    """Return the fingerprint of a document: the SHA-256 of its canonical JSON."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for each part in which two declarations differ; within a schema, for the place."""
    return [line for name in new if old.get(name) != new[name] for line in _compared(name, old.get(name), new[name])]


def _compared(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = dict.fromkeys([*old, *new])
        return [
            line
            for one in names
            if old.get(one) != new.get(one)
            for line in _compared(f"{name}.{one}", old.get(one), new.get(one))
        ]
    return [f"{name}: {_shown(old)} → {_shown(new)}"]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONG else f"{text[: LONG // 2]} … {text[-LONG // 2 :]}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
