"""Test that no key, password or upload session is shown or written.

The tests run all aliases and all commands of `--help`, so that a new command is included.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests import postgresql
from tests.acceptance.database import connect, list_tables
from tests.acceptance.engine import Engine
from tests.acceptance.page_calls import ADD_PATH, read_linked_pages, read_operations
from tests.acceptance.product import KEY, ON_POSTGRESQL, Workspace, write_declaration

SESSION = "canary-session-of-an-upload"
PASSWORD = "canary-password-of-a-database"  # noqa: S105 - no database of the tests needs it
# A secret counts as shown if its first characters are shown.
LEAK_LENGTH = 12
ECHO = (
    f"bad key {KEY} at https://h.example/upload?upload_id={SESSION}&key={KEY} "
    f"in {{'upload_id': '{SESSION}'}}"
)
# A long message is cut in the middle of the secret.
LONG_ECHO = "x" * 170 + ECHO
DEBUG_OPTIONS: Mapping[str, Any] = {
    "debug": True,
    "DEBUG": "1",
    "RETRY_FOR": "0.02",
    "POLL_PATIENCE": "0.05",
}
# Arguments of commands that do little without them. `remove-tables` would remove all rows.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
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
    "remove-tables": ("--help",),
    "export": ("experts.csv",),
    "rollback": ("passage-concepts@9",),
    "backup": ("backup",),
    "restore": ("backup",),
    "batch-cancel": ("1",),
    "eval": ("queries.jsonl", "qrels.tsv"),
}
# Other commands need the result of these commands.
FIRST_COMMANDS = (
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
    "import-passages",
    "import-images",
    "passages-pilot",
    "passages-backfill",
    "passages-status",
    "tag-live",
    "people",
    "unpark",
    "score",
)
# These commands delete rows or files.
LAST_COMMANDS = ("restore", "forget", "rollback", "clean")
# These commands run until they are stopped, or use no key (`demo`).
SERVING_COMMANDS = {"web", "emulator", "work", "demo"}
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
# Commands whose last option gets a key as its value.
MISTYPED_COMMANDS = (
    ("tag", "--model"),
    ("tag", "--limit"),
    ("batch-poll", "--task"),
    ("settings", "--version"),
    ("items", "--json", "--sort"),
    ("show", "--json"),
)
# Consent options by command, for commands whose help was read.
CONSENT_OPTIONS: dict[str, dict[str, bool]] = {}
CALLING_COMMANDS = (
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
    """Write the files that the commands read."""
    people_lines = ["Username,Bio"]
    passage_lines = []
    for number in range(3):
        people_lines.append(f'p{number},"I keep bees and teach water law, number {number}."')
        text = f"Beekeeping is an old craft, number {number}."
        passage_lines.append(json.dumps({"id": f"t{number}", "text": text}))
    workspace.write_file("people.csv", "\n".join(people_lines) + "\n")
    workspace.write_file("passages.jsonl", "\n".join(passage_lines) + "\n")
    workspace.write_file("new.json", json.dumps({"username": "new", "bio": "I cast bells."}))
    workspace.write_file("queries.jsonl", '{"qid": "q1", "text": "water law"}\n')
    workspace.write_file("qrels.tsv", "q1\t0\tp0\t1\n")
    (workspace.home / "photos").mkdir()
    Image.new("RGB", (4, 4), "teal").save(workspace.home / "photos" / "field.png")


def list_commands(workspace: Workspace) -> list[str]:
    """Return all aliases and commands in an order in which they can run."""
    help_lines = workspace.run_command("--help").stdout.partition("Commands:\n")[2]
    commands = [*ALIASES, *re.findall(r"^  ([a-z-]+) ", help_lines, re.MULTILINE)]
    assert len(commands) > 15

    def sort_key(command: str) -> tuple[bool, int]:
        position = len(FIRST_COMMANDS)
        if command in FIRST_COMMANDS:
            position = FIRST_COMMANDS.index(command)
        return command in LAST_COMMANDS, position

    return sorted(commands, key=sort_key)


def run_commands(workspace: Workspace, commands: Iterable[str], **options: Any) -> str:
    """Run commands with debug output and consent, and return their output."""
    output = ""
    for command in commands:
        if command not in CONSENT_OPTIONS:
            takes_consent = "--yes" in workspace.try_command(command, help=True).stdout
            CONSENT_OPTIONS[command] = {"yes": True} if takes_consent else {}
        all_options = {**DEBUG_OPTIONS, **CONSENT_OPTIONS[command], **options}
        arguments = ARGUMENTS.get(command, ())
        process = workspace.run_unchecked(command, *arguments, **all_options)
        assert "bug in askrows" not in process.output, process.output
        output += f"{command}: {process.code}\n{process.output}"
    return output


def check_no_secret_is_shown(folder: Path, *texts: str, secrets: Iterable[str]) -> None:
    """Check that the first characters of no secret are in texts or in files of a folder."""
    prefixes = {secret[:LEAK_LENGTH].encode() for secret in secrets}
    contents = {
        f"text {number}": text.encode("utf-8", "replace") for number, text in enumerate(texts)
    }
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".env":
            contents[str(path)] = path.read_bytes()

    leaks = []
    for place, content in contents.items():
        leaks += [(place, prefix) for prefix in prefixes if prefix in content]
    assert leaks == []


def read_server_rows(workspace: Workspace) -> list[str]:
    """Return all rows of a workspace on a server as texts; a database file is in its folder."""
    if not ON_POSTGRESQL:
        return []
    rows = []
    with connect(workspace) as server:
        for table in list_tables(server):
            query = f'SELECT t::text FROM "{table}" AS t'  # noqa: S608 - a name from the database
            rows += [row[0] for row in server.execute(query)]
    return rows


def upload_sessions(api: Engine) -> set[str]:
    """Return the upload sessions that the engine created."""
    paths = " ".join(call["path"] for call in api.journal())
    return set(re.findall(r"upload_id=(\w+)", paths))


@pytest.fixture(name="workspace")
def _workspace(workspace: Workspace) -> Workspace:
    """Return a workspace with files for all commands and a password in its database's address."""
    file_address = f"sqlite:///file:{workspace.data / 'askrows.db'}?uri=true"
    address = postgresql.database_of(workspace.data) if ON_POSTGRESQL else file_address
    workspace.settings["DATABASE_URL"] = f"{address}&password={PASSWORD}"
    put_files(workspace)
    return workspace


