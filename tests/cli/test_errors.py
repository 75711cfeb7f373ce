"""What goes wrong is said in one to three lines with an exit code that means something, and never as a traceback."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import commands, ends
from pipeline.store import database
from tests.lab import KEY, ROOT, Api, Workspace

PEOPLE = "Username,First Name,Bio\nada,Ada,I keep bees and teach water law.\n"


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """An empty workspace without a key."""
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


@pytest.fixture
def csv(tmp_path: Path) -> str:
    """A file of one person."""
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return str(path)


def refused(workspace: Workspace, *args: str, code: int, said: str, **values: str) -> str:
    """Run a command that must be refused in at most three lines; return what it said."""
    result = workspace.ran(*args, **values, code=code)
    assert result.stdout == ""
    assert said in result.stderr
    assert 1 <= result.stderr.count("\n") <= 3, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def start(workspace: Workspace, *args: str, **values: str) -> subprocess.Popen[str]:
    """Start a command as a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FINDABLE_", "GEMINI_"))}
    environ = clean | workspace.environ | {f"FINDABLE_{name}": value for name, value in values.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *args],
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DIM", "many", "FINDABLE_DIM is 'many'"),
        ("DIM", "0", "must be 1 or more"),
        ("LIST_LAG", "nan", "FINDABLE_LIST_LAG"),
        ("LEASE", "-1", "must be a number of seconds"),
        ("CONFIRM_ABOVE", "dear", "FINDABLE_CONFIRM_ABOVE"),
        ("BACKEND", "openai", "must be 'gemini' or 'local'"),
        ("DATABASE_URL", "no url at all", "FINDABLE_DATABASE_URL is no database URL"),
        ("DATABASE_URL", "mysql://u:secret@h/d", "not in mysql"),
        ("DATABASE_URL", "sqlite:///:memory:", "SQLite file"),
    ],
)
def test_a_setting_that_does_not_parse_is_named(local: Workspace, name: str, value: str, said: str) -> None:
    """The variable, its value and what it should be; exit code 3, and nothing was made."""
    told = refused(local, "status", code=3, said=said, **{name: value})
    assert "secret" not in told
    assert not local.data.exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"MODEL": "gemini-0-nano"}, "gemini-0-nano"),
        ({"EMBEDDING_MODEL": "gemini-0-vectors"}, "gemini-0-vectors"),
        ({"DIM": "100000"}, "100000"),
    ],
)
def test_an_unknown_model_or_width_is_said_before_anything_is_written(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, values: dict[str, str], said: str
) -> None:
    """Exit code 3, no batch, no call."""
    people(1)
    workspace.query("SELECT 1")
    if "MODEL" in values:
        refused(workspace, "batch-submit", code=3, said=said, **values)
        assert workspace.scalar("SELECT count(*) FROM findable_batches") == 0
    else:
        for step in ("batch-submit", "batch-poll", "batch-ingest"):
            assert workspace.run(step).exit_code == 0
        refused(workspace, "index", code=3, said=said, **values)
        assert api.seen("POST", "mbed") == []


def test_a_workspace_that_is_a_file_is_refused(local: Workspace) -> None:
    """DATA= that names a file: exit code 3, and the file is as it was."""
    local.data.write_text("mine")
    refused(local, "status", code=3, said="cannot be the workspace: it is a file")
    assert local.data.read_text() == "mine"


def test_a_workspace_below_a_file_is_refused(local: Workspace, tmp_path: Path) -> None:
    """DATA= below a file: exit code 3."""
    (tmp_path / "file").write_text("mine")
    refused(local, "status", code=3, said="cannot be the workspace", DATA=str(tmp_path / "file" / "data"))


def test_a_workspace_that_cannot_be_made_is_refused(local: Workspace) -> None:
    """DATA= where the system lets nobody write: exit code 3."""
    refused(local, "status", code=3, said="cannot be the workspace", DATA="/proc/findable/data")


@pytest.mark.sqlite_only(reason="it is about the database's own file")
def test_a_database_that_is_a_directory_is_refused(local: Workspace) -> None:
    """A directory in the database's place: exit code 3."""
    (local.data / "findable.db").mkdir(parents=True)
    refused(local, "status", code=3, said="unable to open database file")


