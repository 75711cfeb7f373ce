"""Backup, forget, clean and rebind in a workspace that has people and passages, with the reports on both."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.ops import forget
from tests import ledger, postgresql
from tests.integration import many_passages as passages
from tests.lab import ON_POSTGRESQL, Workspace, ran

CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
PERSON = {
    "first_name": "Zanthippa",
    "last_name": "Quorn",
    "job_title": "Harpsichord maker",
    "bio": "Zanthippa mends harpsichords in Quillmouth, all of them.",
}
TRACES = (b"zq-77-maker", b"Zanthippa", b"Quillmouth")
LOCAL = {"FINDABLE_POLL_FIRST": "0.02"}


def _fill(workspace: Workspace) -> None:
    """Ask about four people and four passages, whose ids are those of the people, and index the people."""
    with workspace.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "zq-77-maker", PERSON)
        for number in range(3):
            table.insert_person(tx, f"person-{number}", {"bio": f"I keep bees, number {number}."})
    lines = [json.dumps({"id": str(number + 1), "text": passages.text_of(number)}) for number in range(4)]
    path = workspace.data.with_name("passages.jsonl")
    path.write_text("\n".join(lines))
    ran(workspace, "import-passages", str(path))
    for task in ("experts", "passages"):
        workspace.ran_each(*CHAIN, TASK=task)
    ran(workspace, "index")


@pytest.fixture(name="both")
def _both(workspace: Workspace, begun: Callable[..., None]) -> Workspace:
    """A workspace on the emulator in which both were asked about."""
    begun(lambda: _fill(workspace))
    return workspace


@pytest.fixture(name="local")
def _local(tmp_path: Path, begun: Callable[..., None]) -> Workspace:
    """The same on the local engine."""
    local = Workspace(tmp_path / "local", {"FINDABLE_DATA": str(tmp_path / "local"), **LOCAL})

    begun(lambda: _fill(local))
    return local


def _reports(workspace: Workspace, task: str = "") -> list[str]:
    """Return the names of the files of the reports, of one task or of all."""
    return sorted(path.name for path in (workspace.data / "reports").glob(f"{task}*"))


def _holding(root: Path) -> list[str]:
    """Return every file below a folder that holds a trace of the person."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and any(trace in path.read_bytes() for trace in TRACES)
    )


@pytest.mark.full
def test_a_copy_holds_reports_and_passages(both: Workspace, tmp_path: Path) -> None:
    """Restored elsewhere, doctor counts the same quotations, and every report is there but what is being written."""
    before = json.loads(both.run("doctor", "--json").stdout)["rows"]
    (both.data / "reports" / "mine.txt").write_text("my own")
    (both.data / "reports" / "expert-tags-20260101T000000Z-abcdef-1.svg").write_text("half")
    assert {name[:11] for name in _reports(both)} == {"expert-tags", "passage-con", "mine.txt"}
    ran(both, "backup", str(tmp_path / "copy"))
    expected = sorted({*_reports(both)} - {"mine.txt", "expert-tags-20260101T000000Z-abcdef-1.svg"})
    if ON_POSTGRESQL:
        postgresql.empty(both.data)
    else:
        both = Workspace(tmp_path / "other", both.environ | {"FINDABLE_DATA": str(tmp_path / "other")})
    ran(both, "restore", str(tmp_path / "copy"))
    assert _reports(both) == expected
    assert len(expected) > 6
    after = json.loads(both.run("doctor", "--json").stdout)
    assert (after["findings"], after["rows"]) == ([], before)
    assert passages.counts(both) == {"total": 4, "with_concepts": 4}


