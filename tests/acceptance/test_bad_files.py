"""Files that are not as they should be: what is wrong is told by line and column, and what is sound goes in."""

import json
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.process import LONGEST_S, Running
from tests.acceptance.product import Workspace, declaration

HEAD = "username,bio\n"
GATE = 6  # exit code of a command whose answers do not pass


def written(workspace: Workspace, name: str, data: bytes) -> str:
    """Write a file as bytes, and return its name."""
    workspace.put(name, "").write_bytes(data)
    return name


def told(found: dict[str, Any]) -> list[tuple[int, str, str]]:
    """Return line, column and kind of each finding of an import."""
    return [
        (finding["line"], finding.get("column", finding.get("field")), finding["kind"])
        for finding in found["findings"]
    ]


PEOPLE: dict[str, tuple[bytes, list[str], list[tuple[int, str, str]], str]] = {
    "an inch within quotes": (
        f'{HEAD}a,"5" pipe"\nb,5" pipe\nc,"5"" pipe"\n'.encode(),
        ["b", "c"],
        [(2, "", "rejected")],
        "text after a closing quote",
    ),
    "blank and double keys": (
        f"{HEAD},x\n  ,y\na,x\na,y\nA,z\n".encode(),
        ["a"],
        [(one, "Username", "rejected") for one in (2, 3, 5, 6)],
        "Username: empty",
    ),
    "NUL": (f"{HEAD}a,x\0y\nb,z\n".encode(), ["b"], [(2, "Bio", "rejected")], "a NUL character"),
    "mixed encodings": (
        f"{HEAD}a,Zoë\nb,José\n".encode() + "c,Ren\xe9e\n".encode("latin-1") + b"d,x\n",
        ["a", "b", "d"],
        [(4, "Bio", "rejected")],
        "not valid UTF-8 (Ren\\xe9e)",
    ),
    "fields too few and too many": (
        f"{HEAD}a\nb,x,y\nc,z\n".encode(),
        ["c"],
        [(2, "bio", "rejected"), (3, "", "rejected")],
        "wrong number of fields: found 1, expected 2",
    ),
    "a line break outside quotes": (
        f"{HEAD}a,x\ry\nb,z\n".encode(),
        ["b"],
        [(2, "", "rejected")],
        "a line break outside quotes",
    ),
}


@pytest.mark.parametrize("case", PEOPLE)
def test_a_bad_row_is_named_and_the_others_go_in(workspace: Workspace, case: str) -> None:
    """By its physical line and its column; --strict takes none."""
    data, names, findings, said = PEOPLE[case]
    file = written(workspace, "people.csv", data)
    assert "--strict imported nothing" in workspace.do("import", file, strict=True, code=2).err
    assert workspace.tags() == {}
    import_run = workspace.do("import", file)
    assert said in import_run.err
    assert sorted(workspace.tags()) == names
    assert told(workspace.read("import", file)) == findings


