"""Files with odd headers, line ends and times are read completely."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from xlsxwriter import Workbook
from xlsxwriter.utility import xl_cell_to_rowcol

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.cells import list_memory_rows
from askrows.pipeline.rows.encodings import detect_codec_and_note
from askrows.pipeline.rows.row_findings import Finding, SourceRow
from askrows.pipeline.rows.source import FileSource
from askrows.pipeline.tasks.task_template import ColumnChoice
from askrows.pipeline.workflows.column_guesses import guess_key_and_content


def read_table(folder: Path, content: bytes, name: str = "table.csv") -> FileSource:
    """Write a file and return its source."""
    path = folder / name
    path.write_bytes(content)
    return FileSource(path)


def list_values(source: FileSource) -> list[dict[str, Any]]:
    """Return the values of all rows, none of which may be refused."""
    rows = list(source)
    assert all(isinstance(row, SourceRow) for row in rows), rows
    return [dict(row.values) for row in rows if isinstance(row, SourceRow)]


def test_filled_column_without_a_name_is_named(tmp_path: Path) -> None:
    """A note lists such columns, and a repeated header is recognized."""
    source = read_table(tmp_path, b"id,text,\n1,a,call\n2,b,\nid,text,\n3,c,x\n")
    assert list(source.columns) == ["id", "text", "column_3"]
    rows = [row for row in source if isinstance(row, SourceRow)]
    assert [row.values["column_3"] for row in rows] == ["call", "", "x"]
    assert source.notes == ["columns without a name are called column_3"]


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("id,text,state", "'=2"),
        ("id,text,reason,Answer_version", "'=2"),
        ("id,text,answer_version,answered_at,State", "=2"),
        ("'=id;text;answer_version;answer_answer_version;answered_at;state;row_state", "=2"),
        ("Username,tags,findability_score,state,reason", "=2"),
    ],
)
def test_apostrophes_are_removed_from_exports_only(tmp_path: Path, header: str, key: str) -> None:
    """The cells of other files stay as they are, so that two keys do not become one."""
    separator = ";" if ";" in header else ","
    other_cells = ["x"] * header.count(separator)
    lines = [separator.join([cell, *other_cells]) for cell in ("'=2", "'quoted' text")]
    rows = list_values(read_table(tmp_path, "\n".join([header, *lines]).encode()))
    assert [next(iter(row.values())) for row in rows] == [key, "'quoted' text"]
    assert not next(iter(rows[0])).startswith("'")


@pytest.mark.parametrize("suffix", [".xlsx", ".xls", ".csv"])
def test_filled_sheet_column_without_a_name_is_named(tmp_path: Path, suffix: str) -> None:
    """It has the same name as in CSV. The content of the file counts, not its suffix."""
    path = tmp_path / f"table{suffix}"
    with Workbook(path) as book:
        sheet = book.add_worksheet()
        for row_index, cells in enumerate([["id", "text", "", ""], ["1", "a", "call", ""]]):
            for column_index, cell in enumerate(cells):
                sheet.write(row_index, column_index, cell)
    assert list_values(FileSource(path)) == [{"id": "1", "text": "a", "column_3": "call"}]


def test_formulas_without_a_stored_value_are_named(tmp_path: Path) -> None:
    """They are read as blank like errors and empty results, which are not named."""
    path = tmp_path / "table.xlsx"
    with Workbook(tmp_path / "computed.xlsx") as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["id", "text"])
        for row_index, result in enumerate(["kept", "NO TEXT", "#N/A", "", 7, ""], start=1):
            sheet.write(row_index, 0, row_index)
            sheet.write_formula(row_index, 1, "=A1", value=result)
    with ZipFile(tmp_path / "computed.xlsx") as computed, ZipFile(path, "w") as uncomputed:
        for name in computed.namelist():
            uncomputed.writestr(name, computed.read(name).replace(b"NO TEXT", b""))

    source = FileSource(path)

    texts = [row["text"] for row in list_values(source)]
    assert texts == ["kept", None, None, None, 7, None]
    assert source.notes == [
        "cells with an error: 1; they are read as blank",
        "read as blank because these formulas have no stored value: B5, B7",
    ]


def test_merged_cells_have_the_value_of_their_area(tmp_path: Path) -> None:
    """An area is filled below the header, adds no row, and does not repeat a key."""
    path = tmp_path / "table.xlsx"
    cells = [
        ["id", "route", "text"],
        [1, None, "a"],
        [2, "North", "b"],
        [3, None, "c"],
        [None, None, "d"],
        [4, "South", "e"],
        [None, None, None],
    ]
    with Workbook(path) as book:
        sheet = book.add_worksheet()
        for row_index, row in enumerate(cells):
            sheet.write_row(row_index, 1, row)
        for area in ("C1:C2", "C3:C5", "B4:B5", "C6:C7"):
            first_row, first_column = xl_cell_to_rowcol(area.partition(":")[0])
            sheet.merge_range(area, cells[first_row][first_column - 1])

    source = FileSource(path)
    source.key_columns = ["id"]

    assert [tuple(row.values()) for row in list_values(source)] == [
        (1, None, "a"),
        (2, "North", "b"),
        (3, "North", "c"),
        (None, "North", "d"),
        (4, "South", "e"),
    ]
    assert [note.partition(";")[0] for note in source.notes] == ["merged areas: 4"]


def test_made_name_must_be_free(tmp_path: Path) -> None:
    """A file whose header has the made name, too, is refused."""
    with pytest.raises(InputError, match="column_3"):
        read_table(tmp_path, b"column_3,text,\n1,a,x\n")


def test_repeated_name_is_numbered(tmp_path: Path) -> None:
    """The numbers are from left to right, without those of other names; case does not matter."""
    source = read_table(tmp_path, b"A,Other,B,other,Other (2),OTHER\n1,x,2,y,z,v\n")
    names = ["A", "Other", "B", "other (3)", "Other (2)", "OTHER (4)"]
    assert list_values(source) == [dict(zip(names, "1x2yzv", strict=True))]
    assert source.notes == ["columns with a repeated name are called 'other (3)', 'OTHER (4)'"]

    guess = guess_key_and_content(source.columns, source, ColumnChoice("other", "A"))
    assert "text column: Other (named by TEXT=; the first column of this name)" in guess.notes


def test_sqlite_database_is_read_by_a_query(tmp_path: Path) -> None:
    """A database that is named as a file is refused with the option that reads it."""
    with pytest.raises(InputError, match="is a binary file") as caught:
        read_table(tmp_path, b"SQLite format 3\0\x10\0\1\1" + bytes(100), "rows.db")
    assert "SOURCE=sqlite:///" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("table", "expected_reasons", "expected_note"),
    [
        ('id,at\n8,"no shade\n9,12\n10,the soup"\n11,a\n', ["2 lines within", ""], ""),
        ('id,at\n8,"no shade\n9,12"\n11,a\n', ["", ""], "1 line within"),
        ('id,at\n8,"Dear Ann,\nyes, I am\nYours, Bo"\n9,a\n', ["", ""], ""),
        ('id,at,on\n8,"Dear Ann,\nYours, Bo",5.1.\n9,a,6.1.\n', ["", ""], ""),
        ('id,on,a\n8,5.1.,"My\n1, pier, cold\n2, park, hot"\n9,6.1.,b\n', ["", ""], ""),
        ('at,by\nx,"Dear Ann,\nyes, I am\nYours, Bo"\ny,a\n', ["", ""], "1 line within"),
    ],
)
def test_open_quote_is_told(
    tmp_path: Path, table: str, expected_reasons: list[str], expected_note: str
) -> None:
    """A cell that contains rows is refused if a column shows what rows look like, else told."""
    source = read_table(tmp_path, table.encode())
    reasons = [row.reason if isinstance(row, Finding) else "" for row in source]
    assert [reason[:14] for reason in reasons] == expected_reasons
    assert "".join(source.notes).startswith(expected_note)
    assert bool(source.notes) == bool(expected_note)


def test_old_times_of_parquet_are_read_right(tmp_path: Path) -> None:
    """Nanoseconds cannot represent the year 9999."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "table.parquet"
    table = pa.table(
        {"id": ["1"], "at": pa.array([datetime(9999, 12, 31, tzinfo=UTC)], pa.timestamp("us"))}
    )
    parquet.write_table(table, path, use_deprecated_int96_timestamps=True)
    assert str(list_values(FileSource(path))[0]["at"]).startswith("9999-12-31")


