"""Servers, databases and task files from a stranger's folder need a confirmation."""

import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.acceptance.engine import Engine
from tests.acceptance.process import MAX_WAIT_S, EndedCommand, Running, end_sessions
from tests.acceptance.product import (
    HEADER,
    KEY,
    ON_POSTGRESQL,
    Workspace,
    command_words,
    on_a_server,
    start_product,
    write_declaration,
)
from tests.scratch import wait_until

THEIR_KEY = "key-of-the-stranger-which-is-theirs"
# Commands that call the API, or look at it.
CALLERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("doctor", {}),
    ("tag", {"mode": "live", "yes": True}),
    ("batch-submit", {"yes": True}),
    ("verify-gemini", {"yes": True}),
    ("work", {"once": True, "yes": True}),
)
PASSWORD = "hidden-word"  # noqa: S105 - no server has it


@dataclass
class Shell(Workspace):
    """A workspace whose commands run with these environment variables and no server of the API."""

    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment of the commands."""
        return {**super().environ, **self.variables}


def gemini_workspace(home: Path, **variables: str) -> Shell:
    """Return an empty workspace that uses Gemini."""
    return Shell(home, settings={"BACKEND": "gemini"}, variables=variables)


def at_terminal(
    workspace: Workspace, verb: str, *arguments: object, answer: str = "y"
) -> EndedCommand:
    """Run a command at a terminal; a person answers the first question."""
    terminal, command_end = os.openpty()
    os.write(terminal, f"{answer}\n".encode())
    commands = [command_words(verb, *arguments)]
    workspace.home.mkdir(parents=True, exist_ok=True)
    with Running(
        start_product(),
        commands,
        environ=workspace.environ,
        cwd=workspace.home,
        below=workspace.step_folder,
        stdin=command_end,
    ) as running:
        ended_process = running.wait()

    os.close(command_end)
    os.close(terminal)
    return ended_process


@pytest.mark.alike
@pytest.mark.promise("stranger")
def test_address_in_dotenv_never_gets_the_key_of_the_shell(tmp_path: Path, api: Engine) -> None:
    """No confirmation sends a request there; the message names the address and the setting."""
    workspace = gemini_workspace(tmp_path / "here", GEMINI_API_KEY=KEY)
    workspace.write_file(".env", f"GOOGLE_GEMINI_BASE_URL={api.url}\nGEMINI_API_KEY={THEIR_KEY}\n")
    workspace.import_people(2)
    # No setting of the stranger and no confirmation of the address helps.
    for verb, options in CALLERS:
        output = workspace.run_command(verb, code=3, TRUST=api.url, **options).output
        assert f".env sets the server {api.url}, but the key is not from .env" in output, output

    assert "not from .env" in at_terminal(workspace, "tag").stderr
    assert workspace.status()["experts"]["open"] == 2
    assert api.journal() == []


@pytest.mark.alike
def test_address_with_its_own_key_is_confirmed_first(tmp_path: Path, api: Engine) -> None:
    """Even if the key is from the same `.env`, rows are sent only after a confirmation."""
    workspace = gemini_workspace(tmp_path / "here")
    workspace.write_file(".env", f"GOOGLE_GEMINI_BASE_URL={api.url}\nGEMINI_API_KEY={THEIR_KEY}\n")
    workspace.import_people(2)
    assert (
        f"ASKROWS_TRUST={api.url}"
        in workspace.run_command("tag", mode="live", yes=True, code=3).stderr
    )
    assert api.journal() == []

    workspace.run_command("tag", mode="live", TRUST=f"https://other.example {api.url}/")
    assert workspace.state_counts() == {"tagged": 2}

    # A stranger's `.env` cannot confirm itself.
    workspace.write_file(".env", f"ASKROWS_TRUST={api.url}\n")
    assert "ASKROWS_TRUST is set in .env" in workspace.run_command("status", code=3).stderr


@pytest.mark.alike
def test_address_is_confirmed_once_for_each_workspace(tmp_path: Path, api: Engine) -> None:
    """An address in `.env` needs a person's yes, which is stored for this folder.

    `--yes` does not confirm it, and a no sends nothing.
    """
    dotenv = f"GOOGLE_GEMINI_BASE_URL={api.url}\nGEMINI_API_KEY={THEIR_KEY}\n"
    workspace = gemini_workspace(tmp_path / "here")
    workspace.write_file(".env", dotenv)
    workspace.import_people(2)
    for verb, options in CALLERS:
        output = workspace.run_command(verb, code=3, **options).output
        assert f"the key and all requests go to {api.url}" in output, (verb, output)
        assert f"ASKROWS_TRUST={api.url}" in output, (verb, output)

    refused_run = at_terminal(workspace, "doctor", answer="n")
    assert refused_run.code == 0, refused_run
    assert api.journal() == []

    confirmed_run = at_terminal(workspace, "tag", "--mode", "live")
    assert confirmed_run.code == 0, confirmed_run
    assert confirmed_run.stderr.count("Confirm it once") == 1
    assert workspace.state_counts() == {"tagged": 2}
    workspace.run_commands("doctor", "index")

    other_workspace = gemini_workspace(tmp_path / "other")
    other_workspace.write_file(".env", dotenv)
    other_workspace.import_people(1)
    other_workspace.run_command("tag", mode="live", code=3)
    assert len(api.creates()) == 0


@pytest.mark.alike
@pytest.mark.parametrize(
    "form", ["https://{}@generativelanguage.googleapis.com.{}/", "https://a.{}@{}/"]
)
def test_similar_address_needs_a_confirmation(tmp_path: Path, form: str) -> None:
    """An address that only resembles Google's own is refused until a person confirms it."""
    url = form.format("generativelanguage.googleapis.com", "localhost:9")
    workspace = gemini_workspace(tmp_path / "here")
    workspace.write_file(".env", f"GOOGLE_GEMINI_BASE_URL={url}\nGEMINI_API_KEY={THEIR_KEY}\n")
    workspace.import_people(1)
    assert (
        "nobody confirmed this, so nothing was sent"
        in workspace.run_command("doctor", code=3).output
    )


