"""The commands, options, settings and JSON members of the product, for all acceptance tests.

No other file of the acceptance tests knows them. The commands of a workspace run as processes of
the product at `PRODUCT`, by default this checkout. Differences between versions of the product are
described here, so every test works for both versions.
"""

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import postgresql
from tests.acceptance.loaded import OUTPUT_SEPARATOR
from tests.acceptance.process import (
    MAX_WAIT_S,
    NO_FATE,
    PRODUCT,
    PYTHON,
    EndedCommand,
    Running,
    read_json_lines,
    run_in_session,
)
from tests.acceptance.steps import Fate
from tests.scratch import run_folder, start_loaded_process, wait_until

ON_POSTGRESQL = os.environ.get("ASKROWS_TEST_DATABASE") == "postgresql"
KEY = "key-that-must-never-be-seen-anywhere"
PEOPLE = "experts"
PASSAGES = "passages"
IMAGES = "images"
# Tasks of commands that bring rows into a workspace.
TASKS_BY_COMMAND = {
    "add-expert": PEOPLE,
    "demo": PEOPLE,
    "import": PEOPLE,
    "import_images": IMAGES,
    "import_passages": PASSAGES,
    "score": PEOPLE,
}
# The form in which the engine of tests is called: that of Gemini or of OpenAI.
PROVIDER = os.environ.get("ASKROWS_TEST_PROVIDER", "gemini")
# The model, and USD for a million input and output tokens of it by batch; models.toml has date and
# source.
MODEL, *BATCH_PRICE = {
    "gemini": ("gemini-3.5-flash-lite", 0.15, 1.25),
    "openai": ("gpt-5-mini", 0.125, 1.0),
}[PROVIDER]
# The words that users type for these commands; other names differ only by hyphens.
VERBS = {
    "submit": ("batch-submit",),
    "poll": ("batch-poll",),
    "ingest": ("batch-ingest",),
    "cancel": ("batch-cancel",),
    "add": ("add-expert",),
    "add_row": ("add",),
    "pilot": ("passages-pilot",),
    "backfill": ("passages-backfill",),
    "log": ("show",),
    "preflight": ("tag", "--dry"),
    "run": ("work", "--once"),
}
# A process runs these commands once, so its forks have loaded everything that commands need.
WARM_UP_COMMANDS = (
    ("import", "people.csv"),
    ("batch-submit",),
    ("batch-poll",),
    ("batch-ingest",),
    ("index",),
    ("search", "water"),
    ("score",),
    ("status", "--json"),
    ("export", "out.csv"),
    ("show", "--json"),
    ("batches",),
    ("doctor",),
    ("prices",),
    ("tag", "--dry"),
    ("try", "--row", "ada"),
    ("tag-live",),
    ("tag",),
    ("work", "--once"),
    ("items",),
    ("show", "ada"),
    ("import-passages", "passages.jsonl"),
    ("tag", "--task", "passages"),
    ("status", "--json", "--task", "passages"),
    ("show", "--json", "--task", "passages"),
    ("export", "-", "--format", "jsonl", "--task", "passages"),
    ("parked", "--json"),
    ("costs", "--json"),
    ("export", "-", "--format", "jsonl"),
)
SHORT_WAITS = {
    "LIST_LAG": "0",
    # A busy engine must answer in this time, or the product creates and cancels a second batch.
    "CREATE_TIMEOUT": "2",
    "CALL_TIMEOUT": "5",
    "RETRY_FOR": "2",
    "RETRY_WAIT": "0.01",
    "POLL_FIRST": "0.02",
    "POLL_MOST": "0.1",
    "POLL_PATIENCE": "3",
}
HEADER = "Username,First Name,Last Name,Job Title,Company,Bio\n"
# Price of each mode as a multiple of the batch price.
TIERS = {"batch": 1, "flex": 1, "standard": 2, "priority": 3.6}
OUTCOMES = ("answered", "refused", "invalid", "missing")
FINAL_STATES = {"ingested", "failed"}
MAX_ROWS = 1_000_000
BATCH_COMMANDS = ("submit", "poll", "ingest")
on_a_server = pytest.mark.skipif(not ON_POSTGRESQL, reason="several workers need PostgreSQL")


