"""Numbers of a workbook that are displayed as percent or money."""

from pathlib import Path
from zipfile import ZipFile

from xlsxwriter import Workbook

from pipeline.core.declaration import ReadOptions
from pipeline.tables.source import FileSource


def test_styles_without_a_number_format_are_counted(tmp_path: Path) -> None:
    """A cell style may lack the id of its number format; the styles after it keep their numbers."""
    written_path = tmp_path / "written.xlsx"
    with Workbook(written_path) as book:
        sheet = book.add_worksheet()
        percent_format = book.add_format({"num_format": "0.0%"})
        sheet.write_row(0, 0, ["id", "text", "rate"])
        sheet.write_row(1, 0, [1, "late"])
        sheet.write(1, 2, 0.075, percent_format)

    path = tmp_path / "rates.xlsx"
    with ZipFile(written_path) as written, ZipFile(path, "w") as archive:
        for name in written.namelist():
            content = written.read(name)
            if name == "xl/styles.xml":
                start, cell_styles = content.split(b"<cellXfs")
                content = start + b"<cellXfs" + cell_styles.replace(b'<xf numFmtId="0"', b"<xf", 1)
            archive.writestr(name, content)

    notes = FileSource(path, ReadOptions()).notes

    assert any("percent or money: C2" in note for note in notes)
