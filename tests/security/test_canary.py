"""No key and no upload session is ever written: not to a file, a database, a log or a screen, whatever goes wrong.

A command that is new joins by a line in `COMMANDS`; one that is missing there fails the first test.
"""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from jobs.commands import COMMANDS as ALL
from tests.integration import many_passages as passages
from tests.lab import KEY, URL, Api, Workspace

SESSION = "canary-session-of-an-upload"
ECHO = f"bad key {KEY} at https://h.example/upload?upload_id={SESSION}&key={KEY} in {{'upload_id': '{SESSION}'}}"
PASSWORD = "canary-password-of-a-database"  # noqa: S105 - stands in the address of every test's database
PART = 12  # characters of a secret that are too many already

# every command, as it is typed; {files} is a folder with what it needs
COMMANDS: dict[str, tuple[str, ...]] = {
    "import": ("import", "{files}/people.csv", "--report", "{files}/report.csv"),
    "new-task": ("new-task", "canary", "--from", "{files}/people.csv"),
    "try": ("try", "--n", "1"),
    "preflight": ("preflight", "--json"),
    "tag-live": ("tag-live", "--limit", "1"),
    "tag": ("tag", "--mode", "live", "--limit", "1"),
    "batch-submit": ("batch-submit",),
    "batch-poll": ("batch-poll",),
    "batch-ingest": ("batch-ingest",),
    "batches": ("batches", "--json"),
    "costs": ("costs", "--json"),
    "items": ("items", "--find", "ada", "--json"),
    "people": ("people", "--find", "ada"),
    "score": ("score",),
    "run": ("run", "--on-done", "cat", "--on-fail", "cat"),
    "index": ("index",),
    "search": ("search", "water law"),
    "add-expert": ("add-expert", "{files}/new.json"),
    "show": ("show", "p0", "--raw"),
    "log": ("log", "--all", "--json"),
    "compare": ("compare", "gemini-2.5-flash", "gemini-2.5-pro", "--n", "1", "--json"),
    "export": ("export", "{files}/experts.csv"),
    "status": ("status", "--json"),
    "parked": ("parked",),
    "unpark": ("unpark", "--all"),
    "doctor": ("doctor",),
    "eval": ("eval", "{files}/queries.jsonl", "{files}/qrels.tsv"),
    "prices": ("prices", "--json"),
    "settings": ("settings", "--json"),
    "import-passages": ("import-passages", "{files}/passages.jsonl"),
    "import-images": ("import-images", "{files}", "--json"),
    "passages-pilot": ("passages-pilot", "--yes", "--json"),
    "passages-backfill": ("passages-backfill", "--skip-pilot", "--wait", "--yes"),
    "passages-status": ("passages-status", "--json"),
    "best-concepts": ("best-concepts", "--json"),
    "qc": ("qc", "--json"),
    "versions": ("versions", "--json"),
    "tags": ("tags", "--meaning"),
    "rollback": ("rollback", "passage-concepts@9", "--yes"),
    "backup": ("backup", "{files}/backup"),
    "restore": ("restore", "{files}/backup"),
    "forget": ("forget", "p1", "--yes"),
    "clean": ("clean",),
    "batch-cancel": ("batch-cancel", "1", "--yes"),
}
ELSEWHERE = {"demo", "emulator", "web"}  # the first two read no key; `demo` and `web` are run below


@pytest.fixture(name="workspace")
def _workspace(workspace: Workspace) -> Workspace:
    """The workspace of a test, whose database's address has a password, which neither kind of database asks for."""
    address = f"sqlite:///file:{workspace.data / 'findable.db'}?uri=true"
    workspace.environ[URL] = f"{workspace.environ.get(URL, address)}&password={PASSWORD}"
    return workspace


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path / "files"
    folder.mkdir()
    rows = "".join(f'p{number},"I keep bees and teach water law, number {number}."\n' for number in range(3))
    (folder / "people.csv").write_text(f"Username,Bio\n{rows}")
    (folder / "passages.jsonl").write_text(
        "".join(json.dumps({"id": f"t{number}", "text": passages.text_of(number)}) + "\n" for number in range(3))
    )
    (folder / "new.json").write_text(json.dumps({"username": "new", "bio": "I cast bells."}))
    (folder / "queries.jsonl").write_text('{"qid": "q1", "text": "water law"}\n')
    Image.new("RGB", (4, 4), "teal").save(folder / "field.png")
    (folder / "qrels.tsv").write_text("q1\t0\tp0\t1\n")
    return folder


