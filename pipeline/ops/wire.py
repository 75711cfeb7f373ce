"""Find a request and its reply as they went over the wire: of a batch in its sealed files, of a live call as kept.

What is not there is said. Of a call that was only a trial or a comparison no text is kept.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from pipeline.core import files
from pipeline.core.errors import FindableError
from pipeline.gemini.requests import joined_request, request_key, shown_line
from pipeline.gemini.result_file import ResultFile
from pipeline.store.answers import COMPARED
from pipeline.store.asked import AskedRequest
from pipeline.store.batches import Batch
from pipeline.store.wire_texts import LiveText

NOT_KEPT = (
    "only what came of it is kept: `make clean` removed its text, or it never was; "
    "`make try` with ITEM= shows what is sent now"
)
COMPARISON = "of a trial or a comparison no text is kept; `make try` with ITEM= shows what is sent now"
CLEANED = "the batch's files were removed by `make clean`"


class WireText(NamedTuple):
    """The texts of a request and of its replies, and where there is none of either, why."""

    request: str | None
    replies: tuple[str, ...]
    no_request: str
    no_reply: str


def of_call(call: AskedRequest, kept: LiveText | None) -> WireText:
    """Return what is kept of a live call."""
    if kept is None:
        why = COMPARISON if call.purpose == COMPARED else NOT_KEPT
        return WireText(None, (), why, why)
    replies = (kept.reply,) if kept.reply is not None else ()
    told = "no reply has come yet" if call.outcome is None else f"no reply that could be read came: {call.outcome}"
    return WireText(joined_request(kept.contents, kept.form), replies, "", "" if replies else told)


def of_batch(data: Path, batch: Batch, item_id: str, *, cleaned: Collection[int]) -> WireText:
    """Return what a batch's sealed files hold of an item; `cleaned` are the batches whose files were removed."""
    key, is_cleaned = request_key(batch.task, item_id), batch.number in cleaned
    asked, no_request = _lines(data, batch.request_file, batch.request_sha256, key, is_cleaned=is_cleaned)
    request = next((shown_line(one.encode()).decode() for one in asked), None)
    if batch.result_file is None:
        told = "it ended without a result" if batch.is_over else "no result has come yet"
        return WireText(request, (), no_request, f"the batch is {batch.state}: {told}")
    replies, no_reply = _lines(data, batch.result_file, batch.result_sha256 or "", key, is_cleaned=is_cleaned)
    return WireText(request, replies, no_request, no_reply)


def _lines(data: Path, name: str, sha256: str, key: str, *, is_cleaned: bool) -> tuple[tuple[str, ...], str]:
    """Return the lines of a key in a sealed file, or why there is none."""
    if is_cleaned and not (data / name).is_file():
        return (), CLEANED
    try:
        path = files.verify(data / name, sha256=sha256, what=name)
    except FindableError as error:
        return (), error.message
    with ResultFile(path) as found:
        lines = tuple(line.decode("utf-8", "replace") for line in found.lines_of([key])[0])
    return lines, "" if lines else f"{name} has no line of it"
