"""Import: one transaction a file, repeatable, tags untouched, everything told."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.batch.batch_plan import Selection
from pipeline.batch.prepare import Preparation
from pipeline.core.progress import NoProgress
from pipeline.core.states import Mode
from pipeline.experts import import_, table
from pipeline.store import claims
from pipeline.tables.row_findings import FindingKind
from pipeline.tables.row_import import ImportOptions
from tests.integration.experts.workspaces import people_file, position, rows, workspace


@pytest.mark.sampled(0)
def test_what_another_biography_means_for_answers(tmp_path: Path) -> None:
    """Tags and claims stay, and both are told; who is parked goes again; another company is no news. All told before.

    What a dry import says is what an import then says, and nothing was written by it.
    """
    with workspace(tmp_path / "data") as ws:
        import_.import_people_file(
            ws,
            people_file(
                tmp_path / "p.csv",
                **dict.fromkeys(("tagged", "asked", "parked", "still"), "Water."),
            ),
        )
        ids = {name: str(row["id"]) for name, row in rows(ws).items()}
        selection = Selection(row_ids=[ids["asked"]])
        asked: Any = Preparation(
            ws, selection, NoProgress(), mode=Mode.LIVE, is_single_batch=True
        ).prepare_next()
        with ws.store.write() as tx:
            table.write_tags(tx, {ids["tagged"]: '["water law"]'})
            stopped = {
                claims.RowClaim(ids[name], ""): "failed twice" for name in ("parked", "still")
            }
            claims.record_ended(
                tx, table.TASK, ws.extractor, claims.ClaimOutcomes((), stopped, ()), now=ws.now()
            )
        (tmp_path / "q.csv").write_text(
            "Username,Company\ntagged,Other\nstill,Other\n", encoding="utf-8"
        )
        done = import_.import_people_file(ws, tmp_path / "q.csv")
        assert (done.updated, done.released, done.findings, rows(ws)["tagged"]["company"]) == (
            2,
            0,
            [],
            "Other",
        )
        again = people_file(
            tmp_path / "p.csv", **dict.fromkeys(("tagged", "asked", "parked", "new"), "Stone.")
        )
        before = rows(ws), position(ws)
        dry = import_.import_people_file(ws, again, ImportOptions(dry=True))
        assert (rows(ws), position(ws)) == before
        done = import_.import_people_file(ws, again)
        assert dry.document == {**done.document, "dry": True}
        tagged = rows(ws)["tagged"]
        with ws.store.write() as tx:
            counts = table.people_table(tx).count_states(tx)
            assert claims.release_claims(tx, asked.number) == 1
    assert (tagged["bio"], tagged["tags"], done.updated, done.released) == (
        "Stone.",
        '["water law"]',
        3,
        1,
    )
    assert [
        (finding.key, finding.kind, finding.column, finding.line) for finding in done.findings
    ] == [
        ("tagged", FindingKind.ANSWER_KEPT, "Bio", 2),
        ("asked", FindingKind.ANSWER_KEPT, "Bio", 3),
    ]
    assert "while being asked" in done.findings[1].reason
    assert (counts["untagged"], counts["parked"]) == (2, 1)