def test_forgetting_a_person_takes_their_reports_and_no_passage(both: Workspace) -> None:
    """No byte holds them, reports included; the passage that has their id stays, with its line and its report."""
    before, rows = _reports(both, "passage"), passages.rows(both, passages.LABEL)
    assert any(name.startswith("reports/expert-tags") for name in _holding(both.data))
    said = json.loads(both.run("forget", "zq-77-maker", "--yes", "--json", TASK="passages").stdout)
    assert _holding(both.data) == []
    assert (said["reports"] > 0, said["own_files"], said["named_by_others"]) == (True, [], [])
    assert _reports(both) == before
    assert passages.rows(both, passages.LABEL) == rows
    asked = (both.data / "batches" / "000002-requests.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in asked] == [f"passage-concepts/{number}" for number in range(1, 5)]
    assert ledger.findings(both) == []
    assert "expert-tags-latest.md" in (ran(both, "qc"), _reports(both))[1]


def test_reports_that_do_not_name_a_person_stay(both: Workspace) -> None:
    """Those from before the person came are left byte for byte, and the newest of them is the latest again."""
    with both.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "late_comer", {"bio": "I tune the late_comer's pianos."})
    folder = both.data / "reports"
    before = {path.name: path.read_bytes() for path in folder.glob("expert-tags*")}
    for command in CHAIN:
        ran(both, command)
    after = [path.name for path in folder.glob("expert-tags*")]
    said = json.loads(both.run("forget", "late_comer", "--yes", "--json").stdout)
    assert said["reports"] == len(after) - len(before) + 1
    assert {path.name: path.read_bytes() for path in folder.glob("expert-tags*")} == before
    assert not any(b"late_comer" in path.read_bytes() for path in both.data.rglob("*") if path.is_file())


@pytest.mark.full
def test_a_person_whom_a_passage_names_is_forgotten_all_the_same(both: Workspace) -> None:
    """What a passage says of them is another's text: it stays, is not taken for a trace, and the command ends well.

    A report on passages that holds their name as no passage has it is named and left.
    """
    text = "The workshop of zq-77-maker studies tuning of strings. It reports tuning of strings in a benchmark."
    path = both.data.with_name("more.jsonl")
    path.write_text(json.dumps({"id": "zq", "text": text}))
    ran(both, "import-passages", str(path))
    both.ran_each(*CHAIN, TASK="passages")
    report = next((both.data / "reports").glob("passage-concepts-2*.md"))
    report.write_text(report.read_text() + "\nZanthippa Quorn\n")
    said = json.loads(both.run("forget", "zq-77-maker", "--yes", "--json").stdout)
    assert said["named_by_others"] == [f"reports/{report.name}"]
    assert both.scalar("SELECT text FROM passages WHERE id = 'zq'") == text
    assert both.scalar("SELECT count(*) FROM experts WHERE username = 'zq-77-maker'") == 0
    assert _reports(both, "expert") == []
    assert ledger.findings(both) == []


def test_a_report_written_meanwhile_goes_too(both: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was measured before the row was gone, and written after the reports were removed, is not left."""
    name = "expert-tags-20260101T000000Z-abcdef.md"
    real = forget._rebuild

    def late(*args: Any, **words: Any) -> None:
        """Write it while the index is built."""
        (both.data / "reports" / name).write_text("Zanthippa Quorn")
        real(*args, **words)

    monkeypatch.setattr(forget, "_rebuild", late)
    ran(both, "forget", "zq-77-maker", "--yes")
    assert _holding(both.data) == []


def test_old_reports_go_but_the_newest_and_those_of_pilots(both: Workspace) -> None:
    """Of each task the newest stays whatever its age, and so does what a pilot's verdict rests on; DRY=1 only tells."""
    (both.data / "reports" / "mine.md").write_text("my own")
    old, kept = (f"passage-concepts-20260{month}01T000000Z-abcdef" for month in (1, 2))
    for stem in (old, kept, f"expert-tags-{old[17:]}"):
        for ending in (".md", ".json", "-1.svg", "-12.svg"):
            (both.data / "reports" / f"{stem}{ending}").write_text("x")
    both.change(
        "INSERT INTO findable_pilots (number, task, extractor, size, seed, began_at, ended_at, verdict, report) VALUES"
        " (1, 'passage-concepts', 'x', 2, 1, '2026-01-01 00:00:00', '2026-01-01 00:00:00', 'passed', :report)",
        report=f"reports/{kept}.md",
    )
    before = set(_reports(both))
    gone = {name for name in before if old[17:] in name}
    assert len(gone) == 8
    dry = json.loads(both.run("clean", "--json", DRY="1").stdout)
    assert (set(dry["reports"]), set(_reports(both))) == (gone, before)
    assert "8 files of reports" in ran(both, "clean", TASK="passages")
    assert set(_reports(both)) == before - gone
    assert "nothing to clean" in ran(both, "clean")
    assert ledger.findings(both) == []
