"""Imports name each bad row of a file by line and column and import the sound rows."""

import gzip
import lzma
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.process import Running
from tests.acceptance.product import IMAGES, Workspace
from tests.scratch import wait_until

HEADER = "username,bio\n"


def write_bytes(workspace: Workspace, name: str, content: bytes) -> str:
    """Write a file as bytes, and return its name."""
    workspace.write_file(name, "").write_bytes(content)
    return name


def finding_keys(document: dict[str, Any]) -> list[tuple[int, str, str]]:
    """Return line, column and kind of each finding of an import."""
    return [
        (finding["line"], finding.get("column", finding.get("field")), finding["kind"])
        for finding in document["findings"]
    ]


BAD_ROWS: dict[str, tuple[bytes, list[str], list[tuple[int, str, str]], str]] = {
    "an inch within quotes": (
        f'{HEADER}a,"5" pipe"\nb,5" pipe\nc,"5"" pipe"\n'.encode(),
        ["b", "c"],
        [(2, "", "rejected")],
        "text after a closing quote",
    ),
    "blank and double keys": (
        f"{HEADER},x\n  ,y\na,x\na,y\nA,z\n".encode(),
        ["a"],
        [(line, "Username", "rejected") for line in (2, 3, 5, 6)],
        "Username\tempty\tline 2, line 3",
    ),
    "NUL": (f"{HEADER}a,x\0y\nb,z\n".encode(), ["b"], [(2, "Bio", "rejected")], "a NUL character"),
    "mixed encodings": (
        f"{HEADER}a,Zoë\nb,José\n".encode() + "c,Ren\xe9e\n".encode("latin-1") + b"d,x\n",
        ["a", "b", "d"],
        [(4, "Bio", "rejected")],
        "not valid UTF-8\tline 4: Ren\\xe9e",
    ),
    "fields too few and too many": (
        f"{HEADER}a\nb,x,y\nc,z\n".encode(),
        ["c"],
        [(2, "bio", "rejected"), (3, "", "rejected")],
        "wrong number of fields: found 1, expected 2",
    ),
    "a line break outside quotes": (
        f"{HEADER}a,x\ry\nb,z\n".encode(),
        ["b"],
        [(2, "", "rejected")],
        "a line break outside quotes",
    ),
    "mixed line ends": (
        b"username,bio\ra,x\nb,y\rc,z\r",
        ["c"],
        [(2, "", "rejected")],
        "a line break outside quotes (quote the cell, or end all lines alike)",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_named_and_other_rows_are_imported(workspace: Workspace, case: str) -> None:
    """A finding has the physical line and the column."""
    content, usernames, findings, message = BAD_ROWS[case]
    file = write_bytes(workspace, "people.csv", content)
    import_run = workspace.run_command("import", file)
    assert message in import_run.output
    assert sorted(workspace.exported_tags()) == usernames
    assert finding_keys(workspace.read_json("import", file)) == findings


NO_TABLE = "is a binary file or a document, not a table"
UNREADABLE_FILES: dict[str, tuple[bytes, str]] = {
    "a quote that is never closed": (
        f'{HEADER}a,x\nb,"y\nc,z\n'.encode(),
        "line 3: a quote is opened and not closed",
    ),
    "a header alone": (HEADER.encode(), "the file has no rows; add rows below the header"),
    "a header with an open quote": (
        b'username,"bio\na,x\n',
        "line 1: a quote is opened and not closed",
    ),
    "a column twice": (b"username,bio,Bio\na,x,y\n", "the column 'Bio' occurs twice"),
    "nothing": (b"\xef\xbb\xbf\n \n", "is empty"),
    "a name with NUL": (b"username,bio\0\n", "has no name, or one with NUL"),
    "no workbook": (b"PK\x03\x04\x00username,bio\n", "cannot be read as .xlsx"),
    "a workbook with a password": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        NO_TABLE,
    ),
    "no key": (b"bio\nx\n", "has no Username column"),
    "a gzip archive": (gzip.compress(b"username,bio\na,x\n" * 30), "people.csv is a gzip archive"),
    "a short xz archive": (lzma.compress(b"username,bio\na,x\n"), "people.csv is an xz archive"),
    "a zip archive": (
        b"PK\x03\x04\x14" + bytes(21) + b"\x0a\0\0\0people.csvusername,bio\na,x\n",
        "people.csv is a zip archive",
    ),
    "a PDF document": (b"%PDF-1.4\n%\xe2\xe3\nstream\nabc,def\n", NO_TABLE),
    "a page saved as a table": (b"\xef\xbb\xbf\n<HTML>\n<tr><td>1</td></tr>\n", NO_TABLE),
    "an XML document": (b'<?xml version="1.0"?>\n<rows>\n<row id="1">a, b</row>\n', NO_TABLE),
    "a PNG image": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), NO_TABLE),
    "a JPEG image": (b"\xff\xd8\xff\xe0" + bytes(range(256)), NO_TABLE),
    "a binary file": (b"id,text\n" + bytes(range(8)) * 40, NO_TABLE),
}


