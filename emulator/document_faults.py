"""Faults of good replies: each takes the reply's document and returns it with one thing wrong.

A function that finds nothing to spoil returns None, and its fault is not counted as having struck. What each
word means stands in `docs/local-engine.md`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from emulator.faults import CREATE, ONE_BATCH, without, words

Document = dict[str, Any]
Args = Mapping[str, Any]
Act = Callable[[Document, Args, str], Document | None]

FIRST_PAGE = str(10**18 - 1)
"""A page token that means the first page, for an empty page that must point at it."""


def _having(member: str, change: Callable[[Document, Args], Document]) -> Act:
    """Return the fault that changes a document where it has a member."""
    return lambda document, args, _target: change(document, args) if document.get(member) else None


def _metadata_having(member: str, change: Callable[[Document, Args], Document]) -> Act:
    """Return the fault that changes the metadata of a batch where they have a member."""

    def act(document: Document, args: Args, _target: str) -> Document | None:
        metadata = document.get("metadata", {})
        return {**document, "metadata": change(metadata, args)} if member in metadata else None

    return act


def _no_output_yet(document: Document, args: Args, target: str) -> Document | None:
    changed = _metadata_having("output", lambda metadata, _args: without(metadata, "output"))(document, args, target)
    return changed and without(changed, "response")


def _page_asked_for(target: str) -> str:
    return parse_qs(urlsplit(target).query).get("pageToken", [FIRST_PAGE])[0]


def _repeated(document: Document, args: Args) -> Document:
    return {**document, "nextPageToken": str(int(document["nextPageToken"]) + int(args.get("items", 1)))}


def _skipped(document: Document, args: Args) -> Document:
    rest = document["operations"][int(args.get("items", 1)) :]
    others = without(document, "operations")
    return {**others, "operations": rest} if rest else others


def _skewed(document: Document, args: Args, _target: str) -> Document | None:
    changed: Document = _moved(document, timedelta(seconds=float(args.get("seconds", -86_400))))
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


def _vectors(change: Callable[[list[list[float]]], list[list[float]]]) -> Act:
    """Return the fault that changes the list of vectors in a live reply, of one embedding or of many."""

    def act(document: Document, _args: Args, _target: str) -> Document | None:
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


WORDS = {
    **words(
        "document",
        "POST",
        CREATE,
        foreign_name=(
            "F44",
            _having("name", lambda it, args: {**it, "name": args.get("name", "batches/somebodyelses")}),
        ),
        no_name=("F07", _having("name", lambda document, _args: without(document, "name"))),
    ),
    **words(
        "document",
        "GET",
        ONE_BATCH,
        unknown_state=(
            "F50",
            _metadata_having("state", lambda it, args: {**it, "state": args.get("state", "BATCH_STATE_NEW")}),
        ),
        missing_state=("F51", _metadata_having("state", lambda metadata, _args: without(metadata, "state"))),
        no_output_yet=("F59", _no_output_yet),
    ),
    **words(
        "document",
        "GET",
        r"/(batches|files)\?.*pageToken=",
        empty_page=("F57", lambda _document, _args, target: {"nextPageToken": _page_asked_for(target)}),
    ),
    **words(
        "document",
        "GET",
        r"/batches(\?|$)",
        page_repeats=("F57", _having("nextPageToken", _repeated)),
        page_skips=("F57", _having("operations", _skipped)),
        page_circle=("F57", lambda document, _args, target: {**document, "nextPageToken": _page_asked_for(target)}),
    ),
    **words("document", "", r"^/(upload/)?v1", clock_skew=("F90", _skewed)),
    **words(
        "document",
        "POST",
        r":(batchEmbedContents|embedContent)$",
        vectors_fused=("F80", _vectors(_fused)),
        vectors_short=("F81", _vectors(lambda vectors: vectors[:-1])),
        vectors_wrong_dimension=("F81", _vectors(lambda vectors: [one[:-1] for one in vectors])),
        vectors_nan=("F81", _vectors(lambda vectors: [[float("nan"), *one[1:]] for one in vectors])),
        vectors_not_unit=("F81", _vectors(lambda vectors: [[3 * value for value in one] for one in vectors])),
    ),
}
"""Words for faults in otherwise good replies."""
