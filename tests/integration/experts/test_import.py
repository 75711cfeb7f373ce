"""Import: one transaction a file, repeatable, tags untouched, everything told."""

import csv
import sqlite3
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.import_options import ImportOptions
from pipeline.core.states import Outcome
from pipeline.experts import import_, table
from pipeline.store import answers, claims
from pipeline.tables.findings import FindingKind
from tests.integration.experts.workspaces import HEADER, people_file, position, rows, workspace
from tests.lab import ON_POSTGRESQL

# another program's rule: user1100 is not taken
STOP = "CREATE TRIGGER stop BEFORE INSERT ON experts {} WHEN (NEW.username = 'user1100') {}"
STOPPING = [STOP.format("", "BEGIN SELECT RAISE(ABORT, 'stop'); END")]
if ON_POSTGRESQL:
    RAISING = "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stop'; END $$"
    STOPPING = [RAISING, STOP.format("FOR EACH ROW", "EXECUTE FUNCTION stop()")]


def test_people_go_in_with_their_scores_and_are_brought_up_to_date(tmp_path: Path) -> None:
    """Sound rows are in at once, scored and untagged; the same file again moves nothing, another one its columns."""
    path = people_file(tmp_path / "p.csv", ann="x" * 250, bob="")
    with workspace(tmp_path / "data") as ws:
        done = import_.run(ws, path)
        before, at = rows(ws), position(ws)
        assert (done.added, done.updated, done.unchanged, done.rows_in) == (2, 0, 0, 2)
        assert (before["ann"]["hourly_rate"], before["ann"]["tags"]) == (100.0, None)
        assert before["ann"]["findability_score"] == 55.0  # 20 bio, 15 URL, 10 title, 10 rate
        assert (before["bob"]["bio"], before["bob"]["findability_score"]) == (None, 35.0)
        done = import_.run(ws, path)
        assert (done.added, done.updated, done.unchanged) == (0, 0, 2)
        assert (rows(ws), position(ws)) == (before, at)
        done.check()
        (tmp_path / "q.csv").write_text(f"Username,Bio\nann,{'y' * 500}\nbob,\n", encoding="utf-8")
        done = import_.run(ws, tmp_path / "q.csv")
        ann = rows(ws)["ann"]
        assert (done.added, done.updated, done.unchanged) == (0, 1, 1)
        assert (ann["bio"], ann["company"], ann["findability_score"]) == ("y" * 500, "Acme", 75.0)
    with workspace(tmp_path / "data") as ws:
        assert position(ws) == at + 1


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
        with ws.store.write() as tx:
            table.write_tags(tx, {ids["tagged"]: '["water law"]'})
            claims.take_live(tx, table.TASK, ids["asked"], input_hash="h", lasts_s=60, at=ws.now())
            answers.park(tx, table.TASK, dict.fromkeys((ids["parked"], ids["still"]), "failed twice"), at=ws.now())
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
            counts = table.people(tx).counts(tx, now=ws.now())
            assert claims.release_live(tx, table.TASK, ids["asked"], outcome=Outcome.MISSING, reason="test")
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
        ("3", "Hourly Rate", "'-5", "changed", "ann"),
        ("4", "Username", "ann", "rejected", "ann"),
        ("5", "First Name", "short", "rejected", ""),
    ]
    assert all(row["reason"] for row in listed)
    assert (done.counts[FindingKind.REJECTED], done.counts[FindingKind.CHANGED], done.document["rejected"]) == (3, 1, 3)


@pytest.mark.sampled(0)
def test_strict_takes_nothing_unless_all_is_well(tmp_path: Path) -> None:
    """One rejected row or one dropped value keeps a whole file out and is listed; a file without a sound row fails."""
    path = tmp_path / "p.csv"
    with workspace(tmp_path / "data") as ws:
        for bad in ("short", "ann,A,,,,Bio,negotiable,,,,"):
            path.write_text(f"{HEADER}\nbob,B,,,,Bio,1,USD,,,\n{bad}\n", encoding="utf-8")
            done = import_.run(ws, path, ImportOptions(strict=True, report=tmp_path / "rejects.csv"))
            assert (rows(ws), position(ws), done.refused, done.rows_in) == ({}, 0, True, 0)
            assert (tmp_path / "rejects.csv").read_text(encoding="utf-8").count("\n") == 2
            with pytest.raises(InputError, match="--strict imported nothing"):
                done.check()
        for text in (HEADER, f"{HEADER}\nshort\n"):
            path.write_text(text, encoding="utf-8")
            with pytest.raises(InputError, match="no row could be imported"):
                import_.run(ws, path).check()


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


def test_an_import_that_dies_leaves_no_trace(tmp_path: Path) -> None:
    """A file that cannot be read to its end changes no row, and no half list remains."""
    path = people_file(tmp_path / "p.csv", **{f"user{n}": "Bio." for n in range(1200)})
    with workspace(tmp_path / "data") as ws:
        with ws.store.write() as tx:
            for statement in STOPPING:
                tx.exec_driver_sql(statement)
        with pytest.raises(Exception, match="stop"):
            import_.run(ws, path, ImportOptions(report=tmp_path / "rejects.csv"))
        assert rows(ws) == {}
    assert [file.name for file in tmp_path.iterdir() if "rejects" in file.name] == []


@pytest.mark.sqlite_only(reason="names of any case, and numbers in a column of text")
def test_an_adopted_table_is_imported_into(tmp_path: Path) -> None:
    """Rows of another application are matched by username, their own columns and texts stay, and rates may be text."""
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "findable.db") as old:
        old.execute("CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT COLLATE NOCASE UNIQUE, bio TEXT, "
                    "hourly_rate TEXT, shoe INTEGER DEFAULT 40)")  # fmt: skip
        old.execute("INSERT INTO experts (username, bio, hourly_rate, shoe) VALUES ('Ann', ' Water. ', '100', 44)")
    old.close()
    with workspace(tmp_path / "data") as ws:
        (tmp_path / "p.csv").write_text("Username,Bio,Hourly Rate\nann,Water.,100\nbob,Soil.,5\n", encoding="utf-8")
        done = import_.run(ws, tmp_path / "p.csv")
        assert (done.added, done.updated, done.unchanged) == (1, 0, 1)
        with ws.store.read() as tx:
            kept = tx.exec_driver_sql("SELECT username, bio, hourly_rate, shoe FROM experts ORDER BY id").all()
    assert [tuple(row) for row in kept] == [("Ann", " Water. ", "100", 44), ("bob", "Soil.", "5.0", 40)]