@pytest.mark.alike
@pytest.mark.promise("stranger")
def test_database_in_dotenv_is_confirmed_once(tmp_path: Path) -> None:
    """No command opens it before the confirmation; a database in the environment needs no yes."""
    workspace = Shell(tmp_path / "here", settings={"DATABASE_URL": ""})
    their_database = tmp_path / "theirs.db"
    url = postgresql.database_of(their_database) if ON_POSTGRESQL else f"sqlite:///{their_database}"
    separator = "&" if "?" in url else "?"
    workspace.write_file(".env", f"ASKROWS_DATABASE_URL={url}{separator}password={PASSWORD}\n")
    workspace.write_file("people.csv", f"{HEADER}ada,Ada,A,,,I keep bees.\n")

    commands = (
        ("import", "people.csv"),
        ("status",),
        ("tag",),
        ("work", "--once"),
        ("doctor",),
    )
    for command in commands:
        process = workspace.run_command(*command, yes=command[0] == "import", code=3)
        assert ".env sets the database of this workspace to " in process.stderr
        assert "nobody confirmed this, so it was not opened" in process.stderr
        assert PASSWORD not in process.output
    assert ".env" in workspace.run_command("settings").stdout
    assert not their_database.exists()
    assert not workspace.data.exists()

    assert at_terminal(workspace, "import", "people.csv", answer="n").code == 0
    assert not workspace.data.exists()
    process = at_terminal(workspace, "import", "people.csv")
    assert process.code == 0, process
    assert workspace.state_counts() == {"open": 1}

    workspace.run_command("status", DATA=tmp_path / "other", code=3)
    own_workspace = Shell(tmp_path / "own", settings={"DATABASE_URL": url})
    assert own_workspace.read_json("status", DATA=workspace.data)["experts"]["open"] == 1


