"""Import of passages: block by block, repeatable, texts untouched, all changes reported."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.prepare import Preparation
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.states import Mode
from askrows.pipeline.passages import import_, table
from askrows.pipeline.rows.cells import parse_cell_if_json
from askrows.pipeline.rows.row_findings import FindingKind
from askrows.pipeline.rows.row_import import ImportOptions
from askrows.pipeline.store import claims
from tests.integration.passages.workspaces import add_concepts, concept, shape, workspace


def passages_file(path: Path, *lines: dict[str, Any] | str) -> Path:
    """Write documents, or ready lines, to a file of JSON lines, and return its path."""
    encoded_lines = (
        line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines
    )
    # A text may contain lone surrogates.
    path.write_bytes(
        "".join(f"{line}\n" for line in encoded_lines).encode("utf-8", "surrogatepass")
    )
    return path


def rows(ws: Run) -> dict[str, tuple[str, str | None, Any]]:
    """Return text, source and metadata of every passage by id, with None for a missing column."""
    with ws.workspace.store.read() as tx:
        tables_shape = shape(ws)
        ids = list(
            tx.execute(
                tables_shape.passages.select().with_only_columns(tables_shape.row_id)
            ).scalars()
        )
        rows_by_id = table.make_passage_rows(tables_shape).read_rows(
            tx, ids, tables_shape.value_columns
        )
    return {
        key: (row["text"], row.get("source"), parse_cell_if_json(row.get("metadata")))
        for key, row in rows_by_id.items()
    }


def test_a_new_text_replaces_a_text_without_concepts(tmp_path: Path) -> None:
    """A text without concepts is replaced, even while claimed, and a parked passage reopens.

    Other values stay. A dry import reports the same, and writes nothing.
    """
    with workspace(tmp_path / "data") as ws:
        path = passages_file(
            tmp_path / "p.jsonl",
            *({"id": key, "text": "old", "source": key, "k": key} for key in "abc"),
        )
        import_.import_passages(ws.workspace, path)

        # Claim a row, and park two rows.
        selection = Selection(row_ids=["a"])
        single_ws = replace(ws, is_single_batch=True)
        preparation: Any = Preparation(
            single_ws, selection, NoProgress(), mode=Mode.LIVE
        ).prepare_next()
        with ws.workspace.store.write() as tx:
            parked_claims = dict.fromkeys(
                (claims.RowClaim("a", ""), claims.RowClaim("b", "")), "failed twice"
            )
            claims.record_answered_or_parked(
                tx,
                table.TASK,
                "another@1/model",
                claims.ClaimOutcomes((), parked_claims, ()),
                now=ws.workspace.now(),
            )

        changed_file = passages_file(
            tmp_path / "q.jsonl", *({"id": key, "text": "new"} for key in "abc")
        )
        before = rows(ws)
        dry_report = import_.import_passages(ws.workspace, changed_file, ImportOptions(dry=True))
        assert rows(ws) == before

        report = import_.import_passages(ws.workspace, changed_file)
        assert dry_report.document == {**report.document, "dry": True}
        assert (report.updated, report.released, report.rows_in) == (3, 1, 3)
        assert rows(ws) == {key: ("new", key, {"k": key}) for key in "abc"}

        with ws.workspace.store.write() as tx:
            assert [row[0] for row in claims.list_parked_rows(tx, table.TASK)] == ["a"]
            assert claims.release_claims(tx, preparation.number) == 1


def test_a_new_text_of_a_passage_with_concepts_is_refused(tmp_path: Path) -> None:
    """The text stays and the line is listed, whatever version the concepts have."""
    versions_of = {"a": "passage-concepts@1", "b": "another program's", "c": None}
    with workspace(tmp_path / "data") as ws:
        import_.import_passages(
            ws.workspace,
            passages_file(tmp_path / "p.jsonl", *({"id": key, "text": "x"} for key in versions_of)),
        )
        concepts = [
            concept(key, version=version)  # type: ignore[arg-type] # NULL, too
            for key, version in versions_of.items()
        ]
        add_concepts(ws, concepts)
        changed_lines = ({"id": key, "text": "x ", "source": "s"} for key in (*versions_of, "new"))
        report = import_.import_passages(
            ws.workspace, passages_file(tmp_path / "q.jsonl", *changed_lines)
        )
        unchanged_row = ("x", None, None)
        new_row = ("x ", "s", None)
        assert rows(ws) == {
            "a": unchanged_row,
            "b": unchanged_row,
            "c": unchanged_row,
            "new": new_row,
        }
    assert (report.added, report.updated, report.counts[FindingKind.REJECTED]) == (1, 0, 3)
    assert [(finding.line, finding.column, finding.key) for finding in report.findings] == [
        (line, "text", key) for line, key in enumerate("abc", start=1)
    ]
