"""No key and no upload session is ever written: not to a file, a database, a log or a screen, whatever goes wrong.

A command that is new joins by a line in `COMMANDS`; one that is missing there fails the first test.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from PIL import Image

from jobs.cli import main
from jobs.commands import COMMANDS as ALL
from tests.integration import many_passages as passages
from tests.lab import KEY, URL, Api, Workspace
from tests.page import Page, served

SESSION = "canary-session-of-an-upload"
ECHO = f"bad key {KEY} at https://h.example/upload?upload_id={SESSION}&key={KEY} in {{'upload_id': '{SESSION}'}}"
PASSWORD = "canary-password-of-a-database"  # noqa: S105 - stands in the address of every test's database
PART = 12  # characters of a secret that are too many already
LONG_ECHO = "x" * 170 + ECHO  # where a cut may go through the middle of it

# every command, as it is typed; {files} is a folder with what it needs
COMMANDS: dict[str, tuple[str, ...]] = {
    "import": ("import", "{files}/people.csv", "--report", "{files}/report.csv"),
    "init": ("init", "--file", "{files}/people.csv", "--backend", "gemini", "--budget", "5", "--yes"),
    "new-task": ("new-task", "canary", "--from", "{files}/people.csv"),
    "try": ("try", "--n", "1"),
    "preflight": ("preflight", "--count", "--json"),
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
    "lab-import": ("lab-import", "--queries", "{files}/queries.jsonl", "--qrels", "{files}/qrels.tsv"),
    "lab-judge": ("lab-judge", "--variants", "vectors,bm25"),
    "lab-run": ("lab-run", "--variants", "vectors,bm25", "--to", "{files}/lab"),
    "lab-tune": ("lab-tune", "--json"),
    "lab-export": ("lab-export", "--queries", "{files}/questions.jsonl"),
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
    "move": ("move", f"postgresql+psycopg://ada:{KEY}@127.0.0.1:9/none?connect_timeout=2"),
    "batch-cancel": ("batch-cancel", "1", "--yes"),
    "rebind": ("rebind", "--yes"),
}
ELSEWHERE = {"demo", "emulator", "web"}  # the first two read no key; `demo` and `web` are run below

# what the server does, as fault words of the emulator with their arguments
FAILURES: dict[str, tuple[str, dict[str, Any]]] = {
    "a 400": ("status", {"code": 400, "message": ECHO}),
    "a 503": ("status", {"code": 503, "message": LONG_ECHO}),
    "a redirect": ("redirect", {"location": f"http://127.0.0.1:9/?key={KEY}&upload_id={SESSION}"}),
    "other JSON": ("wrong_shape", {"document": {"name": f"batches/{KEY}", "error": {"code": 3, "message": ECHO}}}),
}
MORE_FAILURES: dict[str, tuple[str, dict[str, Any]]] = {
    "a 401": ("status", {"code": 401, "message": LONG_ECHO}),
    "a 403": ("status", {"code": 403, "message": ECHO, "headers": {"x-goog-api-key": KEY}}),
    "a 429": ("status", {"code": 429, "message": ECHO}),
    "an error in a list": ("list_wrapped", {"code": 400, "message": ECHO}),
    "a cut connection": ("drop", {}),
    "a page": ("html_200", {}),
}


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


def _paths(routes: Iterable[Any]) -> Iterator[str]:
    """Yield the path of everything that can be read at the page, the page's own files aside."""
    for one in routes:
        if router := getattr(one, "original_router", None):
            yield from _paths(router.routes)
        elif "GET" in (getattr(one, "methods", None) or ()):
            yield one.path


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
    assert failed <= {"items", "people", "lab-tune", "restore", "move", "batch-cancel", "rebind"}, said
    sessions = _sessions(api)
    assert sessions
    assert any("HTTP Request" in line for line in log), "the libraries' loggers were not heard"
    assert any("upload_id=***" in line for line in log)
    _check(tmp_path, said, *log, *_stored(workspace), secrets={KEY, *sessions})


@pytest.mark.sampled(0)
@pytest.mark.parametrize(
    "failures", [FAILURES, pytest.param(MORE_FAILURES, marks=pytest.mark.full)], ids=["few", "more"]
)
def test_nothing_is_written_whatever_the_server_says(
    workspace: Workspace, files: Path, api: Api, log: list[str], failures: dict[str, tuple[str, dict[str, Any]]]
) -> None:
    """A server that answers every call with the key and an upload session in it; each that calls, and looks."""
    said = _run(workspace, files, "import", "import-passages", "batch-submit", "batch-poll", "batch-ingest")
    (files / "people.csv").write_text("Username,Bio\nlate,I keep goats.\n")
    said += _run(workspace, files, "import")
    callers = ["batch-submit", "batch-poll", "index", "search", "add-expert", "doctor", "batch-cancel"]
    callers += ["try", "passages-pilot", "passages-backfill"]
    for number, (failure, (word, args)) in enumerate(failures.items()):
        api.fault(word, times=10_000, args=args)
        told = _run(workspace, files, *callers)
        assert "Traceback" in told, failure
        assert "this is a bug" not in told, told
        said += told
        api.clear_faults()
        if number == 0:  # from here on with one batch underway beside what cannot be sent
            said += _run(workspace, files, "batch-submit")
    said += _run(workspace, files, "batches", "status", "show", "parked", "qc", "versions", "passages-status")
    assert "this is a bug" not in said
    _check(workspace.data.parent, said, *log, *_stored(workspace), secrets={KEY, SESSION, *_sessions(api)})


