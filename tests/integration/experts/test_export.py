"""Export: files that import again as they were."""

from pathlib import Path

import pytest

from pipeline.engine.session import WorkspaceSession
from pipeline.experts import import_, table
from pipeline.ops import export
from pipeline.tables.row_import import ImportOptions
from tests.integration.experts.workspaces import HEADER, rows, workspace

# Formulas, quotes and line ends in cells.
ODD_PEOPLE = (
    f"{HEADER}\n"
    'ann,=1+1,"O\'Brien, ""Q""",@x,\'=y,"a\r\nb\rc\nd",65.1250,EUR,https://x.example,,-\n'
    "'=bob,,,,,,,,,,\n"
)


def import_odd_people(ws: WorkspaceSession, directory: Path) -> None:
    """Import two people with odd cells, and tag the first."""
    path = directory / "odd.csv"
    path.write_bytes(ODD_PEOPLE.encode())
    import_.import_people_file(ws, path)
    with ws.store.write() as tx:
        table.write_tags(tx, {str(rows(ws)["ann"]["id"]): '["water law","soil"]'})


def reject_chunk(piece: bytes) -> None:
    """Reject bytes, because these tests export to files."""
    raise AssertionError(piece)


@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.ndjson"])
def test_an_export_can_be_imported_again(tmp_path: Path, name: str) -> None:
    """An export adds the same people to an empty workspace, and changes nothing in its own."""
    with workspace(tmp_path / "data") as ws:
        import_odd_people(ws, tmp_path)
        assert export.export_answers(ws, tmp_path / name, write_chunk=reject_chunk).count == 2
        report = import_.import_people_file(ws, tmp_path / name, ImportOptions(strict=True))
        assert (report.unchanged, report.findings) == (2, [])
        before = rows(ws)

    with workspace(tmp_path / "other") as ws:
        import_.import_people_file(ws, tmp_path / name)
        after = rows(ws)
    computed_columns = {"id", "tags", "findability_score"}
    for username, row in before.items():
        for column in row.keys() - computed_columns:
            assert row[column] == after[username][column]
        assert row.keys() == after[username].keys()
