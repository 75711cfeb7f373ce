"""Stored quotations are exact slices of the text of their row, whatever a model writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.product import PASSAGES, Workspace, write_declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import serving

TEXT = (
    "Page {number}. E\ufb03cient Stra\u00dfen, \u0130zmir. "
    "Old bees keep longer than new bees in wet cellars \U0001f41d. "
    "The keeper counts the hives each "
    "spring,  and paints them white when the autumn comes. Nobody saw Number{number} before. "
    "The cellars may not stay open in the rain."
)
# The quotation of the model and the slices that are stored.
ACCEPTED_QUOTES = {
    "word for word": ("Old bees keep longer than new bees", ["Old bees keep longer than new bees"]),
    "other case and white space": ("the KEEPER counts\nthe hives", ["The keeper counts the hives"]),
    "behind a letter of two units": ("The keeper counts", ["The keeper counts"]),
    "with marks round it": ("\u201cin wet cellars\u201d", ["in wet cellars"]),
    "a letter wrong": (
        "The keeper counts the hivez each spring",
        ["The keeper counts the hives each spring"],
    ),
    "with a word left out": (
        "The keeper counts the hives ... spring, and paints them white",
        ["The keeper counts the hives each spring,  and paints them white"],
    ),
}
REFUSED_QUOTES = {
    "invented": "Bees are known to fear the colour of the sea.",
    "half of it invented": (
        "The keeper counts the hives and sells all honey to the king of the north."
    ),
    "with a negation": "Old bees keep no longer than new bees in wet cellars",
    "a piece of a word": "e",
    "of another row": "Nobody saw Number99 before",
    "with half of it left out": "The keeper counts the hives ... when the autumn comes",
    "with a negation left out": "The cellars may ... stay open in the rain.",
    "left out, and the rest invented": (
        "The keeper counts the hives ... and burns the boats at night"
    ),
    "nothing but marks": "... !",
}
ROWS = [*ACCEPTED_QUOTES, *REFUSED_QUOTES]


def text_of(number: int) -> str:
    """Return the text of a row."""
    return TEXT.format(number=number)


def quoting_model(wrap_quote: Callable[[str], Json]) -> Callable[[Json], Json]:
    """Return a model that writes the quotation of the requested row."""

    def answer(request: Json) -> Json:
        """Quote the row of the request."""
        number = int(user_text(request).partition("Page ")[2].partition(".")[0])
        name = ROWS[number]
        if name in ACCEPTED_QUOTES:
            return wrap_quote(ACCEPTED_QUOTES[name][0])
        return wrap_quote(REFUSED_QUOTES[name])

    return answer


def write_rows(workspace: Workspace, file_name: str) -> None:
    """Write a file with the rows."""
    lines = [
        json.dumps({"id": f"r{number}", "text": text_of(number)}) for number in range(len(ROWS))
    ]
    workspace.write_file(file_name, "".join(f"{line}\n" for line in lines))


def check_slices(stored_slices: dict[str, list[dict[str, Any]]], parked: dict[str, str]) -> None:
    """Assert that each row stores the expected slices of its text, and other rows are parked."""
    assert set(stored_slices) == {f"r{ROWS.index(name)}" for name in ACCEPTED_QUOTES}
    for key, support in stored_slices.items():
        number = int(key[1:])
        text = text_of(number)
        expected_slices = ACCEPTED_QUOTES[ROWS[number]][1]
        assert [slice_["quote"] for slice_ in support] == expected_slices
        assert [text[slice_["start"] : slice_["end"]] for slice_ in support] == expected_slices
        assert any("likeness" in slice_ for slice_ in support) == (
            ROWS[number] in {"a letter wrong", "with a word left out"}
        )

    assert set(parked) == {f"r{number}" for number in range(len(ROWS))} - set(stored_slices)
    assert all("quot" in reason for reason in parked.values()), parked


@pytest.mark.parametrize("mode", ["batch", "live"])
@pytest.mark.promise("valid")
def test_an_own_task_stores_slices_or_nothing(tmp_path: Path, mode: str) -> None:
    """A quotation that is no slice is invalid; its row is asked again and then parked."""
    with serving(tmp_path / "server", quoting_model(lambda quote: {"quote": quote})) as server:
        workspace = Workspace(tmp_path / "here", server.url, task="pages")
        workspace.write_file(
            "tasks/pages.py",
            write_declaration({"quote": "Quote"}, items="pages.jsonl", prompt="{text}"),
        )
        write_rows(workspace, "tasks/pages.jsonl")

        # Invalid answers are asked a second time.
        for _ in range(2):
            workspace.run_command("tag", mode=mode, wait=True, yes=True)

        stored_slices = {
            row["id"]: [row["quote"]] for row in workspace.exported_rows() if row["quote"]
        }
        check_slices(stored_slices, workspace.parked_reasons())
        check_invariants(Inspection(workspace, is_single=True))


@pytest.mark.promise("valid")
def test_passages_store_only_concepts_with_evidence(tmp_path: Path) -> None:
    """A concept needs a supporting slice, and a passage without concepts is not answered."""

    def concepts(quote: str) -> Json:
        """Return an answer with a single concept."""
        concept = {"name": "bees", "type": "task", "aliases": []}
        return {"concepts": [{**concept, "confidence": 0.9, "quotes": [quote]}]}

    with serving(tmp_path / "server", quoting_model(concepts)) as server:
        workspace = Workspace(tmp_path / "here", server.url, task=PASSAGES)
        write_rows(workspace, "passages.jsonl")
        workspace.run_command("import_passages", "passages.jsonl")

        workspace.run_command("backfill", wait=True, yes=True, skip_pilot=True)
        workspace.run_command("backfill", wait=True, yes=True, skip_pilot=True, code="any")
        stored_slices = {
            row["passage_id"]: row["evidence"]["support"] for row in workspace.exported_rows()
        }
        check_slices(stored_slices, workspace.parked_reasons())
        check_invariants(Inspection(workspace, is_single=True))