def start_product() -> Path:
    """Return the folder of the process that has loaded the product."""
    url = postgresql.database_of(run_folder() / "warm") if ON_POSTGRESQL else ""
    command = ["-m tests.acceptance.loaded", PRODUCT, json.dumps(WARM_UP_COMMANDS), url]
    return start_loaded_process("product", command, python=PYTHON)


@dataclass
class Workspace:
    """A workspace in `home`/data and the environment of its commands, which run in `home`.

    No output of a command contains a key or a traceback.
    """

    home: Path
    # URL of the API; if it is empty, commands use the engine inside the product.
    url: str = ""
    # Task of the commands; if it is empty, the task is people.
    task: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    # The key of the API; without one, OpenAI's form is that of a server of one's own.
    key: str = KEY
    # The form in which the API is called.
    provider: str = PROVIDER
    data: Path = field(init=False)
    # The durable steps of commands are counted in this folder.
    step_folder: Path = field(init=False)
    # All tasks that commands had so far.
    used_tasks: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Set the folders without creating them; a server gets an empty database."""
        self.data = self.home / "data"
        self.step_folder = self.data

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables of its commands; without a URL they use the embedded engine."""
        variables = {
            **SHORT_WAITS,
            "DATA": str(self.data),
            "BACKEND": self.provider if self.url else "local",
        }
        if self.server:
            variables["DATABASE_URL"] = self.server
        variables |= self.settings
        if self.task:
            variables["TASK"] = self.task

        environ = {f"ASKROWS_{name}": value for name, value in variables.items()}
        if self.url and self.provider != "gemini":
            environ |= {"OPENAI_API_KEY": self.key, "OPENAI_BASE_URL": self.api}
        elif self.url:
            environ |= {"GEMINI_API_KEY": self.key, "GOOGLE_GEMINI_BASE_URL": self.api}
        return environ

    @property
    def api(self) -> str:
        """Return the address that its commands call; empty if they use the engine inside."""
        return self.url if self.provider == "gemini" or not self.url else f"{self.url}/openai/v1"

    @property
    def server(self) -> str:
        """Return the URL of its PostgreSQL database; empty if the database is a file."""
        url = self.settings.get("DATABASE_URL")
        if url is not None:
            return url if url.startswith("postgresql") else ""
        return postgresql.database_of(self.data) if ON_POSTGRESQL else ""

    def start_command(
        self,
        verb: str,
        *arguments: object,
        fate: Fate = NO_FATE,
        read_only: bool = False,
        off_days: int = 0,
        **options: Any,
    ) -> Running:
        """Start a command.

        Args:
            fate: An event at one of its durable steps.
            read_only: Make the folder of the steps read-only for the process.
            off_days: Days by which the clock of the process is ahead.
            options: Options in lower case and settings in upper case. An option that is True has no
                value, and an option that is False is left out.
        """
        words = [command_words(verb, *arguments, **options)]
        folder = start_product()
        environ = self._prepare(verb, options)
        return Running(
            folder,
            words,
            environ=environ,
            cwd=self.home,
            below=self.step_folder,
            fate=fate,
            read_only=read_only,
            off_days=off_days,
        )

    def try_command(self, verb: str, *arguments: object, **options: Any) -> EndedCommand:
        """Run a command with any exit code, in a session or, with `fate`, in a separate process."""
        if {"fate", "read_only"} & options.keys():
            return check_output(verb, self.start_command(verb, *arguments, **options).wait())
        return check_output(verb, self.run_unchecked(verb, *arguments, **options))

    def run_unchecked(self, verb: str, *arguments: object, **options: Any) -> EndedCommand:
        """Run a command in a session; its test searches the output for keys and tracebacks."""
        return self._run_in_session(
            [command_words(verb, *arguments, **options)], self._prepare(verb, options)
        )

    def _prepare(self, verb: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Create `home`, record the task of a command, and return the command's environment.

        A first command without a task is about people.
        """
        task = options.get("TASK") or self.settings.get("TASK") or self.task
        task = task or TASKS_BY_COMMAND.get(verb)
        if task or not self.used_tasks:
            self.used_tasks.add(task or PEOPLE)
        self.home.mkdir(parents=True, exist_ok=True)
        settings = {
            f"ASKROWS_{name}": str(value) for name, value in options.items() if name.isupper()
        }
        return self.environ | settings

    def _run_in_session(
        self, commands: Sequence[Sequence[str]], environ: Mapping[str, str]
    ) -> EndedCommand:
        """Run commands in a session that has read the present task files."""
        files = sorted((self.home / "tasks").glob("**/*.py"))
        task_files = tuple(
            (path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files
        )
        return run_in_session(
            start_product(),
            commands,
            environ=environ,
            task_files=task_files,
            cwd=self.home,
            below=self.step_folder,
        )

    def run_command(
        self, verb: str, *arguments: object, code: int | str = 0, **options: Any
    ) -> EndedCommand:
        """Run a command that must end with an exit code."""
        process = self.try_command(verb, *arguments, **options)
        assert code in {process.code, "any"}, (verb, arguments, options, process)
        return process

    def run_commands(self, *verbs: str, **options: Any) -> None:
        """Run commands in sequence, each of which must succeed."""
        for verb in verbs:
            self.run_command(verb, **options)

    def read_json(self, verb: str, *arguments: object, **options: Any) -> Any:
        """Return the JSON document of a command that must succeed."""
        return self.run_command(verb, *arguments, json=True, **options).json

    def outputs(self, *commands: Sequence[str]) -> list[str]:
        """Return the outputs of commands that run in sequence in one process and must succeed."""
        session_run = self._run_in_session(commands, self.environ | {"ASKROWS_TASK": ""})
        process = check_output(commands, session_run)
        assert process.code == 0, (commands, process)
        return process.stdout.split(OUTPUT_SEPARATOR)

    def status(self, **options: Any) -> dict[str, Any]:
        """Return the document of `status`."""
        document: dict[str, Any] = self.read_json("status", **options)
        return document

    def state_counts(self, task: str = "") -> dict[str, int]:
        """Return the row count of each state of a task, without empty states and the total."""
        task_name = task or self.task or PEOPLE
        counts = self.status(**task_setting(task_name))[task_name]
        return {name: count for name, count in counts.items() if count and name != "total"}

    def next_command(self, **options: Any) -> list[str]:
        """Return the words of the command that `status` proposes, or an empty list."""
        proposal = str(self.status(**options)["next"] or "")
        words = [word for word in proposal.split() if "ASKROWS_" not in word]
        return words[1:]

    def batches(self) -> list[dict[str, Any]]:
        """Return every batch of all tasks, oldest first.

        A batch has number, task, state, remote_name, requests, each of OUTCOMES, and cost.
        """
        batches: list[dict[str, Any]] = self.read_json("batches", **task_setting(""))
        return sorted(batches, key=lambda batch: int(batch["number"]))

    def batch_states(self) -> list[str]:
        """Return the state of each batch that the Batch API answers, oldest first."""
        return [batch["state"] for batch in self.batches() if batch["mode"] == "batch"]

    def logged_requests(self, task: str = "") -> list[dict[str, Any]]:
        """Return every request of a task, oldest first.

        A request has row, batch, line, outcome, reason, version, answer, and cost.
        """
        requests: list[dict[str, Any]] = self.read_json(
            "log", n=MAX_ROWS, **task_setting(task or self.task or PEOPLE)
        )
        return requests[::-1]

    def listed_rows(self, task: str = "") -> list[dict[str, Any]]:
        """Return every listed row of a task with its id, name and state."""
        document = self.read_json(
            "items", limit=MAX_ROWS, **task_setting(task or self.task or PEOPLE)
        )
        rows: list[dict[str, Any]] = document["rows"]
        return rows

    def exported_rows(self, task: str = "", **options: Any) -> list[dict[str, Any]]:
        """Return the JSON lines that `export` writes for a task."""
        all_options: dict[str, Any] = {**task_setting(task or self.task or PEOPLE), **options}
        export_run = self.run_command("export", "-", format="jsonl", **all_options)
        return [json.loads(line) for line in export_run.stdout.split("\n") if line]

    def exported_tags(self) -> dict[str, list[str]]:
        """Return the exported tags of all people by username; a missing tag list is empty."""
        return {
            row["Username"]: row["tags"] or []
            for row in self.exported_rows(PEOPLE)
            if row["state"] != "refused"
        }

    def parked_reasons(self, task: str = "") -> dict[str, str]:
        """Return the reasons of the parked rows of a task by name."""
        rows = self.read_json("parked", **task_setting(task or self.task or PEOPLE))
        return {row["name"]: row["reason"] for row in rows}

    def search(self, question: str, **options: Any) -> list[str]:
        """Return the search hits, nearest first: usernames, or keys of rows."""
        hits = self.read_json("search", question, **options)
        return [hit.get("username") or hit["key"] for hit in hits]

    def spending(self) -> dict[str, float]:
        """Return the spending in USD: actual, estimated (of running batches), lost."""
        spending: dict[str, float] = self.status()["spent"]
        return spending

    def import_people(self, count: int, *, first: int = 0, without_bio: int = 0) -> list[str]:
        """Import people with a bio, and some without; return their usernames.

        Their ids count up from 1.
        """
        names = [f"person-{number:04d}" for number in range(first, first + count + without_bio)]
        bios = [f"I keep bees and teach water law number {number}." for number in range(count)]
        bios += [""] * without_bio
        lines = [
            f"{name},Person,{name[7:]},,,{bio}\n" for name, bio in zip(names, bios, strict=True)
        ]

        self.write_file(f"people-{first}.csv", HEADER + "".join(lines))
        self.run_command("import", f"people-{first}.csv", TASK="")
        return names

    def write_file(self, name: str, text: str) -> Path:
        """Write a file below `home`."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def sealed_requests(self, number: int) -> list[dict[str, Any]]:
        """Return the lines of a batch's sealed request file: `key` and `request`."""
        return read_json_lines(self.data / "batches" / f"{number:06d}-requests.jsonl")

    def sealed_replies(self, number: int) -> list[dict[str, Any]]:
        """Return the readable lines of a batch's sealed result file.

        A line has `key` and either `response` or `error`.
        """
        return read_json_lines(self.data / "batches" / f"{number:06d}-results.jsonl")

    @contextmanager
    def serve_page(self, **options: Any) -> Iterator[httpx2.Client]:
        """Serve the page during a block, and yield a client with its token and its base URL."""
        command = self.start_command("web", port=0, no_open=True, **options)
        with command as running, open_page(running) as client:
            yield client
            running.signal(signal.SIGTERM)
            process = running.wait()
            assert process.code == 0, process


@contextmanager
def open_page(running: Running) -> Iterator[httpx2.Client]:
    """Wait until a started page prints its address, and yield a client with its token."""
    wait_until(lambda: "token=" in running.read_output() or running.is_finished())
    address = re.search(r"(http://[^\s/]+)/\?token=(\S+)\s", running.read_output())
    assert address is not None, running.read_output()
    base_url, token = address.groups()
    headers = {"authorization": f"Bearer {token}"}
    with httpx2.Client(
        base_url=base_url, headers=headers, trust_env=False, timeout=MAX_WAIT_S
    ) as client:
        yield client


def command_words(verb: str, *arguments: object, **options: Any) -> list[str]:
    """Return the words of a command; names in upper case are settings and add no word."""
    words = [*VERBS.get(verb, (verb.replace("_", "-"),)), *map(str, arguments)]
    for name, value in options.items():
        if not name.islower() or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}")
        if value is not True:
            words.append(str(value))
    return words