def task_with_note(note: Path, topic: str = "topic") -> str:
    """Return the file of a task that writes a note when it is run."""
    task = write_declaration(
        {topic: "str"}, prompt="{text}", items="rows.csv", extra_arguments=["index='{text}'"]
    )
    return f"from pathlib import Path\n\nPath({str(note)!r}).write_text('was run')\n{task}"


def requested_trust(process: EndedCommand) -> str:
    """Return the value that a refused command names for ASKROWS_TRUST."""
    return process.output.partition("ASKROWS_TRUST=")[2].split()[0]


def received_workspace(tmp_path: Path, origin: str, note: Path) -> tuple[Workspace, str]:
    """Return a restored or copied workspace of a stranger and the SHA-256 of its task's file."""
    if origin == "restored" and ON_POSTGRESQL:
        pytest.skip("its backup is made by the server's programs, and a copied folder")

    original = Workspace(tmp_path / "first")
    original.write_file("data/tasks/rows.csv", "id,text\n1,The kettle leaks.\n2,A warm lamp.\n")
    original.write_file("data/tasks/spy.py", task_with_note(note))
    refused_run = original.run_command("tag", TASK="spy", code=3)
    assert "data/tasks/spy.py" in refused_run.stderr
    assert not note.exists()
    sha256 = requested_trust(refused_run)
    original.run_command("tag", mode="live", TASK="spy", TRUST=sha256)
    assert note.exists()
    note.unlink()

    received = Workspace(tmp_path / "here")
    if origin == "restored":
        original.run_command("backup", tmp_path / "copy")
        received.run_command("restore", tmp_path / "copy")
    else:
        shutil.copytree(original.data, received.data, symlinks=True)
        if ON_POSTGRESQL:
            received.settings["DATABASE_URL"] = original.environ["ASKROWS_DATABASE_URL"]
    shutil.rmtree(original.data)
    three_rows = "id,text\n1,The kettle leaks.\n2,A warm lamp.\n3,Two screws were missing.\n"
    received.write_file("data/tasks/rows.csv", three_rows)
    return received, sha256


@pytest.mark.parametrize("origin", ["restored", "copied"])
@pytest.mark.promise("stranger")
def test_task_file_from_a_stranger_is_not_run(tmp_path: Path, origin: str) -> None:
    """No command runs it; the hash in the message confirms it without a terminal."""
    note = tmp_path / "note"
    workspace, sha256 = received_workspace(tmp_path, origin, note)
    for verb in ("work --once", "index", "tag --yes", "try", "status", "items", "doctor"):
        workspace.try_command(*verb.split(), TASK="spy")
        workspace.try_command(*verb.split())
        assert not note.exists(), verb

    assert (
        "nobody confirmed this, so it was not run"
        in workspace.run_command("work", once=True, code=3).stderr
    )
    workspace.run_command("work", once=True, TRUST=sha256)
    assert note.exists()


@pytest.mark.alike
@pytest.mark.parametrize("origin", ["restored", "copied"])
def test_task_file_is_confirmed_again_after_a_change(tmp_path: Path, origin: str) -> None:
    """After a yes, commands without a terminal run the confirmed file, and only that file."""
    note = tmp_path / "note"
    workspace, _ = received_workspace(tmp_path, origin, note)
    workspace.settings["TASK"] = "spy"
    assert at_terminal(workspace, "try", answer="n").code == 0
    assert not note.exists()
    tag_run = at_terminal(workspace, "tag", "--mode", "live")
    assert (tag_run.code, tag_run.stderr.count("Confirm it once")) == (0, 1), tag_run
    assert workspace.state_counts("spy") == {"answered": 3}
    note.unlink()

    # A process loads a file only once, so new processes are needed.
    end_sessions()
    workspace.run_command("try")
    assert note.exists()
    note.unlink()

    end_sessions()
    workspace.write_file("data/tasks/spy.py", task_with_note(note) + "# changed\n")
    workspace.run_command("try", code=3)
    assert not note.exists()


