"""Check the invariants of a workspace while no command runs; they apply after every test.

They apply whatever was killed before. Each invariant is a function that yields a sentence for each
violation. It uses the data that a user sees: documents of commands, sealed files, the index, and
the server's list of batches. A test that breaks an invariant on purpose names it: `excused`.
"""

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss

from tests.acceptance.database import connect, list_tables
from tests.acceptance.product import (
    BATCH_PRICE,
    FINAL_STATES,
    KEY,
    MAX_ROWS,
    MODEL,
    OUTCOMES,
    PEOPLE,
    PROVIDER,
    TIERS,
    Workspace,
    command_words,
)

# Paths that readers of the index know.
STABLE_PATHS = ("faiss.index", "metadata.json")
# Rounding error of a difference between two costs with six decimals, in USD.
ROUNDING_ERROR_USD = 1.1e-6
MAX_CHARGED_FAILURES = 2
EXTRA_COUNTS = {"total"}
# Purpose of calls whose replies are only shown.
PROBE = "probe"


@dataclass
class Memory:
    """Facts of earlier checks that must never change."""

    # Hashes of sealed files by name.
    files: dict[str, str] = field(default_factory=dict)
    # Remote names by batch number.
    remote_names: dict[int, str] = field(default_factory=dict)
    # Finished batches by number.
    final_batches: dict[int, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    had_index: bool = False


@dataclass
class Inspection:
    """A check of a workspace."""

    workspace: Workspace
    # The server's list of batches.
    remote: Sequence[Mapping[str, Any]] = ()
    # Name and lines of each batch that the server created.
    creates: Sequence[Mapping[str, Any]] = ()
    memory: Memory = field(default_factory=Memory)
    # All work of the workspace must be finished.
    is_settled: bool = False
    # The only check of its workspace: there are no earlier facts, and no later check.
    is_single: bool = False

    @cached_property
    def tasks(self) -> list[str]:
        """Return the tasks of the commands so far; without commands it is the default task, ""."""
        return sorted(self.workspace.used_tasks) or [""]

    @cached_property
    def documents(self) -> dict[tuple[str, str], Any]:
        """Return the documents of commands, by command and task, for all tasks."""
        commands: dict[tuple[str, str], list[str]] = {}
        for task in self.tasks:
            commands["status", task] = command_words("status", json=True, task=task or False)
        for task in self.tasks:
            commands["log", task] = command_words("log", json=True, n=MAX_ROWS, task=task or False)
        commands["batches", ""] = command_words("batches", json=True)
        commands["costs", ""] = command_words("costs", json=True)

        outputs = self.workspace.outputs(*commands.values())
        return {key: json.loads(text) for key, text in zip(commands, outputs, strict=True)}

    @property
    def status(self) -> dict[str, Any]:
        """Return the `status` document of a task; most members are equal for all tasks."""
        document: dict[str, Any] = self.documents["status", self.tasks[0]]
        return document

    @cached_property
    def batches(self) -> dict[int, dict[str, Any]]:
        """Return the batches by number."""
        return {int(batch["number"]): batch for batch in self.documents["batches", ""]}

    @cached_property
    def requests(self) -> list[dict[str, Any]]:
        """Return the requests of all tasks of commands; those of a task are oldest first."""
        requests: list[dict[str, Any]] = []
        for task in sorted(self.workspace.used_tasks):
            requests += self.documents["log", task][::-1]
        return requests

    @property
    def data(self) -> Path:
        """Return the workspace's folder."""
        return self.workspace.data


Invariant = Callable[[Inspection], Iterator[str]]


def database_is_sound(inspection: Inspection) -> Iterator[str]:
    """SQLite finds no fault in its file, and no row refers to a missing row."""
    path = inspection.data / "askrows.db"
    if inspection.workspace.server or not path.exists():
        return

    with closing(sqlite3.connect(path, timeout=60)) as connection:
        for row in connection.execute("PRAGMA integrity_check"):
            if row[0] != "ok":
                yield row[0]
        for row in connection.execute("PRAGMA foreign_key_check"):
            yield f"a row of {row[0]} points at nothing"


def status_adds_up(inspection: Inspection) -> Iterator[str]:
    """Each row of a task has a single state, and `status` counts the listed batches."""
    for task in sorted(inspection.workspace.used_tasks):
        row_counts = inspection.documents["status", task][task]
        row_count = sum(count for name, count in row_counts.items() if name not in EXTRA_COUNTS)
        if row_count != row_counts["total"]:
            yield f"{task}: {row_counts} does not add up"

    listed_counts = Counter(batch["state"] for batch in inspection.batches.values())
    status_counts = inspection.status["batches"]
    if {state: count for state, count in status_counts.items() if count} != listed_counts:
        yield f"status says {status_counts}, the list says {dict(listed_counts)}"


def batches_account_for_every_request(inspection: Inspection) -> Iterator[str]:
    """Each request of an ingested batch has an outcome; the batch and the log count the same."""
    logged_counts: dict[int, Counter[str]] = defaultdict(Counter)
    for request in inspection.requests:
        if request["batch"] is not None:
            logged_counts[request["batch"]][request["outcome"] or "none"] += 1

    for number, batch in inspection.batches.items():
        if batch["state"] != "ingested":
            continue
        batch_counts = Counter({name: batch[name] for name in OUTCOMES if batch[name]})
        if sum(batch_counts.values()) != batch["requests"]:
            yield f"batch {number}: {batch['requests']} requests, counted {dict(batch_counts)}"

        # A batch of live calls is a run, and the log has its calls.
        log_counts = logged_counts[number]
        if log_counts and log_counts != batch_counts and batch["mode"] == "batch":
            yield f"batch {number} counts {dict(batch_counts)}, the log says {dict(log_counts)}"


def nobody_is_answered_twice(inspection: Inspection) -> Iterator[str]:
    """No answered row of a version is asked again, and no failed row is charged a third time."""
    requests = [
        request
        for request in inspection.requests
        if not request["forgotten"] and request["purpose"] != PROBE
    ]
    for row, count in _count_by_row(requests, {"answered"}).items():
        if count > 1:
            yield f"{row} was asked and answered {count} times"
    for row, count in _count_by_row(requests, {"refused", "invalid"}).items():
        if count > MAX_CHARGED_FAILURES:
            yield f"{row} failed {count} times"


def _count_by_row(
    requests: Iterable[Mapping[str, Any]], outcomes: set[str]
) -> Counter[tuple[str, str, str]]:
    """Count the requests with some outcomes by task, row and version."""
    return Counter(
        (request["task"], request["row"], request["version"])
        for request in requests
        if request["outcome"] in outcomes
    )


def batches_are_made_once(inspection: Inspection) -> Iterator[str]:
    """The server created each batch once, from the sealed lines; its names never change."""
    yield from _find_wrong_creates(inspection)
    yield from _find_wrong_names(inspection)


def read_requests(lines: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return what a request file asks; in OpenAI's form a request is translated, except its key."""
    if PROVIDER == "openai":
        return [line["key"] for line in lines]
    return list(lines)


def _find_wrong_creates(inspection: Inspection) -> Iterator[str]:
    prefix = f"askrows-{inspection.status['workspace_id']}-"
    creates_by_number: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for create in inspection.creates:
        if create["name"].startswith(prefix):
            number = int(create["name"].removeprefix(prefix).rsplit("-", 3)[1])
            creates_by_number[number].append(create)

    for number, creates in creates_by_number.items():
        if len(creates) > 1:
            create_names = [create["name"] for create in creates]
            yield f"batch {number} was made {len(creates)} times: {create_names}"
        sealed_lines = inspection.workspace.sealed_requests(number)
        if sealed_lines and any(
            read_requests(create["lines"]) != read_requests(sealed_lines) for create in creates
        ):
            yield f"batch {number} was made of other lines than were sealed"
        if number not in inspection.batches:
            yield f"batch {number} was made and is not known"


def _find_wrong_names(inspection: Inspection) -> Iterator[str]:
    numbers_by_name = {
        batch["remote_name"]: number
        for number, batch in inspection.batches.items()
        if batch["remote_name"]
    }
    if inspection.remote:
        server_names = {batch["name"] for batch in inspection.remote}
        for name in sorted(numbers_by_name.keys() - server_names):
            yield f"batch {numbers_by_name[name]} is {name}, which the server never made"

    for number, earlier_name in inspection.memory.remote_names.items():
        name = inspection.batches.get(number, {}).get("remote_name")
        if name != earlier_name:
            yield f"batch {number} was {earlier_name} and is {name}"
    inspection.memory.remote_names |= {number: name for name, number in numbers_by_name.items()}


def sealed_files_are_as_sealed(inspection: Inspection) -> Iterator[str]:
    """A file of a batch never changes, and each downloaded batch has its result file."""
    # A killed command may leave a file that no batch has. The next command replaces it.
    hashes = {
        path.name: _digest(path)
        for path in (inspection.data / "batches").glob("*.jsonl")
        if int(path.name.partition("-")[0]) in inspection.batches
    }
    for name, earlier_hash in inspection.memory.files.items():
        if name not in hashes:
            yield f"{name} is gone"
        elif hashes[name] != earlier_hash:
            yield f"{name} has other bytes than were sealed"
    inspection.memory.files |= hashes

    for number, batch in inspection.batches.items():
        if batch["state"] == "downloaded" and f"{number:06d}-results.jsonl" not in hashes:
            yield f"batch {number} is downloaded, and its result is not there"


def accounts_are_final(inspection: Inspection) -> Iterator[str]:
    """A finished batch keeps its state, its counts and its cost."""
    for number, earlier_batch in inspection.memory.final_batches.items():
        batch = inspection.batches.get(number, {})
        for name in ("state", "requests", *OUTCOMES, "cost"):
            if earlier_batch[name] != batch.get(name):
                yield (
                    f"batch {number}: {name} was {earlier_batch[name]!r} and is {batch.get(name)!r}"
                )
    inspection.memory.final_batches |= {
        number: batch
        for number, batch in inspection.batches.items()
        if batch["state"] in FINAL_STATES
    }


def tags_never_change(inspection: Inspection) -> Iterator[str]:
    """The tags of a person never change."""
    if (
        inspection.is_single
        or PEOPLE not in inspection.workspace.used_tasks
        or not inspection.batches
    ):
        return

    tags = inspection.workspace.exported_tags()
    for name, earlier_tags in inspection.memory.tags.items():
        if earlier_tags and tags.get(name) != earlier_tags:
            yield f"{name} had tags {earlier_tags} and has {tags.get(name)}"
    inspection.memory.tags |= tags


def spend_adds_up(inspection: Inspection) -> Iterator[str]:
    """A batch costs the usage in its replies, and `status` and `costs` show the same sum."""
    for number, batch in inspection.batches.items():
        yield from _find_wrong_cost(inspection, number, batch)

    spending = inspection.status["spent"]
    total = inspection.documents["costs", ""]["total"]
    if abs(spending["actual"] - total["cost"]) > ROUNDING_ERROR_USD:
        yield f"status says {spending}, costs say {total}"

    batch_cost = sum(
        batch["cost"] for batch in inspection.batches.values() if batch["state"] == "ingested"
    )
    if batch_cost > spending["actual"] + ROUNDING_ERROR_USD * (1 + len(inspection.batches)):
        yield f"status says {spending}, the batches cost {batch_cost}"


def _find_wrong_cost(
    inspection: Inspection, number: int, batch: Mapping[str, Any]
) -> Iterator[str]:
    """Compare the cost of an ingested batch with the usage in its replies."""
    requests = inspection.workspace.sealed_requests(number)
    replies = inspection.workspace.sealed_replies(number)
    # A run has several files.
    if batch["requests"] + batch["control_requests"] != len(requests):
        return
    if batch["state"] != "ingested" or batch["model"] != MODEL or not replies:
        return

    keys = {request["key"] for request in requests}
    # The first reply of a key counts.
    prices: dict[str, float] = {}
    for reply in replies:
        key = reply.get("key")
        usage = (reply.get("response") or {}).get("usageMetadata") or {}
        if isinstance(key, str) and key in keys and usage and key not in prices:
            prices[key] = _price(usage, batch["mode"])

    # Other batches have requests without a single reply, and their cost is not exact.
    reply_counts = Counter(str(reply.get("key")) for reply in replies)
    has_single_replies = reply_counts == Counter(keys)
    price = sum(prices.values())
    if has_single_replies and abs(batch["cost"] - price) > ROUNDING_ERROR_USD:
        yield f"batch {number} costs {batch['cost']}, its replies {price}"


def _price(usage: Mapping[str, int | str], mode: str) -> float:
    """Return the price of a reply in USD; 0 if a count is negative and none can be trusted."""
    input_tokens = float(usage.get("promptTokenCount", 0))
    answer_tokens = float(usage.get("candidatesTokenCount", 0))
    thought_tokens = float(usage.get("thoughtsTokenCount", 0))
    if min(input_tokens, answer_tokens, thought_tokens) < 0:
        return 0.0
    default_tier = mode if mode in TIERS else "standard"
    factor = TIERS[str(usage.get("serviceTier", default_tier))]
    input_price, output_price = BATCH_PRICE
    output_tokens = answer_tokens + thought_tokens
    return factor * (input_tokens * input_price + output_tokens * output_price) / 1_000_000


def index_is_of_one_build(inspection: Inspection) -> Iterator[str]:
    """Vectors, metadata and manifest in service belong to the same verified build.

    The stable paths lead to that build.
    """
    for folder in (inspection.data / "index", *(inspection.data / "index").glob("tasks/*")):
        yield from _find_index_faults(inspection, folder)


def _find_index_faults(inspection: Inspection, folder: Path) -> Iterator[str]:
    current = folder / "current"
    if not current.is_symlink():
        if folder.name == "index" and inspection.memory.had_index:
            yield "there was an index, and now there is none"
        return

    build = current.resolve()
    manifest = json.loads((build / "manifest.json").read_bytes())
    for name, verified_hash in manifest["hashes"].items():
        if not (build / name).is_file() or _digest(build / name) != verified_hash:
            yield f"{name} of build {build.name} is not what was verified"

    entry_count = len(json.loads((build / "metadata.json").read_bytes()))
    vector_count = faiss.read_index(str(build / "faiss.index")).ntotal
    if not entry_count == vector_count == manifest["count"]:
        yield (
            f"build {build.name}: {vector_count} vectors, {entry_count} entries, "
            f"the manifest says {manifest['count']}"
        )
    if folder.name == "index":
        inspection.memory.had_index = True
        for name in STABLE_PATHS:
            if (inspection.data / name).resolve() != build / name:
                yield f"{name} does not lead to build {build.name}"


def no_key_is_on_disk(inspection: Inspection) -> Iterator[str]:
    """No file of the workspace contains the key."""
    for path in inspection.data.rglob("*"):
        if path.is_file() and KEY.encode() in path.read_bytes():
            yield f"{path.relative_to(inspection.data)} has the key"


def nothing_is_left_to_do(inspection: Inspection) -> Iterator[str]:
    """Every batch is finished, no row waits, the index is complete, and all files are finished."""
    for number, batch in inspection.batches.items():
        if batch["state"] not in FINAL_STATES:
            yield f"batch {number} is still {batch['state']}"

    for task in inspection.workspace.used_tasks:
        counts = inspection.workspace.state_counts(task)
        for state in ("open", "open", "claimed"):
            if state in counts:
                yield f"{task}: {counts[state]} are still {state}"

    for pattern in ("*.part", "*.staging", "*.partial"):
        for path in inspection.data.rglob(pattern):
            yield f"{path.relative_to(inspection.data)} is left"

    metadata = inspection.data / "index" / "current" / "metadata.json"
    if metadata.exists() and PEOPLE in inspection.workspace.used_tasks:
        for name in _find_unindexed_people(inspection, metadata)[:3]:
            yield f"the index and the table differ on {name}"


def _find_unindexed_people(inspection: Inspection, metadata: Path) -> list[str]:
    """Return the names of people whose tags differ between the index and the export."""
    entries = json.loads(metadata.read_bytes())
    indexed_tags = {entry["username"]: entry["tags"] for entry in entries}
    exported_tags = {
        name: tags for name, tags in inspection.workspace.exported_tags().items() if tags
    }
    return sorted(
        name
        for name in indexed_tags.keys() | exported_tags.keys()
        if indexed_tags.get(name) != exported_tags.get(name)
    )


def _exists(workspace: Workspace) -> bool:
    """Return whether a workspace has a database with tables."""
    if not workspace.server:
        return (workspace.data / "askrows.db").exists()
    with connect(workspace) as connection:
        return workspace.data.is_dir() and bool(list_tables(connection))


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


def check_invariants(inspection: Inspection, *, excused: Sequence[str] = ()) -> None:
    """Check every invariant.

    Raises:
        AssertionError: An invariant is violated.
    """
    sentences = find_violations(inspection, excused=excused)
    assert not sentences, sentences


def find_violations(inspection: Inspection, *, excused: Sequence[str] = ()) -> list[str]:
    """Return a sentence for every violation, with the name of the invariant.

    A workspace without a database has no violations.
    """
    if not _exists(inspection.workspace):
        return []

    invariants = INVARIANTS
    if inspection.is_settled:
        invariants = (*INVARIANTS, nothing_is_left_to_do)
    sentences = []
    for invariant in invariants:
        if invariant.__name__ not in excused:
            sentences += [f"{invariant.__name__}: {sentence}" for sentence in invariant(inspection)]
    return sentences
