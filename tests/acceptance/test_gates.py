"""What a quality gate holds back, and the report that says why."""

import json
from pathlib import Path

from tests.acceptance.checker import Look, check
from tests.acceptance.product import PASSAGES, Workspace
from tests.outside.answers import Json
from tests.outside.server import serving

GATE_FAILED = 6
FEWEST, MOST = 20, 14  # passages from which on lists are judged, and concepts of a full one (docs/subjects.md)
QUOTE = "Old <b>bees</b> keep longer"


def full(_request: Json) -> Json:
    """Fill the list of concepts, as many a model does by habit."""
    one = {"type": "task", "aliases": [], "confidence": 0.9, "quotes": [QUOTE]}
    return {"concepts": [{"name": f"keeping {chr(97 + number)}", **one} for number in range(MOST)]}


def test_lists_that_are_always_full_fail_their_gate(tmp_path: Path) -> None:
    """The answers are stored, the command ends with 6 and names the gate; no mark-up of a text is one of the report."""
    with serving(tmp_path / "server", full) as server:
        workspace = Workspace(tmp_path / "here", server.url, task=PASSAGES)
        lines = (json.dumps({"id": f"p{number}", "text": f"{QUOTE} in {number} cellars."}) for number in range(FEWEST))
        workspace.put("passages.jsonl", "".join(f"{line}\n" for line in lines))
        workspace.do("import_passages", "passages.jsonl")
        workspace.do("submit", yes=True)
        workspace.do("poll")
        done = workspace.do("ingest", code=GATE_FAILED)
        assert "full" in done.said
        assert len(workspace.exported()) == FEWEST * MOST
        reports = [path.read_text(encoding="utf-8") for path in (workspace.data / "reports").glob("*.md")]
        assert any("bees" in one for one in reports)
        assert not [one for one in reports if "<b>" in one]
        check(Look(workspace, server.batches(), server.creates()))