def check_output(command: object, process: EndedCommand) -> EndedCommand:
    """Assert that an ended command shows no key, no traceback and no bug, and return it."""
    assert KEY not in process.output, f"{command} shows the key"
    assert "Traceback" not in process.stderr, f"{command}: {process.stderr}"
    assert "bug in askrows" not in process.output, f"{command}: {process.output}"
    return process


def task_setting(task: str) -> dict[str, str]:
    """Return the setting that selects the task of a command."""
    return {"TASK": task}


def write_declaration(
    fields: Mapping[str, str], *, prompt: str, items: str, extra_arguments: Sequence[str] = ()
) -> str:
    """Return the file of a declared task.

    Args:
        fields: The type of each field of the answer.
        prompt: The prompt of the task.
        items: The source of its rows.
        extra_arguments: Further arguments of the task as code.
    """
    field_lines = "".join(f"    {name}: {kind}\n" for name, kind in fields.items())
    arguments = ", ".join([f"items={items!r}", f"prompt={prompt!r}", *extra_arguments])
    return (
        "from typing import Literal\n\n"
        "from pydantic import BaseModel\n\n"
        "from askrows import Quote, Task\n\n\n"
        f"class Answer(BaseModel):\n{field_lines}\n\n"
        f"task = Task(answer=Answer, {arguments})\n"
    )