@pytest.mark.sampled(0)
def test_the_page_tells_neither_the_key_nor_its_token(workspace: Workspace, api: Api, log: list[str]) -> None:
    """Not in what it answers, keeps or logs, while Gemini echoes the key; the token is in the first line alone."""
    workspace.begin()
    api.fault("status", times=10_000, args={"code": 503, "message": LONG_ECHO})
    said = []

    def read(client: httpx2.Client, address: str) -> None:
        """Ask whatever shows an error."""
        said.append(address.partition("token=")[2])
        headers = {"authorization": f"Bearer {said[0]}"}
        person = {"username": "ada", "bio": "I cast bells."}
        said.append(client.post("/api/admin/experts", headers=headers, json=person).text)
        said.extend(client.get(path, headers=headers, params=asked).text for path in [*paths, "/none"])

    asked = {"key": "ada", "q": "bells", "batch": "1"}
    with Page(workspace) as page:
        paths = [re.sub("{number}", "1", path) for path in _paths(page.routes())]
        paths = [re.sub("{task}", "experts", path) for path in paths]
    assert len(paths) > 40
    done = served(workspace, read, "--debug")
    token, *answers = said
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1:] == []
    assert "bad key ***" in "".join(answers)
    _check(workspace.data.parent, *answers, *log, done.output, *_stored(workspace), secrets={KEY, SESSION})
    _check(workspace.data.parent, *answers, *log, done.stderr, *_stored(workspace), secrets={token})


@pytest.mark.sampled(0)
def test_nothing_is_kept_of_a_batch_that_failed(workspace: Workspace, files: Path, api: Api, log: list[str]) -> None:
    """The reason of a failed batch is stored and shown without the key that stands in it."""
    _run(workspace, files, "import")
    api.fault("batch_fails", args={"error": {"code": 3, "message": ECHO}})
    said = _run(workspace, files, "batch-submit", "batch-poll", "batch-ingest", "batches", "status", "doctor")
    assert workspace.scalar("SELECT count(*) FROM findable_batches WHERE reason LIKE '%bad key ***%'") == 1
    _check(workspace.data.parent, said, *log, *_stored(workspace), secrets={KEY, SESSION, *_sessions(api)})


def test_the_password_of_a_database_is_kept_out_too(workspace: Workspace, files: Path, log: list[str]) -> None:
    """Whatever a command does with a server that is not there, the password of its URL is not told."""
    for options in ("", f"&password={KEY}"):
        workspace.environ["FINDABLE_DATABASE_URL"] = (
            f"postgresql+psycopg://a:{KEY}@127.0.0.1:9/b?sslmode=disable{options}"
        )
        said = _run(workspace, files, "status", "import", "backup", "settings")
        assert len(re.findall(r"^[a-z]+: 4$", said, re.MULTILINE)) == 3, said
        assert "127.0.0.1" in said
        _check(workspace.data.parent, said, *log, secrets={KEY})


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


@pytest.mark.sampled(0)
def test_a_key_in_a_dotenv_file_is_kept_out_too(workspace: Workspace, files: Path, api: Api) -> None:
    """The key from `.env` is a key as any other."""
    del workspace.environ["GEMINI_API_KEY"]
    Path(".env").write_text(f"GEMINI_API_KEY={KEY}\n")
    api.fault("status", times=10_000, args={"code": 403, "message": ECHO})
    said = _run(workspace, files, "import", "batch-submit", "settings", "doctor")
    assert "Traceback" in said
    _check(workspace.data, said, secrets={KEY, SESSION})


@pytest.mark.sampled(0)
def test_the_local_engine_never_sees_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key set and the local backend asked for, the key is nowhere, the engine's own state included."""
    environ = {**os.environ, "GEMINI_API_KEY": KEY, "GOOGLE_API_KEY": KEY, "FINDABLE_DATA": str(tmp_path / "data")}
    environ |= {"FINDABLE_BACKEND": "local", "FINDABLE_DEBUG": "1"}
    monkeypatch.setattr(os, "environ", environ)  # which the demo changes
    for command in ("demo", "status"):
        done = CliRunner().invoke(main, [command], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        assert "API_KEY" not in done.stderr
        _check(tmp_path, done.stdout, done.stderr, secrets={KEY})
