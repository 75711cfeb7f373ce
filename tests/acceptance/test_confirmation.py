"""What came with a stranger's folder is used only after a person said so: a server, a database, the file of a task."""

import json
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
from tests.acceptance.process import LONGEST_S, Done, Running, end_sessions
from tests.acceptance.product import HEADER, KEY, ON_POSTGRESQL, Workspace, declaration, typed
from tests.acceptance.test_workers import on_a_server, until

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
    """A workspace whose commands find these variables in their environment, and no server of the API."""

    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """Return what its commands find in their environment."""
        return {**super().environ, **self.variables}


def shell(home: Path, **variables: str) -> Shell:
    """Return an empty workspace that uses Gemini."""
    return Shell(home, settings={"BACKEND": "gemini"}, variables=variables)


def at_terminal(workspace: Workspace, verb: str, *arguments: object, answer: str = "y") -> Done:
    """Run a command at a terminal, where a person gives one answer to the first question."""
    ours, theirs = os.openpty()
    os.write(ours, f"{answer}\n".encode())
    words = [typed(verb, *arguments)]
    workspace.home.mkdir(parents=True, exist_ok=True)
    with Running(
        workspace.version(),
        words,
        environ=workspace.environ,
        cwd=workspace.home,
        below=workspace.below,
        stdin=theirs,
    ) as running:
        ended_process = running.wait()
    os.close(theirs)
    os.close(ours)
    return ended_process


def test_an_address_of_dotenv_gets_no_key_of_the_shell(tmp_path: Path, api: Engine) -> None:
    """Nothing is sent there, whatever agrees; the address and what is to be set are told."""
    workspace = shell(tmp_path / "here", GEMINI_API_KEY=KEY)
    workspace.put(".env", f"GOOGLE_GEMINI_BASE_URL={api.url}\nGEMINI_API_KEY={THEIR_KEY}\n")
    workspace.people(2)
    for verb, how in CALLERS:
        said = workspace.do(verb, code=3, TRUST=api.url, **how).said
        assert f".env names the server {api.url}, and the key is not from .env" in said, said
    assert "not from .env" in at_terminal(workspace, "tag").err
    assert workspace.status()["experts"]["untagged"] == 2
    assert api.journal() == []


def test_an_address_with_its_own_key_is_confirmed_first(tmp_path: Path, api: Engine) -> None:
    """A key from the same `.env` is no leak, and the rows still go nowhere before a person said so."""
    workspace = shell(tmp_path / "here")
    workspace.put(".env", f"GOOGLE_GEMINI_BASE_URL={api.url}\nGEMINI_API_KEY={THEIR_KEY}\n")
    workspace.people(2)
    assert f"FINDABLE_TRUST={api.url}" in workspace.do("tag", mode="live", yes=True, code=3).err
    assert api.journal() == []
    workspace.do("tag", mode="live", TRUST=f"https://other.example {api.url}/")
    assert workspace.states() == {"tagged": 2}
    workspace.put(".env", f"FINDABLE_TRUST={api.url}\n")
    assert "FINDABLE_TRUST is set in .env" in workspace.do("status", code=3).err


def test_an_address_is_confirmed_once_for_each_workspace(tmp_path: Path, api: Engine) -> None:
    """In the environment, too: `--yes` does not do it, a person's no sends nothing, a yes is kept for this folder."""
    workspace = shell(tmp_path / "here", GEMINI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=api.url)
    workspace.people(2)
    for verb, how in CALLERS:
        said = workspace.do(verb, code=3, **how).said
        assert f"the key and all requests go to {api.url}" in said, (verb, said)
        assert f"FINDABLE_TRUST={api.url}" in said, (verb, said)
    refused = at_terminal(workspace, "doctor", answer="n")
    assert (refused.code, "Confirm it once" in refused.err) == (0, True), refused
    assert api.journal() == []
    confirmed = at_terminal(workspace, "tag", "--mode", "live")
    assert confirmed.code == 0, confirmed
    assert confirmed.err.count("Confirm it once") == 1
    assert workspace.states() == {"tagged": 2}
    workspace.do("doctor")
    workspace.do("index")
    other = shell(tmp_path / "other", **workspace.variables)
    other.people(1)
    other.do("tag", mode="live", code=3)
    assert len(api.creates()) == 0