# `try` sends rows again, and `forget` removes lines from sealed files.
@pytest.mark.excused("nobody_is_answered_twice", "batches_are_made_once", "spend_adds_up")
@pytest.mark.promise("commands")
def test_no_command_or_page_shows_a_secret(workspace: Workspace, api: Engine) -> None:
    """No command with debug output, no page, no document and no file contains a secret."""
    commands = [name for name in list_commands(workspace) if name not in SERVING_COMMANDS]
    first_commands = [name for name in commands if name not in LAST_COMMANDS]
    last_commands = [name for name in LAST_COMMANDS if name in commands]
    output = run_commands(workspace, first_commands)
    assert [name for name in FIRST_COMMANDS if f"{name}: 0\n" not in output] == []
    sessions = upload_sessions(api)
    assert sessions

    with workspace.serve_page(debug=True) as client:
        token = client.headers["authorization"].partition(" ")[2]
        pages = _read_pages_after_failure(client, api)
    assert "bad key ***" in "".join(pages)

    output += run_commands(workspace, last_commands)
    secrets = {KEY, SESSION, PASSWORD, token, *sessions}
    texts = [output, *pages, *read_server_rows(workspace)]
    check_no_secret_is_shown(workspace.home, *texts, secrets=secrets)


def _read_pages_after_failure(client: httpx2.Client, api: Engine) -> list[str]:
    """Return all pages and documents after a call whose error contains the secrets."""
    error = {"code": 503, "message": LONG_ECHO}
    api.script_fault("status", times=100, path=":generateContent", args=error)
    person = {"username": "late", "bio": "I cast bells."}
    pages = [client.post(ADD_PATH, json=person).text]
    pages += read_linked_pages(
        client, "/", "/row?task=experts&key=late", "/batch?number=1"
    ).values()

    parameters = {"key": "p0", "q": "bells", "username": "p0", "name": "p.csv"}
    for method, path in read_operations(client):
        if method == "GET":
            experts_path = path.replace("/tasks/1/", "/tasks/experts/")
            pages.append(client.get(experts_path, params=parameters).text)
    api.clear_faults()
    return pages