@pytest.mark.parametrize("case", UNREADABLE_FILES)
def test_unreadable_file_imports_nothing(workspace: Workspace, case: str) -> None:
    """The message names the reason, and the line if it is known."""
    content, message = UNREADABLE_FILES[case]
    import_run = workspace.run_command(
        "import", write_bytes(workspace, "people.csv", content), code=2
    )
    assert message in import_run.output
    assert "nothing was " in import_run.stderr
    # An open quote is detected only after good rows were read.
    assert not workspace.data.exists() or case == "a quote that is never closed"


@pytest.mark.parametrize(
    "head", ["username;bio;a, b, c, d\n", "a,b,c,d\tbio\tusername\n"], ids=["semicolon", "tab"]
)
def test_delimiter_is_detected_by_known_columns(workspace: Workspace, head: str) -> None:
    """A header cell with many commas stays whole if another delimiter yields known columns."""
    row = {"username": "a", "bio": "bees, honey, wax, and more"}
    sign = ";" if ";" in head else "\t"
    cells = [row.get(name, "x") for name in head.strip().split(sign)]
    content = f"{head}{sign.join(cells)}\n".encode()

    import_run = workspace.run_command("import", write_bytes(workspace, "p.csv", content))

    assert f"fields are separated by {sign!r}" in import_run.stderr
    assert {row["Username"]: row["Bio"] for row in workspace.exported_rows("experts")} == {
        "a": row["bio"]
    }


def looks_into(running: Running, path: Path) -> bool:
    """Return whether a process has a file open and has read more than 2 MB of it."""
    for link in Path(f"/proc/{running.pid}/fd").iterdir():
        try:
            if link.readlink() == path:
                position_line = Path(f"/proc/{running.pid}/fdinfo/{link.name}").read_text()
                return int(position_line.split()[1]) > 2 << 20
        except OSError:
            continue
    return False


LINE_FORMATS: dict[str, Callable[[int], str]] = {
    "import": lambda number: f"u{number},I keep bees and teach water law {number}.\n",
    "import_passages": lambda number: f"{number},Bees keep the law of water {number}.\n",
}


@pytest.mark.parametrize(
    ("verb", "signal_number"),
    [("import", signal.SIGINT), ("import_passages", signal.SIGTERM), ("import", signal.SIGKILL)],
)
@pytest.mark.promise("files")
def test_interrupted_import_stores_nothing(
    workspace: Workspace, verb: str, signal_number: signal.Signals
) -> None:
    """An interrupted import says so, stores no row, and can be run again."""
    head = HEADER if verb == "import" else "id,text\n"
    path = workspace.write_file("many.csv", head + "".join(map(LINE_FORMATS[verb], range(100_000))))

    with workspace.start_command(verb, path) as running:
        # The signal must arrive while the file is being read.
        wait_until(lambda: looks_into(running, path), running.read_output)
        running.signal(signal_number)
        ended_process = running.wait()

    task = "experts" if verb == "import" else "passages"
    assert ended_process.code in {128 + signal_number, 130, -signal_number}, ended_process
    has_message = "interrupted; nothing was imported" in ended_process.stderr
    assert has_message == (signal_number != signal.SIGKILL), ended_process
    assert not workspace.data.exists() or workspace.listed_rows(task) == []

    workspace.write_file("few.csv", head + "".join(map(LINE_FORMATS[verb], range(3))))
    assert "3 added" in workspace.run_command(verb, "few.csv").stdout
    assert len(workspace.listed_rows(task)) == 3


def test_dry_import_of_images_is_refused(workspace: Workspace) -> None:
    """An import of images with an option for other files imports nothing."""
    (workspace.home / "pictures").mkdir(parents=True)
    Image.new("RGB", (60, 40), "navy").save(workspace.home / "pictures" / "sea.png")
    for option in ({"dry": True}, {"report": "rejects.csv"}):
        options = {"task": IMAGES, "from": "pictures", **option}
        assert "no image was imported" in workspace.run_command("import", code=2, **options).stderr
    assert not workspace.data.exists()