@pytest.mark.parametrize(
    "form", ["https://{}@generativelanguage.googleapis.com.{}/", "https://a.{}@{}/"]
)
def test_only_googles_own_address_needs_no_confirmation(tmp_path: Path, form: str) -> None:
    """An address that looks like it is another one; without any address the key goes to Google, as ever."""
    url = form.format("generativelanguage.googleapis.com", "localhost:9")
    workspace = shell(tmp_path / "here", GEMINI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=url)
    workspace.people(1)
    assert "nobody confirmed it, and nothing was sent" in workspace.do("doctor", code=3).said


def test_a_database_of_dotenv_is_confirmed_once(tmp_path: Path) -> None:
    """No command opens it before; one of the environment is the user's own."""
    workspace = Shell(tmp_path / "here", settings={"DATABASE_URL": ""})
    theirs = tmp_path / "theirs.db"
    url = postgresql.database_of(theirs) if ON_POSTGRESQL else f"sqlite:///{theirs}"
    workspace.put(
        ".env", f"FINDABLE_DATABASE_URL={url}{'&' if '?' in url else '?'}password={PASSWORD}\n"
    )
    workspace.put("people.csv", f"{HEADER}ada,Ada,A,,,I keep bees.\n")
    for verb in (("import", "people.csv"), ("status",), ("tag",), ("work", "--once"), ("doctor",)):
        done = workspace.do(*verb, yes=verb[0] == "import", code=3)
        assert "which .env names; nobody confirmed it, and it was not opened" in done.err
        assert PASSWORD not in done.said
    assert ".env" in workspace.do("settings").out
    assert not theirs.exists()
    assert not workspace.data.exists()
    assert at_terminal(workspace, "import", "people.csv", answer="n").code == 0
    assert not workspace.data.exists()
    done = at_terminal(workspace, "import", "people.csv")
    assert done.code == 0, done
    assert workspace.states() == {"untagged": 1}
    workspace.do("status", DATA=tmp_path / "other", code=3)
    own = Shell(tmp_path / "own", settings={"DATABASE_URL": url})
    assert own.read("status", DATA=workspace.data)["experts"]["untagged"] == 1


def spying(note: Path, topic: str = "topic") -> str:
    """Return the file of a task that leaves a note when it is run."""
    task = declaration({topic: "str"}, prompt="{text}", items="rows.csv", more=["index='{text}'"])
    return f"from pathlib import Path\n\nPath({str(note)!r}).write_text('was run')\n{task}"


def value_told(done: Done) -> str:
    """Return the value that a refused command names for FINDABLE_TRUST."""
    return done.said.partition("FINDABLE_TRUST=")[2].split()[0]


def handed_over(tmp_path: Path, how: str, note: Path) -> tuple[Workspace, str]:
    """Return a workspace of a stranger that came restored or copied, and the SHA-256 of the file of its task."""
    if how == "restored" and ON_POSTGRESQL:
        pytest.skip("its backup is made by the server's programs, and a copied folder")
    first = Workspace(tmp_path / "first")
    first.put("data/tasks/rows.csv", "id,text\n1,The kettle leaks.\n2,A warm lamp.\n")
    first.put("data/tasks/spy.py", spying(note))
    refused = first.do("tag", TASK="spy", code=3)
    assert "data/tasks/spy.py" in refused.err
    assert not note.exists()
    sha256 = value_told(refused)
    first.do("tag", mode="live", TASK="spy", TRUST=sha256)
    assert note.exists()
    note.unlink()

    here = Workspace(tmp_path / "here")
    if how == "restored":
        first.do("backup", tmp_path / "copy")
        here.do("restore", tmp_path / "copy")
    else:
        shutil.copytree(first.data, here.data, symlinks=True)
        if ON_POSTGRESQL:
            here.settings["DATABASE_URL"] = first.environ["FINDABLE_DATABASE_URL"]
    shutil.rmtree(first.data)
    more = "id,text\n1,The kettle leaks.\n2,A warm lamp.\n3,Two screws were missing.\n"
    here.put("data/tasks/rows.csv", more)
    return here, sha256


@pytest.mark.parametrize("how", ["restored", "copied"])
def test_the_file_of_a_task_that_came_with_a_folder_is_not_run(tmp_path: Path, how: str) -> None:
    """Whatever the database says, no command runs it; the hash that is told confirms it without a terminal."""
    note = tmp_path / "note"
    here, sha256 = handed_over(tmp_path, how, note)
    for verb in ("work --once", "index", "tag --yes", "try", "status", "items", "doctor"):
        here.run(*verb.split(), TASK="spy")
        here.run(*verb.split())
        assert not note.exists(), verb
    assert "nobody confirmed it, and it was not run" in here.do("work", once=True, code=3).err
    here.do("work", once=True, TRUST=sha256)
    assert note.exists()


