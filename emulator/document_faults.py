"""Faults of good replies: each takes the reply's document and returns it with one thing wrong.

A function that finds nothing to spoil returns None, and its fault is not counted as having struck.
"""

import copy
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from emulator.faults import Word

Document = dict[str, Any]

FIRST_PAGE = str(10**18 - 1)
"""A page token that means the first page, for an empty page that must point at it."""


def _unknown_state(document: Document, args: Mapping[str, Any], _target: str) -> Document | None:
    """Give the batch a state no client knows."""
    if "state" not in document.get("metadata", {}):
        return None
    changed = copy.deepcopy(document)
    changed["metadata"]["state"] = args.get("state", "BATCH_STATE_NEW")
    return changed


def _missing_state(document: Document, _args: Mapping[str, Any], _target: str) -> Document | None:
    """Leave the state out."""
    if "state" not in document.get("metadata", {}):
        return None
    changed = copy.deepcopy(document)
    del changed["metadata"]["state"]
    return changed


def _no_output_yet(document: Document, _args: Mapping[str, Any], _target: str) -> Document | None:
    """Say that the batch is over but not where its results are."""
    if "output" not in document.get("metadata", {}):
        return None
    changed = copy.deepcopy(document)
    del changed["metadata"]["output"]
    changed.pop("response", None)
    return changed


def _other_name(document: Document, args: Mapping[str, Any], _target: str) -> Document | None:
    """Answer a create with the name of an unrelated batch."""
    return {**document, "name": args.get("name", "batches/somebodyelses")} if "name" in document else None


def _no_name(document: Document, _args: Mapping[str, Any], _target: str) -> Document | None:
    """Answer a create without a name."""
    return {name: value for name, value in document.items() if name != "name"} if "name" in document else None


def _empty_page(_document: Document, _args: Mapping[str, Any], target: str) -> Document | None:
    """Answer a list with an empty page whose token leads to the page that was asked for."""
    token = parse_qs(urlsplit(target).query).get("pageToken", [FIRST_PAGE])[0]
    return {"nextPageToken": token}


def _repeated(document: Document, args: Mapping[str, Any], _target: str) -> Document | None:
    """Let a page's token lead back, so that the next page begins with what this one ended with."""
    if "nextPageToken" not in document:
        return None
    return {**document, "nextPageToken": str(int(document["nextPageToken"]) + int(args.get("items", 1)))}


def _skipped(document: Document, args: Mapping[str, Any], _target: str) -> Document | None:
    """Leave out what stands first on a page of batches; no other page has it."""
    items = document.get("operations")
    if not items:
        return None
    rest = items[int(args.get("items", 1)) :]
    others = {name: value for name, value in document.items() if name != "operations"}
    return {**others, "operations": rest} if rest else others


def _circle(document: Document, _args: Mapping[str, Any], target: str) -> Document | None:
    """Let a page's token lead to the page itself."""
    return {**document, "nextPageToken": parse_qs(urlsplit(target).query).get("pageToken", [FIRST_PAGE])[0]}


def _skewed(document: Document, args: Mapping[str, Any], _target: str) -> Document | None:
    """Tell all times of the document as a server tells them whose clock is wrong."""
    by = timedelta(seconds=float(args.get("seconds", -86_400)))
    changed = _moved(document, by)
    return changed if changed != document else None


def _moved(value: Any, by: timedelta) -> Any:
    """Return a document with every time in it moved by `by`."""
    if isinstance(value, dict):
        return {
            name: f"{datetime.fromisoformat(member[:19]) + by:%Y-%m-%dT%H:%M:%S}Z"
            if name.endswith("Time") and isinstance(member, str)
            else _moved(member, by)
            for name, member in value.items()
        }
    return [_moved(member, by) for member in value] if isinstance(value, list) else value


def _vectors(change: Callable[[list[list[float]]], list[list[float]]]) -> Callable[..., Document | None]:
    """Return the fault that changes the list of vectors in a live reply."""

    def act(document: Document, _args: Mapping[str, Any], _target: str) -> Document | None:
        """Change the vectors, of one embedding or of many."""
        if "embedding" in document:
            changed = change([document["embedding"]["values"]])
            return {"embedding": {"values": changed[0]} if changed else {}}
        if not document.get("embeddings"):
            return None
        vectors = [embedding["values"] for embedding in document["embeddings"]]
        return {"embeddings": [{"values": values} for values in change(vectors)]}

    return act


def _fused(vectors: list[list[float]]) -> list[list[float]]:
    """Return one mean vector for all."""
    return [[sum(column) / len(vectors) for column in zip(*vectors, strict=True)]]


_CREATE = r":(batchGenerateContent|asyncBatchEmbedContent)$"
_ONE_BATCH = r"/batches/[^/:?]+$"
_LIST = r"/batches(\?|$)"
_EMBED = r":(batchEmbedContents|embedContent)$"

WORDS = {
    "foreign_name": Word("F44", "document", _other_name, "POST", _CREATE),
    "no_name": Word("F07", "document", _no_name, "POST", _CREATE),
    "unknown_state": Word("F50", "document", _unknown_state, "GET", _ONE_BATCH),
    "missing_state": Word("F51", "document", _missing_state, "GET", _ONE_BATCH),
    "no_output_yet": Word("F59", "document", _no_output_yet, "GET", _ONE_BATCH),
    "empty_page": Word("F57", "document", _empty_page, "GET", r"/(batches|files)\?.*pageToken="),
    "page_repeats": Word("F57", "document", _repeated, "GET", _LIST),
    "page_skips": Word("F57", "document", _skipped, "GET", _LIST),
    "page_circle": Word("F57", "document", _circle, "GET", _LIST),
    "clock_skew": Word("F90", "document", _skewed, "", r"^/(upload/)?v1"),
    "vectors_fused": Word("F80", "document", _vectors(_fused), "POST", _EMBED),
    "vectors_short": Word("F81", "document", _vectors(lambda vectors: vectors[:-1]), "POST", _EMBED),
    "vectors_wrong_dimension": Word(
        "F81", "document", _vectors(lambda rows: [row[:-1] for row in rows]), "POST", _EMBED
    ),
    "vectors_nan": Word(
        "F81", "document", _vectors(lambda rows: [[float("nan"), *r[1:]] for r in rows]), "POST", _EMBED
    ),
    "vectors_not_unit": Word(
        "F81", "document", _vectors(lambda rows: [[3 * v for v in r] for r in rows]), "POST", _EMBED
    ),
}
"""Words for faults in otherwise good replies."""