@pytest.fixture(name="log")
def _log() -> Iterator[list[str]]:
    """Every record of every logger at every level, as it would be written."""
    written: list[str] = []

    class Keeping(logging.Handler):
        """Formats and keeps."""

        def emit(self, record: logging.LogRecord) -> None:
            """Keep one record."""
            written.append(self.format(record))

    root, handler = logging.getLogger(), Keeping()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    loud = [logging.getLogger(name) for name in ("httpx2", "httpcore2", "httpcore2.http11", "httpcore2.connection")]
    for logger in loud:
        logger.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)
    for logger in loud:
        logger.setLevel(logging.NOTSET)


def _run(workspace: Workspace, files: Path, *names: str) -> str:
    """Run commands with all that shows more, and return all they printed."""
    said = ""
    for name in names:
        args = [word.format(files=files) for word in COMMANDS[name]]
        ran = workspace.run(*args, "--debug", DEBUG="1", RETRY_FOR="0.02", POLL_PATIENCE="0.05")
        said += f"{name}: {ran.exit_code}\n{ran.output}"
    return said


def _sessions(api: Api) -> set[str]:
    """Return the upload sessions the emulator gave out."""
    return {found for entry in api.journal() for found in re.findall(r"upload_id=(\w+)", entry["path"])}


def _check(folder: Path, *texts: str, secrets: set[str]) -> None:
    """Look for each secret, if only its first twelve characters, in texts and in every byte below a folder."""
    parts = {secret[:PART].encode() for secret in secrets | {PASSWORD}}
    places = {f"text {number}": text.encode("utf-8", "replace") for number, text in enumerate(texts)}
    places |= {str(path): path.read_bytes() for path in _written(folder)}
    assert [(place, part) for place, data in places.items() for part in parts if part in data] == []


def _stored(workspace: Workspace) -> list[str]:
    """Return every row that a server keeps of a workspace, as text; a file is below the workspace's folder."""
    if not workspace.on_postgresql:
        return []
    return [row[0] for name in workspace.tables() for row in workspace.query(f'SELECT t::text FROM "{name}" AS t')]  # noqa: S608 - our names


def _written(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder but those of the emulator, which is the other side."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and "api" not in path.relative_to(folder).parts[:1]:
            yield path


def test_every_command_is_in_the_table() -> None:
    """A command that is not in one of the tables has not been looked at."""
    assert set(COMMANDS) | ELSEWHERE == set(ALL)


def test_nothing_is_written_when_all_goes_well(
    workspace: Workspace, files: Path, api: Api, log: list[str], tmp_path: Path
) -> None:
    """The whole chain, at full debug, then a search over every byte, the database and its log included."""
    said = _run(workspace, files, *COMMANDS)
    failed = set(re.findall(rf"^({'|'.join(COMMANDS)}): [1-9]\d*$", said, re.MULTILINE))
    assert failed <= {"items", "people", "restore", "batch-cancel"}, said
    sessions = _sessions(api)
    assert sessions
    assert any("HTTP Request" in line for line in log), "the libraries' loggers were not heard"
    assert any("upload_id=***" in line for line in log)
    _check(tmp_path, said, *log, *_stored(workspace), secrets={KEY, *sessions})


@pytest.mark.sampled(0)
def test_a_bug_is_shown_without_the_key(workspace: Workspace, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback whose error holds the key, a session and a terminal's control characters shows none of them."""

    def broken(*_args: object, **_kwargs: object) -> None:
        """Fail as no command should."""
        raise RuntimeError(f"{ECHO} \x1b[2J\x9b31m\u202e")

    monkeypatch.setattr("pipeline.experts.rescore.run", broken)
    workspace.begin()
    said = _run(workspace, files, "score")
    assert "RuntimeError" in said
    assert not {"\x1b", "\x9b", "\u202e"} & set(said)
    _check(workspace.data.parent, said, *_stored(workspace), secrets={KEY, SESSION})
