"""Quotations are true slices of the very row that was asked about, whatever a model writes: passages and own tasks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.checker import Look, check
from tests.acceptance.product import PASSAGES, Workspace, declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import serving

TEXT = (
    "Page {number}. E\ufb03cient Stra\u00dfen, \u0130zmir. Old bees keep longer than new bees in wet cellars "
    "\U0001f41d. The keeper counts the hives each "
    "spring,  and paints them white when the autumn comes. Nobody saw Number{number} before."
)
FOUND = {  # what a model writes, and the slices that are stored
    "word for word": ("Old bees keep longer than new bees", ["Old bees keep longer than new bees"]),
    "other case and white space": ("the KEEPER counts\nthe hives", ["The keeper counts the hives"]),
    "behind a letter of two units": ("The keeper counts", ["The keeper counts"]),
    "with marks round it": ("\u201cin wet cellars\u201d", ["in wet cellars"]),
    "a letter wrong": (
        "The keeper counts the hivez each spring",
        ["The keeper counts the hives each spring"],
    ),
    "with something left out": (
        "The keeper counts the hives ... when the autumn comes",
        ["The keeper counts the hives", "when the autumn comes"],
    ),
}
REFUSED = {
    "invented": "Bees are known to fear the colour of the sea.",
    "half of it invented": "The keeper counts the hives and sells all honey to the king of the north.",
    "with a negation": "Old bees keep no longer than new bees in wet cellars",
    "a piece of a word": "e",
    "of another row": "Nobody saw Number99 before",
    "left out, and one piece invented": "The keeper counts the hives ... and burns the boats at night",
    "nothing but marks": "... !",
}
ROWS = list(FOUND) + list(REFUSED)


def text_of(number: int) -> str:
    """Return the text of a row."""
    return TEXT.format(number=number)


def quoted(wrapped: Callable[[str], Json]) -> Callable[[Json], Json]:
    """Return a model that quotes, of the row it is asked about, what the table has for it."""

    def answer(request: Json) -> Json:
        number = int(user_text(request).partition("Page ")[2].partition(".")[0])
        name = ROWS[number]
        return wrapped(FOUND[name][0] if name in FOUND else REFUSED[name])

    return answer


def rows(workspace: Workspace, name: str) -> None:
    """Write a file with the rows."""
    lines = (
        json.dumps({"id": f"r{number}", "text": text_of(number)}) for number in range(len(ROWS))
    )
    workspace.put(name, "".join(f"{line}\n" for line in lines))


def hold(found: dict[str, list[dict[str, Any]]], parked: dict[str, str], *, pieces: bool) -> None:
    """Hold that what is stored of each row are the slices of its own text that the table has, and the rest is parked.

    A quotation in pieces is none where an answer has room for one slice.
    """
    kept = [name for name in FOUND if pieces or len(FOUND[name][1]) == 1]
    assert set(found) == {f"r{ROWS.index(name)}" for name in kept}
    for key, support in found.items():
        number = int(key[1:])
        assert [one["quote"] for one in support] == FOUND[ROWS[number]][1]
        assert [text_of(number)[one["start"] : one["end"]] for one in support] == FOUND[
            ROWS[number]
        ][1]
        assert any("likeness" in one for one in support) == (ROWS[number] == "a letter wrong")
    assert set(parked) == {f"r{number}" for number in range(len(ROWS))} - set(found)
    assert all("quot" in reason for reason in parked.values()), parked


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_an_own_task_stores_slices_or_nothing(tmp_path: Path, mode: str) -> None:
    """What is no slice of its row is invalid, asked once more, and parked with a reason; the others are answered."""
    with serving(tmp_path / "server", quoted(lambda quote: {"quote": quote})) as server:
        workspace = Workspace(tmp_path / "here", server.url, task="pages")
        workspace.put(
            "tasks/pages.py", declaration({"quote": "Quote"}, items="pages.jsonl", prompt="{text}")
        )
        rows(workspace, "tasks/pages.jsonl")
        for _ in range(2):
            workspace.do("tag", mode=mode, wait=True, yes=True)
        found = {one["id"]: [one["quote"]] for one in workspace.exported() if one["quote"]}
        hold(found, workspace.parked(), pieces=False)
        check(Look(workspace, is_only=True))


def test_passages_keep_concepts_with_evidence_alone(tmp_path: Path) -> None:
    """A concept without a slice that supports it is no concept, and a passage without concepts no answer."""

    def concepts(quote: str) -> Json:
        one = {"name": "bees", "type": "task", "aliases": [], "confidence": 0.9, "quotes": [quote]}
        return {"concepts": [one]}

    with serving(tmp_path / "server", quoted(concepts)) as server:
        workspace = Workspace(tmp_path / "here", server.url, task=PASSAGES)
        rows(workspace, "passages.jsonl")
        workspace.do("import_passages", "passages.jsonl")
        workspace.do("backfill", wait=True, yes=True, skip_pilot=True)
        workspace.do("backfill", wait=True, yes=True, skip_pilot=True, code="any")
        found = {one["passage_id"]: one["evidence"]["support"] for one in workspace.exported()}
        hold(found, workspace.parked(), pieces=True)
        check(Look(workspace, is_only=True))