def test_task_that_only_dotenv_names_is_not_run(tmp_path: Path) -> None:
    """A task in `.env` needs a confirmation; the same task as a setting of the command does not."""
    note = tmp_path / "note"
    workspace = Workspace(tmp_path / "here")
    workspace.write_file("tasks/rows.csv", "id,text\n1,The kettle leaks.\n")
    workspace.write_file("tasks/spy.py", task_with_note(note))
    workspace.write_file(".env", "ASKROWS_TASK=tasks/spy.py\n")
    for verb in ("tag", "try", "status"):
        workspace.try_command(verb)
        assert not note.exists()
    assert "tasks/spy.py" in requested_trust(workspace.run_command("tag", code=3))
    workspace.run_command("try", TASK="tasks/spy.py")
    assert note.exists()


def test_task_that_askrows_wrote_needs_no_confirmation(tmp_path: Path) -> None:
    """A task file that `ask` wrote into the workspace runs at once."""
    workspace = Workspace(tmp_path / "here", settings={"DATA": "."})
    workspace.data = workspace.home
    workspace.write_file("rows.csv", "id,text\n1,The kettle leaks.\n2,A warm lamp.\n")
    workspace.run_command(
        "ask", "rows.csv", q="Praise or blame?", fields="mood: praise|blame", name="mood"
    )
    workspace.run_command("tag", mode="live", TASK="mood")
    assert workspace.state_counts("mood") == {"answered": 2}


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{PASSWORD}@db/people",
        f"postgresql://ada:x/{PASSWORD}@db/people",
        f"postgresql://ada%3A{PASSWORD}@db/people",
        f"//ada:{PASSWORD}@db/people",
        f"ada:{PASSWORD}@db/people",
        f"postgresql://db/people?user=ada&PassWord={PASSWORD}",
        f"postgresql://db/people?pass%77ord={PASSWORD}&user=ada",
        f"postgresql://db/people?user=ada&password=x;{PASSWORD}",
        f"jdbc:postgresql://db/people?user=ada&sslpassword={PASSWORD}",
        f"host=db user=ada password={PASSWORD} dbname=people",
        f"host=db user=ada password = 'x {PASSWORD}'",
        f"Server=db;Uid=ada;Pwd={{x;{PASSWORD}}};",
        f"mssql+pyodbc:///?odbc_connect=Server%3Ddb%3BPWD%3D{PASSWORD}",
    ],
)
def test_password_in_an_address_is_never_shown(tmp_path: Path, url: str) -> None:
    """`settings` and errors hide the password in every form and show the server's name."""
    workspace = Workspace(tmp_path / "here", settings={"DATABASE_URL": url})
    settings = {
        setting["name"]: setting["value"] for setting in workspace.read_json("settings", all=True)
    }
    assert "db" in settings["ASKROWS_DATABASE_URL"]
    printed_text = (
        str(settings)
        + workspace.run_command("settings").output
        + workspace.try_command("status").output
    )
    assert PASSWORD not in printed_text


@pytest.mark.alike
@on_a_server
def test_metrics_of_a_worker_are_served_to_this_machine_only(workspace: Workspace) -> None:
    """The worker binds to another address only if `--host` names it."""
    workspace.import_people(1)
    for host, is_open in (("", False), ("0.0.0.0", True)):  # noqa: S104 - the tested address
        with socket.create_server(("127.0.0.1", 0)) as free_socket:
            port = free_socket.getsockname()[1]
        options: dict[str, Any] = {"host": host} if host else {}
        with workspace.start_command("work", concurrency=1, port=port, **options) as running:
            wait_until(lambda: is_reachable("127.0.0.1", port), running.read_output)  # noqa: B023
            assert is_reachable("127.0.0.2", port) == is_open


def is_reachable(host: str, port: int) -> bool:
    """Return whether something listens at a port of an address."""
    try:
        socket.create_connection((host, port), timeout=MAX_WAIT_S).close()
    except ConnectionRefusedError:
        return False
    return True
