"""Compute the fingerprint of a task: the hash of the members that determine its answers."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.core.declaration import Declaration
from pipeline.core.vocabulary import separate_vocabularies

# Members of a declaration that are part of its fingerprint.
FINGERPRINT_MEMBERS = ("model", "max_output_tokens", "temperature", "thinking", "quotes_in")
# Members that are part of the fingerprint if the declaration has images.
IMAGE_FINGERPRINT_MEMBERS = ("images", "image_side", "media_resolution")


def to_fingerprint_document(declaration: Declaration) -> dict[str, Any]:
    """Return the members of a declaration that determine its answers, as plain values for JSON.

    They are system text, prompt, schema, examples, model and its settings, and the settings of
    images if the task has images. If the answer has vocabularies, the member `vocabulary` has for
    each file the descriptions of its terms by name. Aliases and the order of the terms do not
    count.
    """
    member_names: tuple[str, ...] = FINGERPRINT_MEMBERS
    if declaration.images:
        member_names += IMAGE_FINGERPRINT_MEMBERS
    examples = [[dict(row), _to_json_value(answer)] for row, answer in declaration.examples]
    schema, vocabularies = separate_vocabularies(declaration.answer.model_json_schema())
    document = {
        "system": declaration.system,
        "prompt": declaration.prompt,
        "schema": schema,
        "examples": examples,
        **{name: _to_json_value(getattr(declaration, name)) for name in member_names},
    }
    if vocabularies:
        document["vocabulary"] = {
            file: {term["name"]: term["description"] for term in terms}
            for file, terms in vocabularies.items()
        }
    return document


def hash_document(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document's canonical JSON, in hex."""
    text = json.dumps(
        document,
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
        default=str,
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _to_json_value(member: Any) -> Any:
    """Return a member of a declaration for JSON: a tuple as list, a model as dict."""
    if isinstance(member, tuple):
        return list(member)
    return member.model_dump(mode="json") if hasattr(member, "model_dump") else member
