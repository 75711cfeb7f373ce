"""The only file of the acceptance tests that knows what people type and read: words, options, settings, JSON members.

A workspace's commands run as processes of the product at `PRODUCT`, this checkout where nothing is said. What differs
between one version of the product and another is said here, so that every test holds for both.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests import postgresql
from tests.acceptance.loaded import BETWEEN
from tests.acceptance.process import (
    LIVES,
    LONGEST_S,
    PRODUCT,
    Done,
    Running,
    json_lines,
    loaded,
    quickly,
    run_folder,
)
from tests.acceptance.steps import Fate

ON_POSTGRESQL = os.environ.get("FINDABLE_TEST_DATABASE") == "postgresql"
KEY = "key-that-must-never-be-seen-anywhere"
PEOPLE = "experts"
PASSAGES = "passages"
IMAGES = "images"
MODEL = "gemini-3.5-flash-lite"
BATCH_PRICE = (
    0.15,
    1.25,
)  # of that model, USD a million tokens in and out by batch (models.toml has date and source)
VERBS = {  # what a test says, and what people type where it is another word; `tag_live` is typed `tag-live`
    "submit": "batch-submit",
    "poll": "batch-poll",
    "ingest": "batch-ingest",
    "cancel": "batch-cancel",
    "add": "add-expert",
    "pilot": "passages-pilot",
    "backfill": "passages-backfill",
}
WARM = (  # a day in which a process loads what commands need, so that a fork of it has it
    *(
        ("import", "people.csv"),
        ("batch-submit",),
        ("batch-poll",),
        ("batch-ingest",),
        ("index",),
        ("search", "water"),
    ),
    *(
        ("score",),
        ("status", "--json"),
        ("export", "out.csv"),
        ("log", "--json"),
        ("batches",),
        ("doctor",),
    ),
    *(
        ("prices",),
        ("preflight",),
        ("try", "--item", "ada"),
        ("tag-live",),
        ("tag",),
        ("run",),
        ("items",),
        ("show", "ada"),
    ),
    *(
        ("import-passages", "passages.jsonl"),
        ("tag", "--task", "passages"),
        ("status", "--json", "--task", "passages"),
    ),
    *(
        ("log", "--json", "--task", "passages"),
        ("export", "-", "--format", "jsonl", "--task", "passages"),
    ),
    *(("parked", "--json"), ("costs", "--json"), ("export", "-", "--format", "jsonl")),
)
WAITS = {
    "LIST_LAG": "0",
    "CREATE_TIMEOUT": "2",  # a busy engine must keep it, or a second batch is made and cancelled, as it should
    "CALL_TIMEOUT": "5",
    "RETRY_FOR": "2",
    "RETRY_WAIT": "0.01",
    "POLL_FIRST": "0.02",
    "POLL_MOST": "0.1",
    "POLL_PATIENCE": "3",
}
HEADER = "Username,First Name,Last Name,Job Title,Company,Bio\n"
TIERS = {
    "batch": 1,
    "flex": 1,
    "standard": 2,
    "priority": 3.6,
}  # how many times as much as by batch
OUTCOMES = ("answered", "refused", "invalid", "missing")
OVER = {"ingested", "failed"}
MOST = 1_000_000


def product() -> Path:
    """Return the folder of the process that has the product loaded."""
    url = postgresql.database_of(run_folder() / "warm") if ON_POSTGRESQL else ""
    return loaded("product", ["-m tests.acceptance.loaded", PRODUCT, json.dumps(WARM), url])


@dataclass
class Workspace:
    """A workspace in `home`/data, with the environment of its commands; they run in `home`, their steps are `below`.

    `task` is what they are about (people where it is empty), `seen` all tasks that they were about. Whatever a command
    prints, no key is in it, and no traceback.
    """

    home: Path
    url: str = ""
    task: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    version: Callable[[], Path] = (
        product  # starts what has the product loaded, and returns its folder
    )
    data: Path = field(init=False)
    below: Path = field(init=False)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Know where it is; nothing is made, but on a server its empty database."""
        self.data = self.below = self.home / "data"

    @property
    def environ(self) -> dict[str, str]:
        """Return what its commands find in their environment; without a server of the API, the embedded engine."""
        named = {**WAITS, "DATA": str(self.data), "BACKEND": "gemini" if self.url else "local"}
        if self.server:
            named["DATABASE_URL"] = self.server
        if self.url:
            named["TRUST"] = self.url
        named |= self.settings | ({"TASK": self.task} if self.task else {})
        reached = {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": self.url} if self.url else {}
        return reached | {f"FINDABLE_{name}": value for name, value in named.items()}

    @property
    def server(self) -> str:
        """Return the URL of its database on a PostgreSQL server; empty if the database is a file."""
        url = self.settings.get("DATABASE_URL")
        if url is not None:
            return url if url.startswith("postgresql") else ""
        return postgresql.database_of(self.data) if ON_POSTGRESQL else ""

    def start(
        self,
        verb: str,
        *arguments: object,
        fate: Fate = LIVES,
        read_only: bool = False,
        off_days: int = 0,
        **how: Any,
    ) -> Running:
        """Start a command: options are in lower case, settings in upper; `fate` is what befalls it at one of its steps.

        An option that is true stands alone, one that is false is left out. Its clock is `off_days` ahead.
        """
        words = [typed(verb, *arguments, **how)]
        where = self.version()
        environ = self._begin(how)
        how = {"fate": fate, "read_only": read_only, "off_days": off_days}
        return Running(where, words, environ=environ, cwd=self.home, below=self.below, **how)

    def run(self, verb: str, *arguments: object, **how: Any) -> Done:
        """Run a command, however it ends: with a `fate` or `read_only` in a process of its own, else in a session."""
        if {"fate", "read_only"} & how.keys():
            return held(verb, self.start(verb, *arguments, **how).wait())
        return held(verb, self.run_unchecked(verb, *arguments, **how))

    def run_unchecked(self, verb: str, *arguments: object, **how: Any) -> Done:
        """Run a command in a session; its test looks through the output for keys and tracebacks by itself."""
        return self._told([typed(verb, *arguments, **how)], self._begin(how))

    def _begin(self, how: Mapping[str, Any]) -> dict[str, str]:
        """Make the folder in which commands run, note what this one is about, and return its environment."""
        self.seen.add(how.get("TASK") or self.settings.get("TASK") or self.task or PEOPLE)
        self.home.mkdir(parents=True, exist_ok=True)
        return self.environ | {
            f"FINDABLE_{name}": str(value) for name, value in how.items() if name.isupper()
        }

    def _told(self, commands: Sequence[Sequence[str]], environ: Mapping[str, str]) -> Done:
        """Run commands in a session, which has read the files of declared tasks as they are."""
        files = sorted((self.home / "tasks").glob("**/*.py"))
        read = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
        here = self.version()
        where = {"cwd": self.home, "below": self.below}
        return quickly(here, commands, environ=environ, knows=read, **where)

    def do(self, verb: str, *arguments: object, code: int | str = 0, **how: Any) -> Done:
        """Run a command that must end with an exit code."""
        process = self.run(verb, *arguments, **how)
        assert code in {process.code, "any"}, (verb, arguments, how, process)
        return process

    def each(self, *verbs: str, **how: Any) -> None:
        """Run commands one after the other, each of which must end well."""
        for verb in verbs:
            self.do(verb, **how)

    def read(self, verb: str, *arguments: object, **how: Any) -> Any:
        """Return the JSON document of a command that ends well."""
        return self.do(verb, *arguments, json=True, **how).json

    def outputs(self, *commands: Sequence[str]) -> list[str]:
        """Return what several commands print that end well; they run one after the other in one process."""
        done = held(commands, self._told(commands, self.environ | {"FINDABLE_TASK": ""}))
        assert done.code == 0, (commands, done)
        return done.out.split(BETWEEN)

    def status(self, **how: Any) -> dict[str, Any]:
        """Return where it stands."""
        found: dict[str, Any] = self.read("status", **how)
        return found

    def states(self, task: str = "") -> dict[str, int]:
        """Return how many rows of a task are in each state; states without rows, and the sum of all, are left out."""
        named = task or self.task or PEOPLE
        counted = self.status(**of(named))[named]
        return {name: count for name, count in counted.items() if count and name != "total"}

    def next(self, **how: Any) -> list[str]:
        """Return the command that `status` says is next, alone in a list; none where there is nothing to do."""
        words = [
            word
            for word in str(self.status(**how)["next"] or "").split()
            if "FINDABLE_" not in word
        ]
        return words[1:2]

    def batches(self) -> list[dict[str, Any]]:
        """Return every batch, oldest first: number, task, state, remote_name, requests, each of OUTCOMES, cost."""
        found: list[dict[str, Any]] = self.read("batches")
        return sorted(found, key=lambda one: int(one["number"]))

    def batch_states(self) -> list[str]:
        """Return the state of each batch that the Batch API answers, oldest first."""
        return [batch["state"] for batch in self.batches() if batch["way"] == "batch"]

    def asked(self, task: str = "") -> list[dict[str, Any]]:
        """Return every request of a task, oldest first: item, batch, line, outcome, reason, extractor, answer, cost."""
        found: list[dict[str, Any]] = self.read("log", n=MOST, **of(task or self.task or PEOPLE))
        return found[::-1]

    def rows(self, task: str = "") -> list[dict[str, Any]]:
        """Return every row of a task as it is listed: its id, what it is called, its state."""
        found: list[dict[str, Any]] = self.read(
            "items", limit=MOST, **of(task or self.task or PEOPLE)
        )["items"]
        return found

    def exported(self, task: str = "", **how: Any) -> list[dict[str, Any]]:
        """Return what `export` writes of a task as JSON lines."""
        options: dict[str, Any] = {**of(task or self.task or PEOPLE), **how}
        export_run = self.do("export", "-", format="jsonl", **options)
        return [json.loads(line) for line in export_run.out.split("\n") if line]

    def tags(self) -> dict[str, list[str]]:
        """Return the tags of all people by username, as they are exported; no tags are an empty list."""
        return {
            one["Username"]: one["tags"] or []
            for one in self.exported(PEOPLE)
            if one["state"] != "refused"
        }

    def parked(self, task: str = "") -> dict[str, str]:
        """Return what is parked of a task, with the reason."""
        return {
            one["name"]: one["reason"]
            for one in self.read("parked", **of(task or self.task or PEOPLE))
        }

    def found(self, question: str, **how: Any) -> list[str]:
        """Return what a search finds, the nearest first: usernames, or keys of rows."""
        hits = self.read("search", question, **how)
        return [hit.get("username") or hit["key"] for hit in hits]

    def spent(self) -> dict[str, float]:
        """Return what was spent, in USD: actual, estimated (under way), lost."""
        found: dict[str, float] = self.status()["spent"]
        return found

    def people(self, count: int, *, first: int = 0, without_bio: int = 0) -> list[str]:
        """Import people with a bio, and some without; return their usernames. Their ids count up from 1."""
        names = [f"person-{number:04d}" for number in range(first, first + count + without_bio)]
        bios = [f"I keep bees and teach water law number {number}." for number in range(count)] + [
            ""
        ] * without_bio
        lines = (
            f"{name},Person,{name[7:]},,,{bio}\n" for name, bio in zip(names, bios, strict=True)
        )
        self.put(f"people-{first}.csv", HEADER + "".join(lines))
        self.do("import", f"people-{first}.csv", TASK="")
        return names

    def put(self, name: str, text: str) -> Path:
        """Write a file below the folder that its commands run in."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def requests(self, number: int) -> list[dict[str, Any]]:
        """Return the lines of a batch's sealed request file: `key` and `request`."""
        return json_lines(self.data / "batches" / f"{number:06d}-requests.jsonl")

    def replies(self, number: int) -> list[dict[str, Any]]:
        """Return the lines of a batch's sealed result file that can be read: `key` with `response` or `error`."""
        return json_lines(self.data / "batches" / f"{number:06d}-results.jsonl")

    @contextmanager
    def page(self, **how: Any) -> Iterator[httpx2.Client]:
        """Serve the page for the length of a block, and return who has its token; `base_url` is its address."""
        with self.start("web", port=0, no_open=True, **how) as running, served(running) as client:
            yield client
            running.signal(signal.SIGTERM)
            ended_process = running.wait()
            assert ended_process.code == 0, ended_process


@contextmanager
def served(running: Running) -> Iterator[httpx2.Client]:
    """Wait until a page that was started has an address, and return who has its token."""
    deadline = time.monotonic() + LONGEST_S
    while not (found := re.search(r"(http://[^\s/]+)/\?token=(\S+)", running.so_far())):
        assert not running.has_ended(), running.so_far()
        assert time.monotonic() < deadline, "the page has no address"
        time.sleep(0.01)
    headers = {"authorization": f"Bearer {found[2]}"}
    with httpx2.Client(
        base_url=found[1], headers=headers, trust_env=False, timeout=LONGEST_S
    ) as client:
        yield client


def typed(verb: str, *arguments: object, **how: Any) -> list[str]:
    """Return the words of a command; options are in lower case, what is in upper case is no word."""
    words = [VERBS.get(verb, verb.replace("_", "-")), *map(str, arguments)]
    for name, value in how.items():
        if name.islower() and value is not False:
            words += [f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}"]
            words += [] if value is True else [str(value)]
    return words


def held(what: object, done: Done) -> Done:
    """Return what became of a command that shows no key, no traceback and no fault of its own."""
    assert KEY not in done.said, f"{what} shows the key"
    assert "Traceback" not in done.err, f"{what}: {done.err}"
    assert "bug in findable" not in done.said, f"{what}: {done.said}"
    return done


def of(task: str) -> dict[str, str]:
    """Return the setting that says what a command is about."""
    return {"TASK": task}


def declaration(
    fields: Mapping[str, str], *, prompt: str, items: str, more: Sequence[str] = ()
) -> str:
    """Return the file of a task of one's own: the fields of its answer with their types, and further arguments."""
    typed = "".join(f"    {name}: {kind}\n" for name, kind in fields.items())
    arguments = ", ".join([f"items={items!r}", f"prompt={prompt!r}", *more])
    return (
        "from typing import Literal\n\nfrom pydantic import BaseModel\n\nfrom findable import Quote, Task\n\n\n"
        f"class Answer(BaseModel):\n{typed}\n\ntask = Task(answer=Answer, {arguments})\n"
    )