@pytest.mark.parametrize("how", ["restored", "copied"])
def test_the_file_of_a_task_is_confirmed_once_until_it_is_changed(tmp_path: Path, how: str) -> None:
    """A person's no runs nothing; after a yes, commands without a terminal run what was confirmed."""
    note = tmp_path / "note"
    here, _ = handed_over(tmp_path, how, note)
    here.settings["TASK"] = "spy"
    assert at_terminal(here, "try", answer="n").code == 0
    assert not note.exists()
    done = at_terminal(here, "tag", "--mode", "live")
    assert (done.code, done.err.count("Confirm it once")) == (0, 1), done
    assert here.states("spy") == {"answered": 3}
    note.unlink()
    # A process loads a file once.
    end_sessions()
    here.do("try")
    assert note.exists()
    note.unlink()
    end_sessions()
    here.put("data/tasks/spy.py", spying(note) + "# changed\n")
    here.do("try", code=3)
    assert not note.exists()


def test_a_task_that_only_dotenv_names_is_not_run(tmp_path: Path) -> None:
    """Typed at the command it is the user's word, as ever."""
    note = tmp_path / "note"
    workspace = Workspace(tmp_path / "here")
    workspace.put("tasks/rows.csv", "id,text\n1,The kettle leaks.\n")
    workspace.put("tasks/spy.py", spying(note))
    workspace.put(".env", "FINDABLE_TASK=tasks/spy.py\n")
    for verb in ("tag", "try", "status"):
        workspace.run(verb)
        assert not note.exists()
    assert "tasks/spy.py" in value_told(workspace.do("tag", code=3))
    workspace.do("try", TASK="tasks/spy.py")
    assert note.exists()


def test_a_task_that_the_page_wrote_needs_no_confirmation(tmp_path: Path) -> None:
    """It lies in the workspace, and findable wrote it itself."""
    workspace = Workspace(tmp_path / "here", settings={"DATA": "."})
    workspace.data = workspace.home
    workspace.put("rows.csv", "id,text\n1,The kettle leaks.\n2,A warm lamp.\n")
    workspace.do("ask", "rows.csv", q="Praise or blame?", fields="mood: praise|blame", name="mood")
    workspace.do("tag", mode="live", TASK="mood")
    assert workspace.states("mood") == {"answered": 2}


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
def test_no_form_of_an_address_shows_its_password(tmp_path: Path, url: str) -> None:
    """In `settings` and in what a command says that cannot use it; the server's name is shown."""
    workspace = Workspace(tmp_path / "here", settings={"DATABASE_URL": url})
    shown = {one["name"]: one["value"] for one in workspace.read("settings", all=True)}
    assert "db" in shown["FINDABLE_DATABASE_URL"]
    said = str(shown) + workspace.do("settings").said + workspace.run("status").said
    assert PASSWORD not in said


@on_a_server
def test_figures_of_a_worker_are_served_to_this_machine_alone(workspace: Workspace) -> None:
    """Another address is bound to only where `--host` names it."""
    workspace.people(1)
    workspace.do("worker", setup=True, yes=True)
    for host, is_open in (("", False), ("0.0.0.0", True)):  # noqa: S104 - what is tried
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        named: dict[str, Any] = {"host": host} if host else {}
        with workspace.start("worker", port=port, **named) as running:
            until(lambda: reached("127.0.0.1", port), running)  # noqa: B023 - called at once
            assert reached("127.0.0.2", port) == is_open


def reached(host: str, port: int) -> bool:
    """Return whether something listens at a port of an address."""
    try:
        socket.create_connection((host, port), timeout=LONGEST_S).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("name", ["batches/a\0b", "\0", "batches/\ud800"])
def test_a_name_that_no_file_can_have_is_told(tmp_path: Path, name: str) -> None:
    """A backup whose manifest has one is refused as what it is, and nothing is made."""
    first = Workspace(tmp_path / "first", settings={"DATABASE_URL": ""})
    first.people(1)
    first.do("backup", tmp_path / "copy")
    manifest = tmp_path / "copy" / "manifest.json"
    document: dict[str, Any] = json.loads(manifest.read_bytes())
    document["files"][name] = "0" * 64
    manifest.write_text(json.dumps(document))
    here = Workspace(tmp_path / "here", settings={"DATABASE_URL": ""})
    restore_run = here.do("restore", tmp_path / "copy", code=2)
    assert "no file can have that name; nothing was changed" in restore_run.err
    assert not here.data.exists()
