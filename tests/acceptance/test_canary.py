"""No key, no password and no upload session is ever shown or written, whatever is run and whatever goes wrong.

The commands are the aliases and those that `--help` lists, so that a new one is looked at by itself.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import postgresql
from tests.acceptance.database import connected, names
from tests.acceptance.engine import Engine
from tests.acceptance.product import KEY, ON_POSTGRESQL, Workspace, declaration
from tests.acceptance.test_page import ADD, operations, pages

SESSION = "canary-session-of-an-upload"
PASSWORD = "canary-password-of-a-database"  # noqa: S105 - neither kind of database asks for one
PART = 12  # characters of a secret that are too many already
ECHO = f"bad key {KEY} at https://h.example/upload?upload_id={SESSION}&key={KEY} in {{'upload_id': '{SESSION}'}}"
LONG_ECHO = "x" * 170 + ECHO  # where a cut may go through the middle of it
LOUD: Mapping[str, Any] = {
    "debug": True,
    "DEBUG": "1",
    "RETRY_FOR": "0.02",
    "POLL_PATIENCE": "0.05",
}
TYPED: Mapping[
    str, tuple[str, ...]
] = {  # what stands behind a command that does nothing, or little, without
    "import": ("people.csv", "--report", "report.csv"),
    "import-passages": ("passages.jsonl",),
    "import-images": ("photos",),
    "ask": ("people.csv", "-q", "Who?", "--name", "canary_2"),
    "new-task": ("canary", "--from", "people.csv"),
    "try": ("--n", "1"),
    "tag": ("--mode", "live", "--limit", "1"),
    "tag-live": ("--limit", "1"),
    "passages-backfill": ("--skip-pilot",),
    "search": ("water law",),
    "add-expert": ("new.json",),
    "show": ("p0", "--raw"),
    "settings": ("--all",),
    "forget": ("p1",),
    "remove-tables": ("--help",),  # or nothing would be left to look at
    "export": ("experts.csv",),
    "rollback": ("passage-concepts@9",),
    "backup": ("backup",),
    "restore": ("backup",),
    "batch-cancel": ("1",),
    "eval": ("queries.jsonl", "qrels.tsv"),
}
ORDER = (
    "import",
    "import-passages",
    "import-images",
    "batch-submit",
    "batch-poll",
    "batch-ingest",
    "index",
    "backup",
)
ALIASES = (
    *(
        "import-passages",
        "import-images",
        "passages-pilot",
        "passages-backfill",
        "passages-status",
        "tag-live",
    ),
    *("people", "unpark", "preflight", "log", "score"),
)
LATE = ("restore", "forget", "rollback", "clean")
SERVE = {
    "web",
    "emulator",
    "work",
    "worker",
    "demo",
}  # until they are ended; a demo has no key (below)
FAILURES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "a 400": ("status", {"code": 400, "message": ECHO, "headers": {"x-goog-api-key": KEY}}),
    "a 503": ("status", {"code": 503, "message": LONG_ECHO}),
    "a redirect": ("redirect", {"location": f"http://127.0.0.1:9/?key={KEY}&upload_id={SESSION}"}),
    "other JSON": (
        "wrong_shape",
        {"document": {"name": f"batches/{KEY}", "error": {"code": 3, "message": ECHO}}},
    ),
    "a cut connection": ("drop", {}),
}
AGREES: dict[
    str, dict[str, bool]
] = {}  # how a command is agreed to, as its help says; those that were asked
CALLERS = (
    "batch-submit",
    "batch-poll",
    "index",
    "search",
    "doctor",
    "try",
    "tag-live",
    "passages-pilot",
)


def put_files(workspace: Workspace) -> None:
    """Write what the commands read."""
    people = "".join(
        f'p{number},"I keep bees and teach water law, number {number}."\n' for number in range(3)
    )
    workspace.put("people.csv", f"Username,Bio\n{people}")
    texts = (
        {"id": f"t{number}", "text": f"Beekeeping is an old craft, number {number}."}
        for number in range(3)
    )
    workspace.put("passages.jsonl", "".join(f"{json.dumps(one)}\n" for one in texts))
    workspace.put("new.json", json.dumps({"username": "new", "bio": "I cast bells."}))
    workspace.put("queries.jsonl", '{"qid": "q1", "text": "water law"}\n')
    workspace.put("qrels.tsv", "q1\t0\tp0\t1\n")
    (workspace.home / "photos").mkdir()
    Image.new("RGB", (4, 4), "teal").save(workspace.home / "photos" / "field.png")


def listed(workspace: Workspace) -> list[str]:
    """Return every alias and what `--help` lists, what others need first, what takes something away last."""
    told = workspace.do("--help").out.partition("Commands:\n")[2]
    every = [*ALIASES, *re.findall(r"^  ([a-z-]+) ", told, re.MULTILINE)]
    assert len(every) > 15
    return sorted(
        every, key=lambda name: (name in LATE, ORDER.index(name) if name in ORDER else len(ORDER))
    )


def said_by(workspace: Workspace, commands: Iterable[str], **options: Any) -> str:
    """Run commands with all that shows more, agreeing to whatever is asked; return all they printed."""
    said = ""
    for name in commands:
        if name not in AGREES:
            AGREES[name] = {"yes": True} if "--yes" in workspace.run(name, help=True).out else {}
        agree = AGREES[name]
        done = workspace.run_unchecked(name, *TYPED.get(name, ()), **{**LOUD, **agree, **options})
        assert "bug in findable" not in done.said, done.said
        said += f"{name}: {done.code}\n{done.said}"
    return said


def check(folder: Path, *texts: str, secrets: Iterable[str]) -> None:
    """Look for each secret, if only its first characters, in texts and in every byte below a folder."""
    parts = {secret[:PART].encode() for secret in secrets}
    places = {
        f"text {number}": text.encode("utf-8", "replace") for number, text in enumerate(texts)
    }
    places |= {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".env"
    }
    assert [(place, part) for place, data in places.items() for part in parts if part in data] == []


def stored(workspace: Workspace) -> list[str]:
    """Return every row that a server keeps of a workspace, as text; a file lies below the workspace's folder."""
    if not ON_POSTGRESQL:
        return []
    with connected(workspace) as server:
        return [
            row[0]
            for name in names(server)
            for row in server.execute(f'SELECT t::text FROM "{name}" AS t')  # noqa: S608 - names that the database gave
        ]


