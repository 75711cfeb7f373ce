"""Imports name each bad row of a file by line and column and import the sound rows."""

import json
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.process import MAX_WAIT_S, Running
from tests.acceptance.product import Workspace, write_declaration

HEADER = "username,bio\n"
# Exit code of a command whose answers do not pass.
GATE = 6


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
        "Username: empty",
    ),
    "NUL": (f"{HEADER}a,x\0y\nb,z\n".encode(), ["b"], [(2, "Bio", "rejected")], "a NUL character"),
    "mixed encodings": (
        f"{HEADER}a,Zoë\nb,José\n".encode() + "c,Ren\xe9e\n".encode("latin-1") + b"d,x\n",
        ["a", "b", "d"],
        [(4, "Bio", "rejected")],
        "not valid UTF-8 (Ren\\xe9e)",
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
    """A finding has the physical line and the column; --strict imports nothing."""
    content, usernames, findings, message = BAD_ROWS[case]
    file = write_bytes(workspace, "people.csv", content)
    assert (
        "--strict imported nothing"
        in workspace.run_command("import", file, strict=True, code=2).stderr
    )
    assert workspace.exported_tags() == {}
    import_run = workspace.run_command("import", file)
    assert message in import_run.stderr
    assert sorted(workspace.exported_tags()) == usernames
    assert finding_keys(workspace.read_json("import", file)) == findings


def test_bad_passage_is_named(workspace: Workspace) -> None:
    """JSON lines and JSON lists name the bad passage; a broken list is refused as a whole."""
    passages = (
        '{"id": "z", "text": "Bees."}',
        '{"id": "z", "text": "Wasps."}',
        r'{"id": "a", "text": "x\u0000"}',
    )
    workspace.write_file("p.jsonl", "\n".join(passages))
    workspace.write_file("p.json", "[" + ",\n".join(passages) + "]")
    for file in ("p.jsonl", "p.json"):
        error_output = workspace.run_command("import_passages", file).stderr
        assert "already on line 1" in error_output
        assert "NUL" in error_output
        findings = finding_keys(workspace.read_json("import_passages", file))
        assert findings == [(2, "id", "rejected"), (3, "text", "rejected")]

    # The end of a broken passage in a list is unknown.
    workspace.write_file("broken.json", '[{"id": "b", "text": "Bees."')
    error_output = workspace.run_command("import_passages", "broken.json", code=2).stderr
    assert "line 1: not a valid JSON list" in error_output
    assert "nothing was read" in error_output or "nothing was imported" in error_output


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
    "a column twice": (b"username,bio,Bio\na,x,y\n", "has the column Bio more than once"),
    "nothing": (b"\xef\xbb\xbf\n \n", "is empty"),
    "no text": (b"username,bio\0\n", "is not a text file"),
    "no workbook": (b"PK\x03\x04\x00username,bio\n", "cannot be read as .xlsx"),
    "a workbook with a password": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "is a spreadsheet with a password",
    ),
    "no key": (b"bio\nx\n", "has no Username column"),
}


@pytest.mark.parametrize("case", UNREADABLE_FILES)
def test_unreadable_file_imports_nothing(workspace: Workspace, case: str) -> None:
    """The message names the reason, and the line if it is known."""
    content, message = UNREADABLE_FILES[case]
    import_run = workspace.run_command(
        "import", write_bytes(workspace, "people.csv", content), code=2
    )
    assert message in import_run.stderr
    assert "nothing was " in import_run.stderr
    # An open quote is detected only after good rows were read.
    assert not workspace.data.exists() or case == "a quote that is never closed"