@pytest.mark.excused("nobody_is_answered_twice")
def test_no_secret_is_shown_for_any_reply_of_the_server(workspace: Workspace, api: Engine) -> None:
    """A server that echoes secrets, hangs or is down makes no command show a secret."""
    output = run_commands(workspace, ("import", "import-passages"))
    api.script_fault("batch_fails", args={"error": {"code": 3, "message": ECHO}})
    output += run_commands(workspace, ("batch-submit", "batch-poll", "batch-ingest", "batches"))
    assert "bad key ***" in output

    for name, (fault, arguments) in FAILURES.items():
        api.script_fault(fault, times=10_000, args=arguments)
        failure_output = run_commands(workspace, CALLING_COMMANDS)
        is_failed = re.search("^[a-z-]+: [1-9]$", failure_output, re.MULTILINE)
        assert is_failed, (name, failure_output)
        output += failure_output
        api.clear_faults()

    api.script_fault("hang", times=10_000)
    output += run_commands(workspace, ("batch-poll", "doctor", "try"), CALL_TIMEOUT="0.3")
    api.kill()
    output += run_commands(workspace, CALLING_COMMANDS)
    api.start()
    api.clear_faults()

    output += run_commands(workspace, ("status", "show", "parked", "qc", "settings"))
    assert "Traceback" in output
    secrets = {KEY, SESSION, PASSWORD, *upload_sessions(api)}
    texts = [output, *read_server_rows(workspace)]
    check_no_secret_is_shown(workspace.home, *texts, secrets=secrets)


def create_foreign_database(workspace: Workspace) -> str:
    """Create another program's database with a row, and return its address."""
    statement = "CREATE TABLE t AS SELECT 1 AS id, 'I keep bees.' AS text"
    if ON_POSTGRESQL:
        address = postgresql.database_of(workspace.home)
        postgresql.rows(address, statement)
        return address
    path = workspace.home / "other.db"
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()
    return f"sqlite:///{path}"


@pytest.mark.parametrize("variable", ["$THEIRS", ""])
@pytest.mark.promise("databases")
def test_password_of_a_source_is_not_shown(workspace: Workspace, variable: str) -> None:
    """A source's password in a variable or a task's file is not shown, also if it is invalid."""
    address = create_foreign_database(workspace)
    workspace.task = "notes"
    arguments = {**ARGUMENTS, "show": ("--row", "1"), "export": ("out.csv", "--overwrite")}
    output = ""
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
        separator = "&" if "?" in url else "?"
        url_with_password = url.replace("://a:b@", f"://a:{PASSWORD}@")
        source = f"{url_with_password}{separator}password={PASSWORD}"
        workspace.write_file(".env", f"THEIRS={source}\n")
        task_arguments = [f"source={(variable or source)!r}"]
        text = write_declaration(
            {"topic": "str"},
            prompt="{text}",
            items="SELECT * FROM t",
            extra_arguments=task_arguments,
        )
        if not variable:
            # A second task makes the file invalid, so that messages quote it.
            invalid_task = f"Task(answer=Answer, source={source!r}, items=1)"
            workspace.write_file("tasks/notes.py", f"{text}\n\n{invalid_task}\n")
            output += run_commands(workspace, ("status", "try"))
        workspace.write_file("tasks/notes.py", text)
        for verb in verbs:
            process = workspace.run_unchecked(verb, *arguments.get(verb, ()), **DEBUG_OPTIONS)
            output += process.output

    assert "1 answered" in output
    assert "the database of source=" in output
    # The file of the task contains the password if no variable does.
    folder = workspace.home if variable else workspace.data
    texts = [output, *read_server_rows(workspace)]
    check_no_secret_is_shown(folder, *texts, secrets={PASSWORD})


@pytest.mark.excused("no_key_is_on_disk")
@pytest.mark.promise("names")
def test_key_of_a_dotenv_file_is_not_shown(workspace: Workspace, api: Engine) -> None:
    """A key in `.env` is not shown, also if the server echoes it."""
    workspace.write_file(".env", f"GEMINI_API_KEY={KEY}\n")
    api.script_fault("status", times=10_000, args={"code": 403, "message": ECHO})
    output = run_commands(workspace, ("import", "batch-submit", "settings", "doctor"))
    check_no_secret_is_shown(workspace.home, output, secrets={KEY, SESSION})


@pytest.mark.parametrize("typed_key", [KEY, "AIza-a-key-of-another-project-of-Google"])
@pytest.mark.promise("names")
def test_key_typed_as_another_value_is_not_shown(workspace: Workspace, typed_key: str) -> None:
    """No message or document shows a key that was typed as the value of another option."""
    workspace.run_command("import", "people.csv")
    runs = [workspace.run_unchecked(*words, typed_key) for words in MISTYPED_COMMANDS]
    assert [run.output for run in runs if "***" not in run.output] == []
    output = "".join(run.output for run in runs)
    check_no_secret_is_shown(workspace.home, output, secrets={typed_key})
