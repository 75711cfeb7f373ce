"""How the page shows what is known of one item: answers as people read them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import urlencode

from pipeline.core.answer_paths import is_quotation, leaves
from pipeline.images import TASK as IMAGES
from pipeline.passages.show import QuotedPassage
from pipeline.store.answers import PERSON

UNUSABLE = "unusable"  # the state of an image that cannot be opened
SIDE = 640  # pixels of the longer side of the picture


def answers_shown(known: Mapping[str, Any], edits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers of an item, newest first; `edit` is the edit by hand that one is, None where a model gave it.

    Each edit kept one answer, so they are in the same order.
    """
    by_hand = iter(edits)
    shown = [{**one, "edit": next(by_hand, None) if one["extractor"] == PERSON else None} for one in known["answers"]]
    return shown[::-1]


def concepts_by_version(passage: QuotedPassage) -> dict[str, list[tuple[str, str]]]:
    """Return what each version found in a passage, by name and type, each once."""
    return {
        extractor: list(dict.fromkeys((one.name, one.type) for one in some))
        for extractor, some in passage.concepts.items()
    }


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