def sessions(api: Engine) -> set[str]:
    """Return the upload sessions that the engine gave out."""
    return {found for one in api.journal() for found in re.findall(r"upload_id=(\w+)", one["path"])}


@pytest.fixture(name="workspace")
def _workspace(workspace: Workspace) -> Workspace:
    """A workspace with files for all commands, whose database's address has a password."""
    address = f"sqlite:///file:{workspace.data / 'findable.db'}?uri=true"
    used = postgresql.database_of(workspace.data) if ON_POSTGRESQL else address
    workspace.settings["DATABASE_URL"] = f"{used}&password={PASSWORD}"
    put_files(workspace)
    return workspace


# `try` asks again; lines of who is forgotten are taken out of sealed files
@pytest.mark.excused("nobody_is_answered_twice", "batches_are_made_once", "spend_adds_up")
def test_no_command_and_no_page_shows_a_secret(workspace: Workspace, api: Engine) -> None:
    """Every command there is, at full debug, then each page and document, then every byte that was written."""
    every = [name for name in listed(workspace) if name not in SERVE]
    ran = said_by(workspace, [name for name in every if name not in LATE])
    assert [name for name in ORDER if f"{name}: 0\n" not in ran] == []
    found = sessions(api)
    assert found
    with workspace.page(debug=True) as client:
        token = client.headers["authorization"].partition(" ")[2]
        api.fault(
            "status", times=100, path=":generateContent", args={"code": 503, "message": LONG_ECHO}
        )
        shown = [client.post(ADD, json={"username": "late", "bio": "I cast bells."}).text]
        shown += pages(client, "/", "/row?task=experts&key=late", "/batch?number=1").values()
        asked = {"key": "p0", "q": "bells", "username": "p0", "name": "p.csv"}
        reading = (path for method, path in operations(client) if method == "GET")
        shown += [
            client.get(path.replace("/tasks/1/", "/tasks/experts/"), params=asked).text
            for path in reading
        ]
        api.clear_faults()
    assert "bad key ***" in "".join(shown)
    ran += said_by(workspace, [name for name in LATE if name in every])
    check(
        workspace.home,
        ran,
        *shown,
        *stored(workspace),
        secrets={KEY, SESSION, PASSWORD, token, *found},
    )