@pytest.mark.parametrize(
    ("encoding", "byte_order_mark", "note", "delimiter"),
    [
        ("utf-16-le", b"\xff\xfe", "read as UTF-16", "\t"),
        ("utf-16-be", b"\xfe\xff", "read as UTF-16", "|"),
        ("utf-8", b"\xef\xbb\xbf", "", ","),
        ("latin-1", b"", "read as cp1252 (Windows-1252, Latin-1)", ";"),
        ("cp1251", b"", "read as cp1251", "|"),
    ],
)
def test_encoding_and_delimiter_are_detected_and_named(
    workspace: Workspace, encoding: str, byte_order_mark: bytes, note: str, delimiter: str
) -> None:
    """The header line and the bytes of most lines decide how a file is read."""
    if encoding == "cp1251":
        bio = "Иванов, инженер по водоснабжению"
    elif byte_order_mark:
        bio = "Müller, Straße 5; “é”"
    else:
        bio = "Müller, Straße"
    lines = [f"username{delimiter}bio", f'a{delimiter}"{bio}"', f'b{delimiter}"two\r\nlines"']
    content = byte_order_mark + "\r\n".join(lines).encode(encoding)

    import_run = workspace.run_command("import", write_bytes(workspace, "p.csv", content))

    assert note in import_run.stderr
    assert {row["Username"]: row["Bio"] for row in workspace.exported_rows("experts")} == {
        "a": bio,
        "b": "two\r\nlines",
    }


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


def test_wide_file_and_blank_or_double_column_names(workspace: Workspace) -> None:
    """A file may have 300 columns; blank names are replaced, and double names are refused."""
    names = ["id", "text", *(f"c{number}" for number in range(297))]
    lines = [",".join(names) + ","]
    for number in range(3):
        cells = [f"{name} of {number}" for name in names]
        lines.append(",".join(cells) + ",unread")
    workspace.write_file("tasks/wide.csv", "\n".join([*lines, ""]))
    workspace.write_file(
        "tasks/wide.py",
        write_declaration({"topic": "str"}, prompt="{text} {c296}", items="wide.csv"),
    )
    workspace.task = "wide"

    try_run = workspace.run_command("try", N=1)
    assert "columns without a name are called column_300" in try_run.output
    assert "c296 of 0" in json.dumps(workspace.read_json("try", N=1))

    workspace.write_file("tasks/wide.csv", "id,text,c296,text\n1,a,b,c\n")
    assert "the column 'text' occurs twice" in workspace.run_command("try", N=1, code=2).stderr


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
        deadline = time.monotonic() + MAX_WAIT_S
        # The signal must arrive while the file is being read.
        while not looks_into(running, path):
            assert time.monotonic() < deadline, running.read_output()
            time.sleep(0.005)
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


@pytest.mark.parametrize("verb", LINE_FORMATS)
def test_next_steps_of_an_import_can_be_run(workspace: Workspace, verb: str) -> None:
    """The printed steps lead to a search, or to a pilot's gates, which three rows do not pass."""
    head = HEADER if verb == "import" else "id,text\n"
    workspace.write_file("few.csv", head + "".join(map(LINE_FORMATS[verb], range(3))))
    for _ in range(8):
        import_run = workspace.run_command(verb, "few.csv")
        steps = [
            line.removeprefix("next: findable ")
            for line in import_run.stderr.splitlines()
            if line.startswith("next: ")
        ]
        assert len(steps) == 1, import_run
        verb_of_step, *arguments = shlex.split(steps[0].partition("    (")[0])
        if verb_of_step == "search":
            assert workspace.try_command(verb_of_step, *arguments).code == 0
            return

        if (exit_code := workspace.try_command(verb_of_step, *arguments, yes=True).code) != 0:
            assert (exit_code, verb_of_step) == (GATE, "passages-pilot")
            return
    pytest.fail("no step led to a search")


def test_next_step_of_a_refused_import_can_be_run(workspace: Workspace) -> None:
    """The MAP= of the message maps the unknown column."""
    workspace.write_file("people.csv", "Usernam,Bio\nada,I keep bees.\n")
    error_output = workspace.run_command("import", "people.csv", code=2).stderr
    step = shlex.split(error_output.rpartition("next: findable ")[2])
    assert "1 added" in workspace.run_command(*step).stdout
    error_output = workspace.run_command(
        "import", "people.csv", map="username=Usrnam", code=2
    ).stderr
    assert "did you mean" in error_output
    assert "username=Usernam" in error_output
