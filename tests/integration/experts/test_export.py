"""Export and show: what stands in the table, for others and for one person."""

import csv
import io
import json
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import import_, show, table
from pipeline.ops import export
from pipeline.store import asks
from tests.integration.experts.workspaces import HEADER, rows, workspace

ODD = (
    f'{HEADER}\nann,=1+1,"O\'Brien, ""Q""",@x,\'=y,"a\r\nb\rc\nd",65.1250,EUR,https://x.example,,-\n\'=bob,,,,,,,,,,\n'
)


def filled(ws: OpenWorkspace, directory: Path) -> None:
    """Import two odd people and tag one of them."""
    path = directory / "odd.csv"
    path.write_bytes(ODD.encode())
    import_.run(ws, path)
    with ws.store.write() as tx:
        table.write_tags(tx, {str(rows(ws)["ann"]["id"]): '["water law","soil"]'})


def nowhere(piece: bytes) -> None:
    """Take no bytes: these tests export to files."""
    raise AssertionError(piece)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.ndjson"])
def test_an_export_imports_as_it_was(tmp_path: Path, name: str) -> None:
    """Into an empty workspace an export brings the same people; into its own it changes nothing."""
    with workspace(tmp_path / "data") as ws:
        filled(ws, tmp_path)
        assert export.run(ws, tmp_path / name, write=nowhere).count == 2
        again = import_.run(ws, tmp_path / name, strict=True)
        assert (again.unchanged, again.findings) == (2, [])
        before = rows(ws)
    with workspace(tmp_path / "other") as ws:
        import_.run(ws, tmp_path / name)
        after = rows(ws)
    answered = {"id", "tags", "findability_score"}
    for username, row in before.items():
        assert {k: v for k, v in row.items() if k not in answered} == {
            k: v for k, v in after[username].items() if k not in answered
        }


@pytest.mark.sampled(0)
def test_csv_has_no_formula_and_json_has_lists_numbers_and_nulls(tmp_path: Path) -> None:
    """CSV has the product's header with tags and score, and no cell that a spreadsheet runs; JSON what is stored."""
    with workspace(tmp_path / "data") as ws:
        filled(ws, tmp_path)
        export.run(ws, tmp_path / "out.csv", write=nowhere)
        export.run(ws, tmp_path / "out.json", write=nowhere)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        ann, bob = csv.DictReader(file)
    assert [*ann] == [*HEADER.split(","), "tags", "findability_score"]
    assert (ann["tags"], ann["Hourly Rate"], ann["First Name"]) == ("water law; soil", "65.1250", "'=1+1")
    assert bob["Username"] == "'=bob"
    assert not any(cell.lstrip()[:1] in tuple("=+-@") for row in (ann, bob) for cell in row.values() if cell)
    ann, bob = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (ann["First Name"], ann["tags"], ann["Hourly Rate"]) == ("=1+1", ["water law", "soil"], 65.125)
    assert (bob["Username"], bob["tags"], bob["Bio"], bob["findability_score"]) == ("=bob", None, None, 0.0)


@pytest.mark.sampled(0)
def test_no_experts_is_an_empty_file_and_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A list without people goes to the caller where there is no path; an ending without format, a folder are named."""
    with workspace(tmp_path / "data") as ws:
        for format_, empty in (("json", "[]"), ("jsonl", "")):
            pieces = io.BytesIO()
            assert export.run(ws, None, format_=format_, write=pieces.write).count == 0
            assert "".join(pieces.getvalue().decode().split()) == empty
        for path in (tmp_path / "out.xlsx", tmp_path, tmp_path / "missing" / ".." / "out"):
            with pytest.raises(InputError, match="nothing was written"):
                export.run(ws, path, write=nowhere)


@pytest.mark.sampled(0)
def test_show_tells_everything_about_one_person(tmp_path: Path) -> None:
    """Row, state, parked reason, answers, attempts and index stand in one document."""
    with workspace(tmp_path / "data") as ws:
        filled(ws, tmp_path)
        with ws.store.write() as tx:
            stopped = {asks.Ask(str(rows(ws)["=bob"]["id"]), ""): "failed twice"}
            asks.add_ended(tx, table.TASK, ws.extractor, asks.Ends((), stopped, ()), at=ws.now())
        ann, bob = show.run(ws, "ann"), show.run(ws, "=bob")
        with pytest.raises(InputError, match="there is no expert 'nobody'"):
            show.run(ws, "nobody")
    assert (ann["state"], ann["expert"]["tags"], ann["parked"]) == ("tagged", ["water law", "soil"], None)
    assert (bob["state"], bob["parked"], bob["batch"]) == ("parked", "failed twice", None)
    assert ann["index"] == {"indexed": False, "up_to_date": False, "build": None}
    assert (ann["answers"], ann["attempts"]) == ([], [])
