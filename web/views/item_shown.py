"""How the page shows what is known of one item: answers as people read them, and texts of the wire laid out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import PurePath
from typing import Any
from urllib.parse import urlencode

from pipeline.core.answer_paths import is_quotation, leaves
from pipeline.images import TASK as IMAGES
from pipeline.passages.marked import MarkedPassage
from pipeline.store.answers import PERSON

UNUSABLE = "unusable"  # the state of an image that cannot be opened
SIDE = 640  # pixels of the longer side of the picture
PROMPT = ("systemInstruction", "contents")  # parts of a request that hold what the model reads


def answers_shown(known: Mapping[str, Any], edits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers of an item, newest first; `edit` is the edit by hand that one is, None where a model gave it.

    Each edit kept one answer, so they are in the same order.
    """
    by_hand = iter(edits)
    shown = [{**one, "edit": next(by_hand, None) if one["extractor"] == PERSON else None} for one in known["answers"]]
    return shown[::-1]


def concepts_by_version(passage: MarkedPassage) -> dict[str, list[tuple[str, str]]]:
    """Return what each version that is shown of a passage found in it, by name and type, each once."""
    found = {}
    for version in passage.versions:
        quoted = chain.from_iterable(segment.quotations for segment in version.segments)
        found[version.extractor] = list(dict.fromkeys([*((one.concept, one.type) for one in quoted), *version.others]))
    return found


def heading_of(known: Mapping[str, Any], task: str, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return how an item is called: `title`, `beside` what else names it, and `picture`, the address of an image."""
    name = known["name"]
    if task == IMAGES:
        address = f"/api/images/thumbnail?{urlencode({'key': known['item'], 'side': SIDE})}"
        return {"title": PurePath(name).name, "beside": "", "picture": "" if known["state"] == UNUSABLE else address}
    full = dict(columns).get("name", "")
    return {"title": full or name, "beside": name if full else "", "picture": ""}


def quotations_in(answer: Any) -> Iterator[tuple[int, int, str]]:
    """Yield each quotation that an answer holds: (start, end, quote)."""
    for _, one in leaves(answer):
        if is_quotation(one) and isinstance(one["start"], int) and isinstance(one["end"], int):  # not a field called so
            yield one["start"], one["end"], one["quote"]


def wire_shown(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request and its replies as JSON on lines of its own, and the `prompt` as plain text."""
    wire = request["wire"]
    asked = _document(wire["request"] or "")
    body = asked.get("request", asked) if isinstance(asked, dict) else {}
    prompt = [text for name in PROMPT for text in _texts(body.get(name))] if isinstance(body, dict) else []
    replies = [_laid_out(one) for one in wire["replies"]]
    return {
        **wire,
        "request": _laid_out(wire["request"]) if wire["request"] else None,
        "replies": replies,
        "prompt": prompt,
    }


def _document(text: str) -> Any:
    """Return what a text says as JSON, None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _laid_out(text: str) -> str:
    """Return JSON on lines of its own, any other text as it is."""
    document = _document(text)
    return text if document is None else json.dumps(document, ensure_ascii=False, indent=1)


def _texts(part: Any) -> Iterator[str]:
    """Yield the texts of a part of a request, in their order."""
    if isinstance(part, list):
        yield from chain.from_iterable(map(_texts, part))
    elif isinstance(part, dict):
        for name, value in part.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)