@pytest.mark.parametrize(
    ("lines", "findings", "said"),
    [
        ([r'{"id": "a", "text": "\ud800"}'], [(1, "", "rejected")], "surrogate"),
        ([r'{"id": "a", "text": "x\u0000"}'], [(1, "text", "rejected")], "NUL"),
        (['{"id": "", "text": "x"}', '{"id": "b", "text": "y"}'], [(1, "id", "rejected")], "empty"),
        (
            ['{"id": "z", "text": "x"}', '{"id": "z", "text": "y"}'],
            [(2, "id", "rejected")],
            "already on line 1",
        ),
        (['{"id": "a", "text": "x"'], [(1, "", "rejected")], "no JSON"),
        (['{"id": "a", "text": NaN}'], [(1, "", "rejected")], "no JSON"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_a_bad_passage_is_named(
    workspace: Workspace,
    lines: list[str],
    findings: list[tuple[int, str, str]],
    said: str,
    kind: str,
) -> None:
    """In JSON lines and in a list alike; but nobody knows where in a list that is broken the next one begins."""
    sound = '{"id": "sound", "text": "Bees."}'
    text = (
        "\n".join([*lines, sound])
        if kind == "jsonl"
        else f"[{f',{chr(10)}'.join([*lines, sound])}]"
    )
    workspace.put(f"p.{kind}", text)
    if kind == "json" and said == "no JSON" and "NaN" not in text:
        refused = workspace.do("import_passages", "p.json", code=2).err
        assert "line 1: no JSON list" in refused
        assert "nothing was read" in refused or "nothing was imported" in refused
        return
    done = workspace.do("import_passages", f"p.{kind}")
    assert said in done.err
    assert told(workspace.read("import_passages", f"p.{kind}")) == findings


WHOLE: dict[str, tuple[bytes, str]] = {
    "a quote that is never closed": (
        f'{HEAD}a,x\nb,"y\nc,z\n'.encode(),
        "line 3: a quote is opened and not closed",
    ),
    "a header alone": (HEAD.encode(), "the file holds a header, or nothing, and no rows"),
    "a header with an open quote": (
        b'username,"bio\na,x\n',
        "line 1: a quote is opened and not closed",
    ),
    "a column twice": (b"username,bio,Bio\na,x,y\n", "has the column Bio more than once"),
    "nothing": (b"\xef\xbb\xbf\n \n", "is empty"),
    "no text": (b"username,bio\0\n", "is no text: save a spreadsheet as .xlsx or CSV"),
    "no workbook": (b"PK\x03\x04\x00username,bio\n", "cannot be read as .xlsx"),
    "a workbook with a password": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "is a spreadsheet with a password",
    ),
    "no key": (b"bio\nx\n", "has no Username column"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_of_a_file_that_is_none_nothing_goes_in(workspace: Workspace, case: str) -> None:
    """And that is said, with the line where there is one."""
    data, said = WHOLE[case]
    import_run = workspace.do("import", written(workspace, "people.csv", data), code=2)
    assert said in import_run.err
    assert "nothing was " in import_run.err
    assert (
        not workspace.data.exists() or case == "a quote that is never closed"
    )  # which is seen behind good rows


@pytest.mark.parametrize(
    ("encoding", "mark", "note", "delimiter"),
    [
        ("utf-16-le", b"\xff\xfe", "read as UTF-16", "\t"),
        ("utf-16-be", b"\xfe\xff", "read as UTF-16", "|"),
        ("utf-8", b"\xef\xbb\xbf", "", ","),
        ("latin-1", b"", "read as cp1252 (Windows-1252, Latin-1)", ";"),
        ("cp1251", b"", "read as cp1251", "|"),
    ],
)
def test_any_encoding_and_delimiter_is_read_and_named(
    workspace: Workspace, encoding: str, mark: bytes, note: str, delimiter: str
) -> None:
    """By the header line, and by what most lines need."""
    bio = (
        "Иванов, инженер по водоснабжению"
        if encoding == "cp1251"
        else "Müller, Straße 5; “é”"
        if mark
        else "Müller, Straße"
    )
    lines = [f"username{delimiter}bio", f'a{delimiter}"{bio}"', f'b{delimiter}"two\r\nlines"']
    import_run = workspace.do(
        "import", written(workspace, "p.csv", mark + "\r\n".join(lines).encode(encoding))
    )
    assert note in import_run.err
    assert {one["Username"]: one["Bio"] for one in workspace.exported("experts")} == {
        "a": bio,
        "b": "two\r\nlines",
    }


@pytest.mark.parametrize(
    "head", ["username;bio;a, b, c, d\n", "a,b,c,d\tbio\tusername\n"], ids=["semicolon", "tab"]
)
def test_a_delimiter_is_told_by_known_names(workspace: Workspace, head: str) -> None:
    """A name with more commas than there are fields is one name, where the others are known without them."""
    row = {"username": "a", "bio": "bees, honey, wax, and more"}
    sign = ";" if ";" in head else "\t"
    cells = (row.get(name, "x") for name in head.strip().split(sign))
    import_run = workspace.do(
        "import", written(workspace, "p.csv", f"{head}{sign.join(cells)}\n".encode())
    )
    assert f"fields are separated by {sign!r}" in import_run.err
    assert {one["Username"]: one["Bio"] for one in workspace.exported("experts")} == {
        "a": row["bio"]
    }


def test_columns_by_the_hundred_and_names_that_are_none(workspace: Workspace) -> None:
    """300 columns are asked about as three are; one without a name is left out, and said; no name is there twice."""
    names = ["id", "text", *(f"c{number}" for number in range(297))]
    rows = [",".join(f"{name} of {row}" for name in names) for row in range(3)]
    workspace.put(
        "tasks/wide.csv", "\n".join([f"{','.join(names)},", *(f"{row},unread" for row in rows), ""])
    )
    workspace.put(
        "tasks/wide.py", declaration({"topic": "str"}, prompt="{text} {c296}", items="wide.csv")
    )
    workspace.task = "wide"
    try_run = workspace.do("try", N=1)
    assert "columns without a name are not read: 1" in try_run.said
    assert "c296 of 0" in json.dumps(workspace.read("try", N=1))
    workspace.put("tasks/wide.csv", "id,text,c296,text\n1,a,b,c\n")
    assert "the column 'text' is there twice" in workspace.do("try", N=1, code=2).err


def looks_into(running: Running, path: Path) -> bool:
    """Return whether a process has a file open, and has read some of it."""
    for link in Path(f"/proc/{running.pid}/fd").iterdir():
        try:
            if link.readlink() == path:
                return (
                    int(Path(f"/proc/{running.pid}/fdinfo/{link.name}").read_text().split()[1])
                    > 2 << 20
                )
        except OSError:
            continue
    return False


MANY: dict[str, Callable[[int], str]] = {
    "import": lambda number: f"u{number},I keep bees and teach water law {number}.\n",
    "import_passages": lambda number: f"{number},Bees keep the law of water {number}.\n",
}


@pytest.mark.parametrize(
    ("verb", "number"),
    [("import", signal.SIGINT), ("import_passages", signal.SIGTERM), ("import", signal.SIGKILL)],
)
def test_an_import_that_is_stopped_keeps_nothing_and_says_so(
    workspace: Workspace, verb: str, number: signal.Signals
) -> None:
    """It can be run again, and then all of it goes in."""
    head = HEAD if verb == "import" else "id,text\n"
    path = workspace.put("many.csv", head + "".join(map(MANY[verb], range(100_000))))
    with workspace.start(verb, path) as running:
        deadline = time.monotonic() + LONGEST_S
        while not looks_into(running, path):
            assert time.monotonic() < deadline, running.so_far()
            time.sleep(0.005)
        running.signal(number)
        ended_process = running.wait()
    task = "experts" if verb == "import" else "passages"
    assert ended_process.code in {128 + number, 130, -number}, ended_process
    assert ("interrupted; nothing was imported" in ended_process.err) == (
        number != signal.SIGKILL
    ), ended_process
    assert not workspace.data.exists() or workspace.rows(task) == []
    workspace.put("few.csv", head + "".join(map(MANY[verb], range(3))))
    assert "3 added" in workspace.do(verb, "few.csv").out
    assert len(workspace.rows(task)) == 3


@pytest.mark.parametrize("verb", MANY)
def test_what_an_import_says_is_next_can_be_typed(workspace: Workspace, verb: str) -> None:
    """Step after step, up to a search, or to the gates of a pilot, which three rows do not pass."""
    head = HEAD if verb == "import" else "id,text\n"
    workspace.put("few.csv", head + "".join(map(MANY[verb], range(3))))
    for _ in range(8):
        done = workspace.do(verb, "few.csv")
        steps = [
            line.removeprefix("next: findable ")
            for line in done.err.splitlines()
            if line.startswith("next: ")
        ]
        assert len(steps) == 1, done
        word, *words = shlex.split(steps[0].partition("    (")[0])
        if word == "search":
            assert workspace.run(word, *words).code == 0
            return
        if (code := workspace.run(word, *words, yes=True).code) != 0:
            assert (code, word) == (GATE, "passages-pilot")
            return
    pytest.fail("it never came to a search")


def test_what_a_refused_import_says_is_next_can_be_typed(workspace: Workspace) -> None:
    """The MAP= that it names takes the column."""
    workspace.put("people.csv", "Usernam,Bio\nada,I keep bees.\n")
    error_output = workspace.do("import", "people.csv", code=2).err
    step = shlex.split(error_output.rpartition("next: findable ")[2])
    assert "1 added" in workspace.do(*step).out
    wrong = workspace.do("import", "people.csv", map="username=Usrnam", code=2).err
    assert "did you mean" in wrong
    assert "username=Usernam" in wrong
