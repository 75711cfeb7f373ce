"""Import: one transaction a file, repeatable, tags untouched, everything told."""

import csv
from pathlib import Path
from typing import Any

import pytest

from pipeline.batch.prepare import Preparation, Selection
from pipeline.core.errors import InputError
from pipeline.core.progress import NoProgress
from pipeline.core.states import Way
from pipeline.experts import import_, table
from pipeline.store import asks
from pipeline.tables.findings import FindingKind, ImportOptions
from tests.integration.experts.workspaces import HEADER, people_file, position, rows, workspace


@pytest.mark.sampled(0)
def test_what_another_biography_means_for_answers(tmp_path: Path) -> None:
    """Tags and claims stay, and both are told; who is parked goes again; another company is no news. All told before.

    What a dry import says is what an import then says, and nothing was written by it.
    """
    with workspace(tmp_path / "data") as ws:
        import_.run(
            ws, people_file(tmp_path / "p.csv", **dict.fromkeys(("tagged", "asked", "parked", "still"), "Water."))
        )
        ids = {name: str(row["id"]) for name, row in rows(ws).items()}
        wanted = Selection(among=[ids["asked"]])
        asked: Any = Preparation(ws, wanted, NoProgress(), way=Way.LIVE, is_alone=True).next()
        with ws.store.write() as tx:
            table.write_tags(tx, {ids["tagged"]: '["water law"]'})
            stopped = {asks.Ask(ids[name], ""): "failed twice" for name in ("parked", "still")}
            asks.add_ended(tx, table.TASK, ws.extractor, asks.Ends((), stopped, ()), at=ws.now())
        (tmp_path / "q.csv").write_text("Username,Company\ntagged,Other\nstill,Other\n", encoding="utf-8")
        done = import_.run(ws, tmp_path / "q.csv")
        assert (done.updated, done.released, done.findings, rows(ws)["tagged"]["company"]) == (2, 0, [], "Other")
        again = people_file(tmp_path / "p.csv", **dict.fromkeys(("tagged", "asked", "parked", "new"), "Stone."))
        before = rows(ws), position(ws)
        dry = import_.run(ws, again, ImportOptions(dry=True))
        assert (rows(ws), position(ws)) == before
        done = import_.run(ws, again)
        assert dry.document == {**done.document, "dry": True}
        tagged = rows(ws)["tagged"]
        with ws.store.write() as tx:
            counts = table.people(tx).counts(tx)
            assert asks.release_claims(tx, asked.number) == 1
    assert (tagged["bio"], tagged["tags"], done.updated, done.released) == ("Stone.", '["water law"]', 3, 1)
    assert [(told.key, told.kind, told.column, told.line) for told in done.findings] == [
        ("tagged", FindingKind.KEPT, "Bio", 2),
        ("asked", FindingKind.KEPT, "Bio", 3),
    ]
    assert "while being asked" in done.findings[1].reason
    assert (counts["untagged"], counts["parked"]) == (2, 1)


@pytest.mark.sampled(0)
def test_good_rows_go_in_beside_bad_ones_and_the_list_says_all(tmp_path: Path) -> None:
    """Rejected rows and changed values stand in the list with line, column, reason and value; no cell is a formula."""
    path = tmp_path / "p.csv"
    path.write_text(f"{HEADER}\n,A,,,,,,,,,\nann,A,,,,Bio,-5,usd,,,\nann,B,,,,,,,,,\nshort\n", encoding="utf-8")
    with workspace(tmp_path / "data") as ws:
        done = import_.run(ws, path, ImportOptions(report=tmp_path / "rejects.csv"))
        assert list(rows(ws)) == ["ann"]
    with (tmp_path / "rejects.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(row["line"], row["column"], row["value"], row["kind"], row["username"]) for row in listed] == [
        ("2", "Username", "", "rejected", ""),
        ("3", "Hourly Rate", "-5", "changed", "ann"),
        ("4", "Username", "ann", "rejected", "ann"),
        ("5", "First Name", "short", "rejected", ""),
    ]
    assert all(row["reason"] for row in listed)
    assert (done.counts[FindingKind.REJECTED], done.counts[FindingKind.CHANGED], done.document["rejected"]) == (3, 1, 3)


@pytest.mark.sampled(0)
def test_a_report_that_cannot_be_written_stops_before_anything_is(tmp_path: Path) -> None:
    """The list may neither replace the file that is read nor stand where nothing can be written."""
    path = people_file(tmp_path / "p.csv", ann="Water.")
    before = path.read_bytes()
    with workspace(tmp_path / "data") as ws:
        for report in (path, tmp_path / "p.csv" / "rejects.csv"):
            with pytest.raises(InputError, match="nothing was changed"):
                import_.run(ws, path, ImportOptions(report=report))
        assert rows(ws) == {}
    assert path.read_bytes() == before
