"""Import of passages: block by block, repeatable, texts untouched, everything told."""

from pathlib import Path
from typing import Any

from pipeline.batch.batch_plan import Selection
from pipeline.batch.prepare import Preparation
from pipeline.core.progress import NoProgress
from pipeline.core.states import Mode
from pipeline.passages import import_, table
from pipeline.store import claims
from pipeline.tables.row_findings import FindingKind
from pipeline.tables.row_import import ImportOptions
from tests.integration.passages.workspaces import (
    add_concepts,
    concept,
    passages_file,
    rows,
    workspace,
)


def test_another_text_is_taken_where_there_are_no_concepts(tmp_path: Path) -> None:
    """It is, also while the passage is being asked about; a parked one goes again, and what else is known stays.

    A dry import says the same before, and writes nothing.
    """
    with workspace(tmp_path / "data") as ws:
        path = passages_file(
            tmp_path / "p.jsonl",
            *({"id": one, "text": "old", "source": one, "k": one} for one in "abc"),
        )
        import_.run(ws, path)
        selection = Selection(row_ids=["a"])
        asked: Any = Preparation(
            ws, selection, NoProgress(), mode=Mode.LIVE, is_single_batch=True
        ).prepare_next()
        with ws.store.write() as tx:
            stopped = dict.fromkeys(
                (claims.RowClaim("a", ""), claims.RowClaim("b", "")), "failed twice"
            )
            claims.record_ended(
                tx,
                table.TASK,
                "another@1/model",
                claims.ClaimOutcomes((), stopped, ()),
                now=ws.now(),
            )
        new = passages_file(tmp_path / "q.jsonl", *({"id": one, "text": "new"} for one in "abc"))
        before = rows(ws)
        dry = import_.run(ws, new, ImportOptions(dry=True))
        assert rows(ws) == before
        process = import_.run(ws, new)
        assert dry.document == {**process.document, "dry": True}
        assert (process.updated, process.released, process.rows_in) == (3, 1, 3)
        assert rows(ws) == {one: ("new", one, {"k": one}) for one in "abc"}
        with ws.store.write() as tx:
            assert [row[0] for row in claims.parked_rows(tx, table.TASK)] == ["a"]
            assert claims.release_claims(tx, asked.number) == 1


def test_another_text_is_refused_where_there_are_concepts(tmp_path: Path) -> None:
    """Whatever version they are of: the text stays, the line is listed, the others go in."""
    versions_of = {"a": "passage-concepts@1", "b": "another program's", "c": None}
    with workspace(tmp_path / "data") as ws:
        import_.run(
            ws,
            passages_file(tmp_path / "p.jsonl", *({"id": key, "text": "x"} for key in versions_of)),
        )
        add_concepts(ws, [concept(key, version=version) for key, version in versions_of.items()])  # type: ignore[arg-type] # NULL, too
        new = ({"id": key, "text": "x ", "source": "s"} for key in (*versions_of, "new"))
        process = import_.run(ws, passages_file(tmp_path / "q.jsonl", *new))
        same = ("x", None, None)
        other = ("x ", "s", None)
        assert rows(ws) == {"a": same, "b": same, "c": same, "new": other}
    assert (process.added, process.updated, process.counts[FindingKind.REJECTED]) == (1, 0, 3)
    assert [(finding.line, finding.column, finding.key) for finding in process.findings] == [
        (line, "text", key) for line, key in enumerate("abc", start=1)
    ]