def test_times_beyond_python_are_texts(tmp_path: Path) -> None:
    """Dates, times and durations that Python cannot hold are exact texts, also in lists."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    cases = [
        (pa.date32(), 2_933_263, "10001-01-01"),
        (pa.timestamp("s", "UTC"), -62_135_596_801, "0000-12-31T23:59:59+00:00"),
        (pa.timestamp("ns", "Europe/Rome"), 1, "1970-01-01T01:00:00.000000001+01:00"),
        (pa.timestamp("ns"), 2_000, "1970-01-01T00:00:00.000002"),
        (pa.time64("ns"), 1, "00:00:00.000000001"),
        (pa.duration("ns"), 5, "5 ns"),
        (pa.list_(pa.timestamp("ns")), [1, None], ["1970-01-01T00:00:00.000000001", None]),
        (pa.map_(pa.string(), pa.date32()), [("a", 2_933_263)], [["a", "10001-01-01"]]),
        (pa.struct([("a", pa.date32())]), {"a": 2_933_263}, {"a": "10001-01-01"}),
    ]
    path = tmp_path / "table.parquet"
    columns = {str(kind): pa.array([value], kind) for kind, value, _ in cases}
    parquet.write_table(pa.table(columns), path)
    expected_row = {str(kind): expected for kind, _, expected in cases}
    assert list_values(FileSource(path)) == [expected_row]


def test_repeated_name_of_parquet_is_numbered(tmp_path: Path) -> None:
    """Columns of a Parquet file are numbered as those of other files, and so are those of Arrow."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = [pa.array([1]), pa.array(["a"]), pa.array(["b"])]
    table = pa.Table.from_arrays(columns, names=["id", "text", "text"])
    parquet.write_table(table, tmp_path / "table.parquet")
    source = FileSource(tmp_path / "table.parquet")

    row = {"id": 1, "text": "a", "text (2)": "b"}
    assert list_values(source) == [row]
    assert list(source.columns) == list(row)
    assert source.notes == ["columns with a repeated name are called 'text (2)'"]
    assert list_memory_rows(table) == [row]


def test_categories_fit_texts_in_a_folder_of_parquet(tmp_path: Path) -> None:
    """Programs write the same column as categories in one file and as texts in another."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    places = pa.array(["pier", None])
    for name, column in {"a": places.dictionary_encode(), "b": places}.items():
        parquet.write_table(pa.table({"place": column}), tmp_path / f"{name}.parquet")
    assert list_values(FileSource(tmp_path)) == 2 * [{"place": "pier"}, {"place": None}]


def test_stray_bytes_are_not_east_asian(tmp_path: Path) -> None:
    """A carriage return ends a line for the note, too."""
    lines = [b"id,text", *[b"%d,The guard was rude" % number for number in range(20)]]
    for stray in (b"\x81", b"\x82\xa0", b"\x89\xdb\xaa", b"\xb0\xa1\xb0\xa2", b"\xff"):
        path = tmp_path / "table.csv"
        path.write_bytes(b"\r".join([*lines, b"20,The guard" + stray + b"s words", b""]))
        found, note = detect_codec_and_note(path, path.read_bytes())
        assert found in {"cp1252", "utf-8"}, (stray, found)
        assert "line 22 has 'guard" in note or found == "utf-8"