@pytest.mark.sqlite_only(reason="it is about the database's own file")
def test_a_database_that_is_no_database_is_refused(local: Workspace) -> None:
    """Other bytes in the database's place: exit code 5, and they are as they were."""
    local.data.mkdir()
    (local.data / "findable.db").write_bytes(b"this is a letter to my aunt\n" * 400)
    refused(local, "status", code=5, said="no database")
    assert (local.data / "findable.db").read_bytes().startswith(b"this is a letter")


@pytest.mark.sqlite_only(reason="it is about the database's own file")
def test_a_database_that_cannot_be_written_can_still_be_asked(local: Workspace, csv: str) -> None:
    """On a read-only database reading commands work, and writing ones exit with 3."""
    assert local.run("import", csv).exit_code == 0
    url = f"sqlite:///file:{local.data}/findable.db?mode=ro&uri=true"
    status = local.ran("status", "--json", DATABASE_URL=url)
    assert json.loads(status.stdout)["experts"]["untagged"] == 1
    Path(csv).write_text(PEOPLE.replace("ada", "eve"))
    refused(local, "import", csv, code=3, said="readonly", DATABASE_URL=url)
    assert not Path("file:").exists()


def test_a_database_that_another_program_holds_is_waited_for_and_then_refused(
    local: Workspace, csv: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers wait for no one; a writer waits its time, then exits with 4 and has changed nothing."""
    assert local.run("import", csv).exit_code == 0
    monkeypatch.setattr(database, "BUSY_S", 0.3)
    with local.held():
        assert local.run("status").exit_code == 0
        began = time.monotonic()
        refused(local, "batch-submit", code=4, said="another program has held")
        assert time.monotonic() - began > 0.3
    assert local.scalar("SELECT count(*) FROM findable_batches") == 0


def test_a_newer_schema_is_refused(local: Workspace, csv: str) -> None:
    """A database of a newer findable: exit code 5, nothing changed."""
    assert local.run("import", csv).exit_code == 0
    local.change("UPDATE findable_version SET version_num = '9999'")
    refused(local, "status", code=5, said="newer findable")


@pytest.mark.sqlite_only(reason="PostgreSQL takes only text that is UTF-8")
def test_text_that_is_no_utf8_stops_nothing(local: Workspace, csv: str) -> None:
    """Another program's bytes in a text cell are read with gaps; the chain runs, and the cell stays as it was."""
    assert local.run("import", csv).exit_code == 0
    connection = sqlite3.connect(local.data / "findable.db")
    connection.execute("UPDATE experts SET bio = CAST(x'49206B656570206265657320E920' AS TEXT)")
    connection.commit()
    for step in ("status", "batch-submit", "batch-poll", "batch-ingest", "score", "index", "doctor"):
        local.ran(step)
    connection.text_factory = bytes
    assert connection.execute("SELECT bio, tags IS NOT NULL FROM experts").fetchone() == (b"I keep bees \xe9 ", 1)
    connection.close()


def test_a_dotenv_that_is_no_text_is_refused(local: Workspace) -> None:
    """A .env in another encoding: exit code 3, and its bytes are not shown."""
    Path(".env").write_bytes(b"GEMINI_API_KEY=geheim\xff\n")
    assert "geheim" not in refused(local, "status", code=3, said=".env cannot be read")


def test_a_dotenv_gives_settings_and_the_environment_wins(local: Workspace) -> None:
    """`.env` in the current directory is read, beneath the environment; keys are masked wherever they are shown."""
    Path(".env").write_text(f"GEMINI_API_KEY={KEY}\nFINDABLE_MODEL=gemini-2.5-flash\nFINDABLE_DIM=512\n")
    result = local.run("settings", "--json", DIM="256")
    found = {row["name"]: (row["value"], row["source"]) for row in json.loads(result.stdout)}
    assert found["FINDABLE_MODEL"] == ("gemini-2.5-flash", ".env")
    assert found["FINDABLE_DIM"] == ("256", "environment")
    assert found["GEMINI_API_KEY"] == ("…" + KEY[-4:], "GEMINI_API_KEY, .env")
    assert KEY not in local.run("settings").output


def test_a_dotenv_gives_options_too(local: Workspace) -> None:
    """What `make tag` takes may stand in `.env`: a budget there holds, and the environment wins over it."""
    Path("people.csv").write_text("Username,Bio\n" + "".join(f"{one},I keep bees.\n" for one in ("ann", "ben", "cem")))
    assert local.run("import", "people.csv").exit_code == 0
    Path(".env").write_text("FINDABLE_MODE=live\nFINDABLE_LIMIT=1\nFINDABLE_BUDGET=\n")
    for environ, tagged in (({}, 1), ({"LIMIT": "2"}, 3)):
        assert local.run("tag", **environ).exit_code == 0
        status = json.loads(local.run("status", "--json").stdout)
        assert status["experts"]["tagged"] == tagged
    Path(".env").write_text("FINDABLE_BUDGET=lots\n")
    result = local.run("tag")
    assert (result.exit_code, "'lots' must be an amount" in result.stderr) == (2, True)


def test_passwords_in_urls_are_masked(local: Workspace) -> None:
    """`settings` shows where the database is, and not how to get in."""
    told = local.run("settings", DATABASE_URL="postgresql://ada:geheim@db/people").output
    assert "geheim" not in told
    assert "@db/people" in told


def test_a_missing_input_file_is_the_inputs_fault(local: Workspace) -> None:
    """A file that is not there: exit code 2, named."""
    refused(local, "import", "/nowhere/people.csv", code=2, said="/nowhere/people.csv")


def test_a_bug_is_one_line_without_anybodys_data(local: Workspace, csv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error exits with 1 and says where, but not what it held; --debug shows all."""
    assert local.run("import", csv).exit_code == 0

    def broken(_path: object) -> None:
        """Fail as a bug does."""
        raise ValueError("Ada Lovelace, 12 Secret Street")

    monkeypatch.setattr("pipeline.ops.status.run", broken)
    told = refused(local, "status", code=1, said="this is a bug in findable: ValueError in test_errors.py, line ")
    assert "Secret Street" not in told
    shown = local.ran("status", "--debug", code=1)
    assert "Traceback" in shown.stderr


def test_help_stands_behind_a_word_that_is_no_command(local: Workspace) -> None:
    """An unknown command or option: exit code 2."""
    assert local.run("frobnicate").exit_code == 2
    assert local.run("status", "--frobnicate").exit_code == 2


@pytest.fixture
def crowd(local: Workspace, tmp_path: Path) -> Workspace:
    """A workspace of so many people that their list does not fit into a pipe."""
    path = tmp_path / "crowd.csv"
    path.write_text("Username,First Name,Bio\n" + "".join(f"p-{n},P,{'I keep bees. ' * 20}\n" for n in range(2000)))
    assert local.run("import", str(path)).exit_code == 0
    return local


def test_a_reader_that_has_seen_enough_is_no_error(crowd: Workspace) -> None:
    """`findable export - | head -1` ends with 0 and without a word."""
    process = start(crowd, "export", "-")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Username")
    process.stdout.close()
    assert process.wait(timeout=20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_reader_that_never_read_is_no_error(local: Workspace) -> None:
    """The same where all of the output fits into the buffer and is noticed only at the end."""
    ours, theirs = socket.socketpair()
    theirs.close()
    process = subprocess.run(
        [sys.executable, "-m", "jobs", "status"],
        cwd=ROOT,
        env=os.environ | local.environ,
        stdout=ours.fileno(),
        stderr=subprocess.PIPE,
        check=False,
        timeout=30,
    )
    ours.close()
    assert (process.returncode, process.stderr) == (0, b"")


def test_sigterm_is_taken_back_when_a_command_is_over(local: Workspace) -> None:
    """A program that calls a command keeps its own handler of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    with ends.interruptible():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert local.run("status").exit_code == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_in_a_destructor_is_not_lost() -> None:
    """Python prints what a destructor raises and goes on; the signal is heard a moment later."""

    class Dying:
        """Something that is struck while it goes away."""

        def __del__(self) -> None:
            """Be struck."""
            signal.raise_signal(signal.SIGTERM)

    def live_on() -> None:
        """Let go of it, and go on for as long as it takes."""
        dying = Dying()
        del dying
        threading.Event().wait(30)

    with ends.interruptible(), pytest.raises(KeyboardInterrupt):
        live_on()


def test_an_interrupt_that_a_library_turns_into_an_error_is_an_interrupt(
    local: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised in the end, who was told to stop says so, with 130 and without a word of a bug."""

    def struck(*_args: object, **_options: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("a schema could not be built") from None

    monkeypatch.setattr("pipeline.ops.status.run", struck)
    result = local.run("status")
    assert (result.exit_code, "interrupted" in result.stderr, "bug" in result.stderr) == (130, True, False)


@pytest.mark.parametrize("command", [("status",), ("status", "--json"), ("settings",)])
def test_a_closed_standard_output_is_no_error(local: Workspace, command: tuple[str, ...]) -> None:
    """`findable status >&-` ends with 0 and without a word."""
    words = " ".join(command)
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m jobs {words} >&-'],
        cwd=ROOT,
        env=os.environ | local.environ,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def shell(local: Workspace, line: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in which FINDABLE stands for the command."""
    words = ["sh", "-c", line.replace("FINDABLE", f'"{sys.executable}" -m jobs')]
    return subprocess.run(words, cwd=ROOT, env=os.environ | local.environ | environ, capture_output=True, check=False)


def test_a_closed_standard_input_is_no_terminal(local: Workspace, csv: str) -> None:
    """`findable forget ada <&-` asks nobody and does nothing; a person from there is no JSON, and no bug."""
    assert local.run("import", csv).exit_code == 0
    done = shell(local, "FINDABLE forget ada <&-")
    assert (done.returncode, done.stdout, b"not confirmed" in done.stderr) == (2, b"", True), done.stderr
    assert local.scalar("SELECT count(*) FROM experts") == 1
    done = shell(local, "FINDABLE add-expert - <&-")
    assert (done.returncode, b"bug" in done.stderr) == (2, False), done.stderr


def test_closed_standard_streams_leave_the_exit_code(local: Workspace) -> None:
    """All three closed: what is well ends with 0, and what is not with its code."""
    assert shell(local, "FINDABLE status <&- >&- 2>&-").returncode == 0
    assert shell(local, "FINDABLE show nobody <&- >&- 2>&-").returncode == 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_an_output_that_is_not_utf8_gets_what_it_can_take(local: Workspace, tmp_path: Path, encoding: str) -> None:
    """Letters that the encoding of standard output has not are written as escapes; JSON stays JSON."""
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio\nżółw,I keep bees in Łódź \N{HONEYBEE} and Málaga.\n", encoding="utf-8")
    assert local.run("import", str(people)).exit_code == 0
    done = shell(local, "FINDABLE show żółw", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    done = shell(local, "FINDABLE show żółw --json", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode(encoding))["expert"]["Bio"].endswith("\N{HONEYBEE} and Málaga.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_output_that_cannot_be_written_is_an_error(local: Workspace) -> None:
    """Standard output on a full disk: exit code 3, said once."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "jobs", "status"],
            cwd=ROOT,
            env=os.environ | local.environ,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: No space left on device")
    assert done.stderr.count(b"\n") == 2


def test_a_module_that_cannot_be_imported_is_told_too(local: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is missing from the installation: one line and exit code 1, no traceback."""
    monkeypatch.setitem(commands.COMMANDS, "status", ("not_there", ""))
    refused(local, "status", code=1, said="this is a bug in findable: ModuleNotFoundError")


def test_what_stands_before_a_command_is_checked_as_the_rest(local: Workspace) -> None:
    """An unknown option of `findable` itself, and an unknown command: one line, and what lists them."""
    for words in (["--nope"], ["serach"]):
        assert "Usage:" not in refused(local, *words, code=2, said="`findable --help` lists the commands")


@pytest.mark.parametrize("words", ["eval nope.tsv also-nope.tsv", "add-expert nope.tsv", "import nope.tsv"])
def test_a_file_that_is_not_there_is_said_in_the_same_words(local: Workspace, words: str) -> None:
    """The file, that nothing was done, and to check the path."""
    Path("people.csv").write_text("Username,Bio\nann,I keep bees.\n")
    local.ran("import", "people.csv")
    told = refused(local, *words.split(), code=2, said="nope.tsv is not there; nothing was ")
    assert "next: check the path" in told
