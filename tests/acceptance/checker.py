"""What must hold in a workspace at any moment when no command runs, whatever was killed before; held after every test.

Each function yields a sentence for each violation and nothing when all is well. They see what a user sees: documents of
commands, sealed files, the index, and the server's own list of batches. A test that does on purpose what one of them
forbids names it: `excused`.
"""

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import faiss

from tests.acceptance.database import connected, names
from tests.acceptance.product import (
    BATCH_PRICE,
    KEY,
    MODEL,
    MOST,
    OUTCOMES,
    OVER,
    PEOPLE,
    TIERS,
    Workspace,
    typed,
)

STABLE = ("faiss.index", "metadata.json")  # paths that readers know
CENT_PARTS = 1.1e-6  # both are said to six places
MOST_CHARGED = 2
STATES_BESIDE = {"total", "stale"}
UNKEPT = "probe"  # purpose of calls whose replies are only looked at


@dataclass
class Memory:
    """What earlier looks saw that must never change: sealed files by their hash, remote names by batch, tags."""

    files: dict[str, str] = field(default_factory=dict)
    remote: dict[int, str] = field(default_factory=dict)
    over: dict[int, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    had_index: bool = False


@dataclass
class Look:
    """One look at a workspace, and at what the server made (`creates`: name and lines of each batch).

    No look came before one that `is_only`, and none comes after it: it has nothing to compare with, nor to remember.
    """

    workspace: Workspace
    remote: Sequence[Mapping[str, Any]] = ()
    creates: Sequence[Mapping[str, Any]] = ()
    memory: Memory = field(default_factory=Memory)
    is_settled: bool = False
    is_only: bool = False

    @cached_property
    def tasks(self) -> list[str]:
        """Return the tasks that commands were about; people, where there were none."""
        return sorted(self.workspace.seen) or [PEOPLE]

    @cached_property
    def documents(self) -> dict[tuple[str, str], Any]:
        """Return what commands tell, by command and task: of all tasks that commands were about."""
        tasks = self.tasks
        every: list[tuple[str, dict[str, int]]] = [("status", {}), ("log", {"n": MOST})]
        asked = [*product(every, tasks), (("batches", {}), ""), (("costs", {}), "")]
        about: dict[str, dict[str, Any]] = {task: {"task": task} for task in tasks}
        typed_in = [
            typed(verb, json=True, **how, **about.get(task, {})) for (verb, how), task in asked
        ]
        told = self.workspace.outputs(*typed_in)
        return {
            (verb, task): json.loads(one)
            for ((verb, _), task), one in zip(asked, told, strict=True)
        }

    @property
    def status(self) -> dict[str, Any]:
        """Return what `status` says of a task, and of the whole workspace, which is alike for all tasks."""
        found: dict[str, Any] = self.documents["status", self.tasks[0]]
        return found

    @cached_property
    def batches(self) -> dict[int, dict[str, Any]]:
        """Return the batches by number."""
        return {int(one["number"]): one for one in self.documents["batches", ""]}

    @cached_property
    def asked(self) -> dict[str, list[dict[str, Any]]]:
        """Return the requests of each task that commands were about, oldest first."""
        return {task: self.documents["log", task][::-1] for task in sorted(self.workspace.seen)}

    @cached_property
    def every(self) -> list[dict[str, Any]]:
        """Return the requests of all those tasks."""
        return [one for rows in self.asked.values() for one in rows]

    @property
    def data(self) -> Path:
        """Return the workspace's folder."""
        return self.workspace.data


Invariant = Callable[[Look], Iterator[str]]


def database_is_sound(here: Look) -> Iterator[str]:
    """SQLite finds nothing wrong with its file, and no row points at nothing."""
    path = here.data / "findable.db"
    if not here.workspace.server and path.exists():
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            yield from (
                row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"
            )
            yield from (
                f"a row of {row[0]} points at nothing"
                for row in connection.execute("PRAGMA foreign_key_check")
            )


def status_adds_up(here: Look) -> Iterator[str]:
    """Each row of a task is in one state, and batches are counted as they are listed."""
    for task in sorted(here.workspace.seen):
        said = here.documents["status", task]
        counted = sum(count for name, count in said[task].items() if name not in STATES_BESIDE)
        if counted != said[task]["total"]:
            yield f"{task}: {said[task]} does not add up"
    counter = Counter(one["state"] for one in here.batches.values())
    if {name: count for name, count in here.status["batches"].items() if count} != counter:
        yield f"status says {here.status['batches']}, the list says {dict(counter)}"


def batches_account_for_every_request(here: Look) -> Iterator[str]:
    """Each request of an ingested batch has one outcome, and the batch counts them as the log has them."""
    logged: dict[int, Counter[str]] = defaultdict(Counter)
    for row in here.every:
        if row["batch"] is not None:
            logged[row["batch"]][row["outcome"] or "none"] += 1
    for number, batch in here.batches.items():
        if batch["state"] != "ingested":
            continue
        counter = Counter({name: batch[name] for name in OUTCOMES if batch[name]})
        if sum(counter.values()) != batch["requests"]:
            yield f"batch {number}: {batch['requests']} requests, counted {dict(counter)}"
        if (
            logged[number] and logged[number] != counter and batch["way"] == "batch"
        ):  # one of our own calls is a run
            yield f"batch {number} counts {dict(counter)}, the log says {dict(logged[number])}"


def nobody_is_answered_twice(here: Look) -> Iterator[str]:
    """Of one version no row is asked again once it was answered, and none that failed is charged a third time."""
    kept = [row for row in here.every if not row["forgotten"] and row["purpose"] != UNKEPT]
    counter = Counter(
        (row["task"], row["item"], row["extractor"]) for row in kept if row["outcome"] == "answered"
    )
    yield from (
        f"{one} was asked and answered {count} times" for one, count in counter.items() if count > 1
    )
    failed = (row for row in kept if row["outcome"] in {"refused", "invalid"})
    charged = Counter((row["task"], row["item"], row["extractor"]) for row in failed)
    yield from (
        f"{one} failed {count} times" for one, count in charged.items() if count > MOST_CHARGED
    )


def batches_are_made_once(here: Look) -> Iterator[str]:
    """The server made one batch of each batch, of the lines that were sealed, and the names are those that it gave."""
    ours = f"findable-{here.status['workspace_id']}-"
    made: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for one in here.creates:
        if one["name"].startswith(ours):
            made[int(one["name"].removeprefix(ours).rsplit("-", 3)[1])].append(one)
    for number, creates in made.items():
        if len(creates) > 1:
            yield f"batch {number} was made {len(creates)} times: {[one['name'] for one in creates]}"
        sealed = here.workspace.requests(number)
        if sealed and any(one["lines"] != sealed for one in creates):
            yield f"batch {number} was made of other lines than were sealed"
        if number not in here.batches:
            yield f"batch {number} was made and is not known"
    names = {
        batch["remote_name"]: number
        for number, batch in here.batches.items()
        if batch["remote_name"]
    }
    there = {one["name"] for one in here.remote}
    if here.remote:
        yield from (
            f"batch {names[one]} is {one}, which the server never made"
            for one in sorted(names.keys() - there)
        )
    for number, name in here.memory.remote.items():
        if here.batches.get(number, {}).get("remote_name") != name:
            yield f"batch {number} was {name} and is {here.batches.get(number, {}).get('remote_name')}"
    here.memory.remote |= {number: name for name, number in names.items()}


def sealed_files_are_as_sealed(here: Look) -> Iterator[str]:
    """A file of a batch never changes once it is there, and what a batch needs is there."""
    found = {path.name: _digest(path) for path in (here.data / "batches").glob("*.jsonl")}
    for name, digest in here.memory.files.items():
        if found.get(name) != digest:
            yield f"{name} {'has other bytes than were sealed' if name in found else 'is gone'}"
    here.memory.files |= found
    for number, batch in here.batches.items():
        if batch["state"] == "downloaded" and f"{number:06d}-results.jsonl" not in found:
            yield f"batch {number} is downloaded, and its result is not there"


def accounts_are_final(here: Look) -> Iterator[str]:
    """A batch that is over stays as it ended, with its counts and its cost."""
    for number, before in here.memory.over.items():
        now = here.batches.get(number, {})
        yield from (
            f"batch {number}: {name} was {before[name]!r} and is {now.get(name)!r}"
            for name in ("state", "requests", *OUTCOMES, "cost")
            if before[name] != now.get(name)
        )
    here.memory.over |= {
        number: batch for number, batch in here.batches.items() if batch["state"] in OVER
    }


def tags_never_change(here: Look) -> Iterator[str]:
    """Tags that were seen once are the same for ever."""
    if here.is_only or PEOPLE not in here.workspace.seen or not here.batches:
        return
    tags = here.workspace.tags()
    for name, before in here.memory.tags.items():
        if before and tags.get(name) != before:
            yield f"{name} had tags {before} and has {tags.get(name)}"
    here.memory.tags |= tags


def spend_adds_up(here: Look) -> Iterator[str]:
    """A batch costs what the usage in its replies costs, and `status` and `costs` say the sum of all."""
    for number, batch in here.batches.items():
        replies = here.workspace.replies(number)
        if batch["requests"] != len(here.workspace.requests(number)):
            continue  # a run of several files
        if batch["state"] != "ingested" or batch["model"] != MODEL or not replies:
            continue
        keys = {one["key"] for one in here.workspace.requests(number)}
        paid: dict[str, float] = {}
        for one in replies:
            usage = (one.get("response") or {}).get("usageMetadata") or {}
            if (
                isinstance(one.get("key"), str)
                and one["key"] in keys
                and usage
                and one["key"] not in paid
            ):
                paid[one["key"]] = _price(usage, batch["way"])
        is_plain = Counter(str(one.get("key")) for one in replies) == Counter(
            keys
        )  # one line for each
        if is_plain and abs(batch["cost"] - sum(paid.values())) > CENT_PARTS:
            yield f"batch {number} costs {batch['cost']}, its replies {sum(paid.values())}"
    spent = here.status["spent"]
    total = here.documents["costs", ""]["total"]
    if abs(spent["actual"] - total["cost"]) > CENT_PARTS:
        yield f"status says {spent}, costs say {total}"
    batched = sum(batch["cost"] for batch in here.batches.values() if batch["state"] == "ingested")
    if batched > spent["actual"] + CENT_PARTS * (1 + len(here.batches)):
        yield f"status says {spent}, the batches cost {batched}"


def _price(usage: Mapping[str, int | str], way: str) -> float:
    asked, *said = (
        float(usage.get(f"{name}TokenCount", 0)) for name in ("prompt", "candidates", "thoughts")
    )
    tier = usage.get("serviceTier", way if way in TIERS else "standard")
    return TIERS[str(tier)] * (asked * BATCH_PRICE[0] + sum(said) * BATCH_PRICE[1]) / 1_000_000


def index_is_of_one_build(here: Look) -> Iterator[str]:
    """Vectors, metadata and manifest in service are of one build, as verified, through the stable paths too."""
    for folder in (here.data / "index", *(here.data / "index").glob("tasks/*")):
        yield from _broken(here, folder)


def _broken(here: Look, folder: Path) -> Iterator[str]:
    current = folder / "current"
    if not current.is_symlink():
        if folder.name == "index" and here.memory.had_index:
            yield "there was an index, and now there is none"
        return
    build = current.resolve()
    manifest = json.loads((build / "manifest.json").read_bytes())
    for name, wanted in manifest["hashes"].items():
        if not (build / name).is_file() or _digest(build / name) != wanted:
            yield f"{name} of build {build.name} is not what was verified"
    entries = json.loads((build / "metadata.json").read_bytes())
    vectors = faiss.read_index(str(build / "faiss.index")).ntotal
    if not len(entries) == vectors == manifest["count"]:
        yield f"build {build.name}: {vectors} vectors, {len(entries)} entries, the manifest says {manifest['count']}"
    if folder.name == "index":
        here.memory.had_index = True
        yield from (
            f"{name} does not lead to build {build.name}"
            for name in STABLE
            if (here.data / name).resolve() != build / name
        )


def no_key_is_on_disk(here: Look) -> Iterator[str]:
    """No file of the workspace has the key in it."""
    for path in here.data.rglob("*"):
        if path.is_file() and KEY.encode() in path.read_bytes():
            yield f"{path.relative_to(here.data)} has the key"


def nothing_is_left_to_do(here: Look) -> Iterator[str]:
    """Every batch is over, nobody waits, the index has all who are tagged, and nothing half-written lies about."""
    yield from (
        f"batch {n} is still {row['state']}"
        for n, row in here.batches.items()
        if row["state"] not in OVER
    )
    for task in here.workspace.seen:
        states = here.workspace.states(task)
        yield from (
            f"{task}: {states[name]} are still {name}"
            for name in ("untagged", "open", "claimed")
            if name in states
        )
    for pattern in ("*.part", "*.staging", "*.partial"):
        yield from (f"{path.relative_to(here.data)} is left" for path in here.data.rglob(pattern))
    current = here.data / "index" / "current" / "metadata.json"
    if current.exists() and PEOPLE in here.workspace.seen:
        held = {load["username"]: load["tags"] for load in json.loads(current.read_bytes())}
        tagged = {name: tags for name, tags in here.workspace.tags().items() if tags}
        odd = sorted(
            name for name in held.keys() | tagged.keys() if held.get(name) != tagged.get(name)
        )
        yield from (f"the index and the table differ on {name}" for name in odd[:3])


def _is_made(workspace: Workspace) -> bool:
    if not workspace.server:
        return (workspace.data / "findable.db").exists()
    with connected(workspace) as connection:
        return workspace.data.is_dir() and bool(names(connection))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


INVARIANTS: tuple[Invariant, ...] = (
    database_is_sound,
    no_key_is_on_disk,
    index_is_of_one_build,
    sealed_files_are_as_sealed,
    status_adds_up,
    batches_account_for_every_request,
    nobody_is_answered_twice,
    batches_are_made_once,
    accounts_are_final,
    tags_never_change,
    spend_adds_up,
)


def check(here: Look, *, excused: Sequence[str] = ()) -> None:
    """Hold every invariant.

    Raises:
        AssertionError: what is violated.
    """
    found = violations(here, excused=excused)
    assert not found, found


def violations(here: Look, *, excused: Sequence[str] = ()) -> list[str]:
    """Return every violation, each with the name of what it violates; nothing is asked of a workspace never made."""
    if not _is_made(here.workspace):
        return []
    wanted = INVARIANTS + ((nothing_is_left_to_do,) if here.is_settled else ())
    return [
        f"{one.__name__}: {said}"
        for one in wanted
        if one.__name__ not in excused
        for said in one(here)
    ]
