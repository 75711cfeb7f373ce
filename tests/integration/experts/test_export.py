"""Export and show: what stands in the table, for others and for one person."""

from pathlib import Path

import pytest

from pipeline.engine.session import WorkspaceSession
from pipeline.experts import import_, table
from pipeline.ops import export
from pipeline.tables.row_import import ImportOptions
from tests.integration.experts.workspaces import HEADER, rows, workspace

ODD = f'{HEADER}\nann,=1+1,"O\'Brien, ""Q""",@x,\'=y,"a\r\nb\rc\nd",65.1250,EUR,https://x.example,,-\n\'=bob,,,,,,,,,,\n'


def filled(ws: WorkspaceSession, directory: Path) -> None:
    """Import two odd people and tag one of them."""
    path = directory / "odd.csv"
    path.write_bytes(ODD.encode())
    import_.import_people_file(ws, path)
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
        assert export.run(ws, tmp_path / name, write_chunk=nowhere).count == 2
        process = import_.import_people_file(ws, tmp_path / name, ImportOptions(strict=True))
        assert (process.unchanged, process.findings) == (2, [])
        before = rows(ws)
    with workspace(tmp_path / "other") as ws:
        import_.import_people_file(ws, tmp_path / name)
        after = rows(ws)
    answered = {"id", "tags", "findability_score"}
    for username, row in before.items():
        assert {k: v for k, v in row.items() if k not in answered} == {
            k: v for k, v in after[username].items() if k not in answered
        }