@pytest.mark.excused("nobody_is_answered_twice")
def test_no_secret_is_shown_whatever_the_server_says(workspace: Workspace, api: Engine) -> None:
    """A server that tells the key and a session in every answer, hangs, or is gone; and a batch that failed so."""
    said = said_by(workspace, ("import", "import-passages"))
    api.fault("batch_fails", args={"error": {"code": 3, "message": ECHO}})
    said += said_by(workspace, ("batch-submit", "batch-poll", "batch-ingest", "batches"))
    assert "bad key ***" in said
    for name, (word, args) in FAILURES.items():
        api.fault(word, times=10_000, args=args)
        told = said_by(workspace, CALLERS)
        assert re.search("^[a-z-]+: [1-9]$", told, re.MULTILINE), (name, told)
        said += told
        api.clear_faults()
    api.fault("hang", times=10_000)
    said += said_by(workspace, ("batch-poll", "doctor", "try"), CALL_TIMEOUT="0.3")
    api.kill()
    said += said_by(workspace, CALLERS)
    api.start()
    api.clear_faults()
    said += said_by(workspace, ("status", "show", "parked", "log", "qc", "settings"))
    assert "Traceback" in said
    check(
        workspace.home, said, *stored(workspace), secrets={KEY, SESSION, PASSWORD, *sessions(api)}
    )


@pytest.mark.parametrize("more", ["", f"&password={KEY}"])
def test_an_address_that_cannot_be_reached_keeps_its_password(tmp_path: Path, more: str) -> None:
    """Whatever a command does with a database's server that is not there, the address is told without it."""
    url = f"postgresql+psycopg://a:{KEY}@127.0.0.1:9/b?sslmode=disable{more}"
    workspace = Workspace(tmp_path / "here", "http://127.0.0.1:9", settings={"DATABASE_URL": url})
    put_files(workspace)
    said = said_by(workspace, ("status", "import", "backup", "settings", "search", "doctor"))
    assert said.count(": 4\n") == 5, said
    assert "127.0.0.1" in said
    check(workspace.home, said, secrets={KEY})


@pytest.mark.parametrize("named", ["$THEIRS", ""])
def test_the_source_of_a_task_keeps_its_password(workspace: Workspace, named: str) -> None:
    """In a variable and in the task's file alike, whatever is done with its rows, and where it cannot be used."""
    if ON_POSTGRESQL:
        address = postgresql.database_of(workspace.home)
        postgresql.rows(address, "CREATE TABLE t AS SELECT 1 AS id, 'I keep bees.' AS text")
    else:
        connected_to = sqlite3.connect(workspace.home / "other.db")
        connected_to.execute("CREATE TABLE t AS SELECT 1 AS id, 'I keep bees.' AS text")
        connected_to.close()
        address = f"sqlite:///{workspace.home / 'other.db'}"
    workspace.task = "notes"
    said = ""
    verbs = (
        "try",
        "tag",
        "items",
        "show",
        "export",
        "versions",
        "log",
        "doctor",
        "status",
        "preflight",
    )
    for url in (address, "postgresql://a:b@127.0.0.1:9/x", "mysql://a@h/b", "no address://u:@h"):
        whole = (
            url.replace("://a:b@", f"://a:{PASSWORD}@")
            + f"{'&' if '?' in url else '?'}password={PASSWORD}"
        )
        workspace.put(".env", f"THEIRS={whole}\n")
        more = [f"source={(named or whole)!r}"]
        text = declaration({"topic": "str"}, prompt="{text}", items="SELECT * FROM t", more=more)
        workspace.put(
            "tasks/notes.py",
            text if named else f"{text}\n\nTask(answer=Answer, source={whole!r}, items=1)\n",
        )
        if not named:
            said += said_by(workspace, ("status", "try"))
            workspace.put("tasks/notes.py", text)
        behind = {**TYPED, "show": ("--item", "1"), "export": ("out.csv", "--overwrite")}
        for verb in verbs:
            said += workspace.run_unchecked(verb, *behind.get(verb, ()), **LOUD).said
    assert "1 answered" in said
    assert "the database of source=" in said
    check(workspace.home if named else workspace.data, said, *stored(workspace), secrets={PASSWORD})


def test_the_local_engine_gets_no_key(tmp_path: Path) -> None:
    """One in a `.env` file, with the local engine asked for: the key is nowhere, the engine's own state included."""
    workspace = Workspace(tmp_path / "here")
    workspace.put(".env", f"GEMINI_API_KEY={KEY}\nGOOGLE_API_KEY={KEY}\n")
    check(workspace.home, said_by(workspace, ("demo", "status", "settings")), secrets={KEY})


@pytest.mark.excused("no_key_is_on_disk")
def test_a_key_in_a_dotenv_file_is_kept_out_too(workspace: Workspace, api: Engine) -> None:
    """The key from `.env` is a key as any other; a server that tells it is not repeated."""
    workspace.put(".env", f"GEMINI_API_KEY={KEY}\n")
    api.fault("status", times=10_000, args={"code": 403, "message": ECHO})
    check(
        workspace.home,
        said_by(workspace, ("import", "batch-submit", "settings", "doctor")),
        secrets={KEY, SESSION},
    )
