"""What strangers wrote never moves a terminal's cursor: no control or direction character reaches the screen raw."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import ROOT, Workspace

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b5;35m\x1b[5;35mlaw\u202eeeb\u2066\u200e\x7f\x85\u2028\r\b\x00"
CONTROLS = (
    "\x1b]",
    "\x1b[2J",
    "\x1b[5;35m",
    "\x9b",
    "\x07",
    "\u202e",
    "\u2066",
    "\u200e",
    "\x7f",
    "\x85",
    "\u2028",
    "\b",
    "\x00",
)
READING = (
    ("show", "ada"),
    ("show", "ada", "--json"),
    ("show", "--item", "ada", "--raw"),
    ("log",),
    ("export", "-"),
    ("export", "-", "--format", "jsonl"),
    ("parked",),
    ("parked", "--json"),
    ("batches",),
    ("batches", "--json"),
    ("status",),
    ("search", "law"),
    ("search", "law", "--json"),
)


@pytest.fixture(name="workspace", scope="module")
def _workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with an index, in which every text that can be shown is evil."""
    folder = tmp_path_factory.mktemp("terminal")
    workspace = Workspace(folder / "data", {"FINDABLE_DATA": str(folder / "data"), "FINDABLE_BACKEND": "local"})
    (folder / "people.csv").write_text("Username,Bio\nada,I keep bees.\nbob,I cast bells.\n")
    for command in (("import", str(folder / "people.csv")), ("batch-submit",), ("batch-poll",), ("batch-ingest",)):
        assert workspace.run(*command).exit_code == 0
    _spoil(workspace)
    assert workspace.run("index").exit_code == 0
    return workspace


def _spoil(workspace: Workspace) -> None:
    """Write evil texts where another program, or the API, could have."""
    evil = EVIL.replace("\0", "") if workspace.on_postgresql else EVIL  # which holds no NUL
    for column in ("first_name", "job_title", "company", "bio", "category", "profile_url"):
        workspace.change(f"UPDATE experts SET {column} = :evil", evil=evil)  # noqa: S608 - our names
    workspace.change("UPDATE experts SET tags = :tags", tags=json.dumps(["law", EVIL]))
    workspace.change("UPDATE findable_answers SET model_version = :evil", evil=evil)
    name = f"batches/{evil}"
    workspace.change("UPDATE findable_batches SET reason = :evil, remote_name = :name", evil=evil, name=name)
    workspace.change(
        "INSERT INTO findable_parked (task, item_id, reason, at) VALUES ('expert-tags', '2', :evil, :at)",
        evil=evil,
        at="2026-11-20 09:00:00.000000",
    )


MANY = """import json, sys
from jobs.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        print("ended with", end.code or 0)
"""


def _on_a_terminal(workspace: Workspace, *commands: tuple[str, ...]) -> str:
    """Run commands, one after the other, whose standard streams are a terminal; return what the terminal got."""
    ours, theirs = os.openpty()
    environ = {**os.environ, **workspace.environ, "TERM": "xterm-256color", "COLUMNS": "200", "FINDABLE_DEBUG": "1"}
    program = [sys.executable, "-c", MANY, json.dumps(commands)]
    with subprocess.Popen(program, cwd=ROOT, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        got = b""
        while piece := _read(ours):
            got += piece
        assert process.wait() == 0
    os.close(ours)
    return got.decode("utf-8", "replace")


def _read(terminal: int) -> bytes:
    """Return what the terminal got next; nothing when the command has ended."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that no process holds the other side any more
        return b""


def _raw(shown: str) -> list[str]:
    """Return the evil sequences in what was shown; a carriage return alone is how a terminal ends its lines."""
    return [control for control in CONTROLS if control in shown]


def test_a_terminal_gets_no_control_characters(workspace: Workspace, tmp_path: Path) -> None:
    """Every reading command, with evil names, titles, tags, reasons and remote names, and values an import rejects."""
    evil = EVIL.replace("\x00", "").replace("\r", "")
    people = tmp_path / "people.csv"
    people.write_text(f'Username,Bio,Hourly Rate\n"{evil}",x,1\ncyd,I sing.,"{evil}"\n', encoding="utf-8")
    shown = _on_a_terminal(workspace, *READING, ("import", str(people), "--strict"))
    assert shown.count("ended with 0") == len(READING), shown
    assert "rejected" in shown
    assert _raw(shown) == []


def test_json_and_an_export_to_a_pipe_lose_nothing(workspace: Workspace) -> None:
    """What is escaped in a JSON document is read back as it was stored; the bytes of a CSV field are those stored."""
    for args in READING:
        if "--json" in args:
            ran = workspace.ran(*args)
            assert _raw(ran.stdout) == [], args
            assert _holds(json.loads(ran.stdout)), args
    assert EVIL.rstrip("\x00\b").encode()[:40] in workspace.ran("export", "-").stdout_bytes


def _holds(document: object) -> bool:
    """Return whether an evil text stands in a document as it was stored, whatever was trimmed at its ends."""
    if isinstance(document, str):
        return EVIL[:40] in document
    if isinstance(document, dict):
        return any(map(_holds, document.values()))
    return isinstance(document, list) and any(map(_holds, document))
