"""What each command does to a batch or a row in each state: tables, and stories of stopped runs.

An effect is written as `exit code | requests | batches | rows | paid`:

- requests: those that reached the server, as a number and a kind: C creates a batch, U uploads a
  file, L lists batches, G gets a batch, D downloads a result; `nG` if the number depends on the
  pace of the server
- batches: the states of all batches, oldest first; a run of calls has its mode before its state
- rows: how many rows are in each state
- paid: how many requests have a cost, by mode; `lost` if others may have been paid
"""

import contextlib
import json
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.creates import fail_creates
from tests.acceptance.database import move_to_other_server
from tests.acceptance.engine import (
    CANCEL_PATH,
    CREATE_PATH,
    DOWNLOAD_PATH,
    HANGS,
    LIST_PATH,
    LIVE_CALL,
    LIVE_CALL_PATH,
    MANY_TIMES,
    Engine,
)
from tests.acceptance.killing import kill_after_calls, wait_for_calls
from tests.acceptance.process import EndedCommand
from tests.acceptance.product import (
    ON_POSTGRESQL,
    PEOPLE,
    PROVIDER,
    Workspace,
    on_a_server,
    write_declaration,
)
from tests.scratch import wait_until

# Neither the index nor its requests are the business of these tests.
ASKING_UNITS = "poll,ingest,fill,ask,submit"
# Commands of the tables, with their options.
COMMANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "submit": ("submit", {}),
    "submit REFRESH=1": ("submit", {"refresh": True}),
    "submit BUDGET_PER_DAY=0": ("submit", {"BUDGET_PER_DAY": 0}),
    "poll": ("poll", {"no_wait": True}),
    "ingest": ("ingest", {}),
    "tag batch": ("tag", {"mode": "batch"}),
    "tag batch BUDGET=0": ("tag", {"mode": "batch", "budget": 0}),
    "tag batch WAIT=1": ("tag", {"mode": "batch", "wait": True}),
    "tag live": ("tag", {"mode": "live"}),
    "tag live REFRESH=1": ("tag", {"mode": "live", "refresh": True}),
    "tag live LIMIT=1": ("tag", {"mode": "live", "limit": 1}),
    "tag live BUDGET=0": ("tag", {"mode": "live", "budget": 0}),
    "tag live ROW=parked": ("tag", {"mode": "live", "row": "parked"}),
    "tag live ROW=claimed": ("tag", {"mode": "live", "row": "claimed"}),
    "tag live ROW=gone": ("tag", {"mode": "live", "row": "gone"}),
    "tag live AGAIN=1": ("tag", {"mode": "live", "row": "answered", "again": True}),
    "tag flex": ("tag", {"mode": "flex"}),
    "tag decide": ("tag", {"mode": "decide"}),
    "tag decide REFRESH=1": ("tag", {"mode": "decide", "refresh": True}),
    "tag DEADLINE=50s": ("tag", {"deadline": "50s"}),
    "tag DEADLINE=1s": ("tag", {"deadline": "1s"}),
    "work": ("run", {"only": ASKING_UNITS}),
    "work REFRESH=1": ("run", {"only": ASKING_UNITS, "refresh": True}),
    "work BUDGET_PER_DAY=0": ("run", {"only": ASKING_UNITS, "BUDGET_PER_DAY": 0}),
    "work UNITS=ask": ("run", {"only": "ask"}),
    "try N=9": ("try", {"n": 9}),
    "try decide N=9": ("try", {"n": 9, "mode": "decide"}),
    "try ROW=parked": ("try", {"row": "parked"}),
    "try ROW=claimed": ("try", {"row": "claimed"}),
    "add-expert": ("add", {}),
    "ask N=2": ("ask", {"n": 2}),
    "ask NAME=tones": ("ask", {"name": "tones"}),
}
QUESTION = {"q": "Tone?", "fields": "tone: praise|blame", "mode": "live", "TASK": ""}

# Below each state of a batch: command | effect
BATCH_TABLE = """
none:
submit                  | 0 | 1C 1U 1L       | submitted           | 2 claimed            | -
ingest                  | 0 | -              | -                   | 2 open           | -
tag batch               | 0 | 1C 1U 1L       | submitted           | 2 claimed            | -
tag batch WAIT=1        | 0 | 1C 1U nL nG 1D | ingested            | 2 tagged             | 2 batch
tag live                | 0 | 2 call         | live ingested       | 2 tagged             | 2 live
work                    | 0 | 1C 1U 1L       | submitted           | 2 claimed            | -
submit BUDGET_PER_DAY=0 | 3 | -              | -                   | 2 open           | -
tag batch BUDGET=0      | 0 | -              | -                   | 2 open           | -
work BUDGET_PER_DAY=0   | 0 | -              | -                   | 2 open           | -
tag DEADLINE=50s        | 0 | 2 call         | live ingested       | 2 tagged             | 2 live
tag DEADLINE=1s         | 0 | 2 call         | live ingested       | 2 tagged             | 2 live
prepared:
submit                  | 0 | 1C 1L          | submitted           | 2 claimed            | -
poll                    | 0 | -              | prepared            | 2 claimed            | -
tag batch               | 0 | 1C 1L          | submitted           | 2 claimed            | -
tag batch WAIT=1        | 0 | 1C nL nG 1D    | ingested            | 2 tagged             | 2 batch
tag live                | 0 | -              | prepared            | 2 claimed            | -
work                    | 0 | 1C 1L          | submitted           | 2 claimed            | -
lost create:
submit                  | 0 | 1L             | submitted           | 2 claimed            | -
poll                    | 4 | -              | submitting          | 2 claimed            | -
tag batch               | 0 | 1L             | submitted           | 2 claimed            | -
tag batch WAIT=1        | 0 | nL nG 1D       | ingested            | 2 tagged             | 2 batch
tag live                | 0 | -              | submitting          | 2 claimed            | -
work                    | 0 | 1L             | submitted           | 2 claimed            | -
absent create:
submit                  | 0 | 1C 1L          | submitted           | 2 claimed            | -
tag batch               | 0 | 1C 1L          | submitted           | 2 claimed            | -
tag batch WAIT=1        | 0 | 1C nL nG 1D    | ingested            | 2 tagged             | 2 batch
work                    | 0 | 1C 1L          | submitted           | 2 claimed            | -
running:
submit                  | 0 | -              | submitted           | 2 claimed            | -
poll                    | 0 | 1L 1G          | submitted           | 2 claimed            | -
tag batch               | 0 | -              | submitted           | 2 claimed            | -
tag live                | 0 | -              | submitted           | 2 claimed            | -
work                    | 0 | 1L 1G          | submitted           | 2 claimed            | -
ended:
poll                    | 0 | 1L 1G 1D       | downloaded          | 2 claimed            | -
ingest                  | 0 | -              | submitted           | 2 claimed            | -
tag batch WAIT=1        | 0 | nL nG 1D       | ingested            | 2 tagged             | 2 batch
work                    | 0 | 1L 1G 1D       | ingested            | 2 tagged             | 2 batch
downloaded:
poll                    | 0 | -              | downloaded          | 2 claimed            | -
ingest                  | 0 | -              | ingested            | 2 tagged             | 2 batch
tag batch               | 0 | -              | downloaded          | 2 claimed            | -
tag batch WAIT=1        | 0 | -              | ingested            | 2 tagged             | 2 batch
tag live                | 0 | -              | downloaded          | 2 claimed            | -
work                    | 0 | -              | ingested            | 2 tagged             | 2 batch
expired:
submit                  | 0 | -              | submitted           | 2 claimed            | -
poll                    | 0 | 1L 1G          | failed              | 2 open           | -
tag batch               | 0 | -              | submitted           | 2 claimed            | -
tag batch WAIT=1        | 4 | nL nG          | failed              | 2 open           | -
work                    | 4 | 1C 1U 2L 1G    | failed, submitted   | 2 claimed            | -
half expired:
poll                    | 0 | 1L 1G 3D       | downloaded          | 2 claimed            | -
tag batch WAIT=1        | 4 | nL nG 3D       | ingested            | 1 tagged, 1 open | 1 batch
work                    | 4 | 1C 1U 2L 1G 3D | ingested, submitted | 1 tagged, 1 claimed  | 1 batch
failed:
poll                    | 0 | 1L 1G          | failed              | 2 open           | -
tag batch WAIT=1        | 4 | nL nG          | failed              | 2 open           | -
work                    | 4 | 1C 1U 2L 1G    | failed, submitted   | 2 claimed            | -
cancelled:
poll                    | 0 | 2L 1G          | failed              | 2 open           | -
tag batch WAIT=1        | 0 | nL nG          | failed              | 2 open           | -
work                    | 0 | 1C 1U 3L 1G    | failed, submitted   | 2 claimed            | -
ingested:
tag batch WAIT=1        | 0 | -              | ingested            | 2 tagged             | 2 batch
work                    | 0 | -              | ingested            | 2 tagged             | 2 batch
"""
# OpenAI lists the requests that a batch did not run in a result.
OPENAI_EFFECTS = {
    ("expired", "poll"): "0 | 1L 1G 1D | downloaded | 2 claimed | -",
    ("expired", "tag batch WAIT=1"): "4 | nL nG 1D | ingested | 2 open | -",
    ("expired", "work"): "4 | 1C 1U 2L 1G 1D | ingested, submitted | 2 claimed | -",
    ("half expired", "poll"): "0 | 1L 1G 2D | downloaded | 2 claimed | -",
    ("half expired", "tag batch WAIT=1"): "4 | nL nG 2D | ingested | 1 tagged, 1 open | 1 batch",
    ("half expired", "work"): (
        "4 | 1C 1U 2L 1G 2D | ingested, submitted | 1 tagged, 1 claimed | 1 batch"
    ),
    ("cancelled", "poll"): "0 | 1L 1G 1D | downloaded | 2 claimed | -",
    (
        "cancelled",
        "tag batch WAIT=1",
    ): "0 | 1C 1U nL nG 2D | ingested, ingested | 2 tagged | 2 batch",
    ("cancelled", "work"): "0 | 1C 1U 2L 1G 1D | ingested, submitted | 2 claimed | -",
}
# What some of these commands print: why they stop, or what they continue.
BATCH_SENTENCES = {
    ("none", "submit BUDGET_PER_DAY=0"): "BUDGET_PER_DAY",
    ("none", "tag batch BUDGET=0"): "BUDGET=0",
    ("none", "work BUDGET_PER_DAY=0"): "2 not asked: BUDGET_PER_DAY=0",
    ("none", "tag DEADLINE=50s"): "within 50 s",
    ("none", "tag DEADLINE=1s"): "within 1 s",
    ("prepared", "tag batch"): "continuing batch 1",
    ("lost create", "poll"): "batch 1: it is unclear whether it was created",
    ("lost create", "work"): "batch 1: found again as ",
    ("expired", "poll"): "batch 1 failed (expired), its people can be asked again",
    ("expired", "tag batch WAIT=1"): "all batches failed at the API, so no more rows were sent",
    ("expired", "work"): "batch 1 failed at the API (expired)",
    ("half expired", "tag batch WAIT=1"): "1 tagged, 1 still open",
    ("cancelled", "poll"): "batch 1 failed (cancelled by hand)",
    ("cancelled", "tag batch WAIT=1"): "2 still open",
    ("ingested", "tag batch WAIT=1"): "nothing to tag",
}

# Below each task: command | rows after it | asked rows, named by their states.
# All commands end with exit code 0. "same" means that no row changed its state.
ROW_TABLE = """
people:
submit               | 1 tagged, 4 claimed, 1 parked             | batch due failed open
tag batch            | 1 tagged, 4 claimed, 1 parked             | batch due failed open
tag live             | 4 tagged, 1 claimed, 1 parked             | call due failed open
tag flex             | 4 tagged, 1 claimed, 1 parked             | flex due failed open
tag live LIMIT=1     | 2 tagged, 2 open, 1 claimed, 1 parked | call failed
tag live BUDGET=0    | same                                      | -
tag live ROW=parked  | same                                      | -
tag live ROW=claimed | same                                      | -
try N=9              | same                                      | call due failed open
try ROW=parked       | same                                      | call parked
try ROW=claimed      | same                                      | call claimed
work                 | 2 tagged, 3 claimed, 1 parked             | batch failed open, call due
work UNITS=ask       | 2 tagged, 2 open, 1 claimed, 1 parked | call due
add-expert           | 2 tagged, 3 open, 1 claimed, 1 parked | call added
tickets:
submit               | 1 answered, 3 claimed, 1 parked, 1 stale  | batch marked open
submit REFRESH=1     | 1 answered, 4 claimed, 1 parked           | batch marked open stale
tag batch            | 1 answered, 3 claimed, 1 parked, 1 stale  | batch marked open
tag live             | 3 answered, 1 claimed, 1 parked, 1 stale  | call marked open
tag live REFRESH=1   | 4 answered, 1 claimed, 1 parked           | call marked open stale
tag decide           | 3 answered, 1 claimed, 1 parked, 1 stale  | decision marked open
tag decide REFRESH=1 | 4 answered, 1 claimed, 1 parked           | decision marked open stale
tag live AGAIN=1     | same                                      | call answered
tag live ROW=gone    | same                                      | -
try N=9              | same                                      | call marked open
try decide N=9       | same                                      | decision marked open
work                 | 1 answered, 3 claimed, 1 parked, 1 stale  | batch marked open
work REFRESH=1       | 1 answered, 4 claimed, 1 parked           | batch marked open stale
ask N=2              | same                                      | call answered stale
ask NAME=tones       | same | call answered claimed marked parked stale
"""

# The kinds of requests, by method and a pattern of their path; the first that matches counts.
# The index is not the business of these tests.
REQUEST_KINDS = (
    ("create", "POST", CREATE_PATH),
    ("upload", "POST", r"^/upload/.*upload_id=|^/openai/v1/files$"),
    ("list", "GET", LIST_PATH),
    ("get", "GET", r"/batches/[^/:]+$"),
    ("download", "GET", DOWNLOAD_PATH),
    ("call", "POST", LIVE_CALL_PATH),
    ("decision", "POST", r"/decisions"),
    ("cancel", "POST", CANCEL_PATH),
)
# How an effect writes the frequent kinds.
KIND_LETTERS = {"create": "C", "upload": "U", "list": "L", "get": "G", "download": "D"}
# A command that waits looks more or less often, as fast as the server is.
UNCOUNTED_KINDS = {"get", "list"}
OVERLOAD = {"code": 503, "message": "overloaded"}
# A failure that is charged to its row: the code 13 is a fault of the service at OpenAI.
ROW_FAULT: tuple[str, dict[str, Any]] = {
    "gemini": ("error_line", {"code": 13, "message": "Trouble."}),
    "openai": ("schema_mismatch", {}),
}[PROVIDER]
# The text of each row has its name.
ROW_TEXT = "The {} lamp hums."
ROW_NAME = re.compile(r"The (\w+) lamp")
TICKETS = "tickets"
TICKET_FIELDS = {"tone": 'Literal["praise", "blame"]'}


@dataclass(frozen=True)
class Life:
    """A workspace and its server."""

    workspace: Workspace
    api: Engine

    def count_requests(self) -> Counter[str]:
        """Return the number of requests of each kind that reached the server."""
        return Counter(
            kind
            for request in self.api.journal()
            if (kind := kind_of(request["method"], request["path"]))
        )

    def count_asked_rows(self) -> Counter[str]:
        """Return how often each row was asked, as "batch NAME", "call NAME", "flex NAME"."""
        counts = Counter[str]()
        for create in self.api.creates():
            for line in create["lines"]:
                counts[f"batch {name_of_row(line)}"] += 1

        for request in self.api.journal():
            kind = kind_of(request["method"], request["path"])
            if kind in {"call", "decision"}:
                tier = request["json"].get("serviceTier", request["json"].get("service_tier", kind))
                counts[f"{tier} {name_of_row(request['json'])}"] += 1
        return counts

    def wait_for_server(self) -> None:
        """Wait until the server has ended all batches that it works on."""
        wait_until(lambda: not self.has_running_batches())

    def has_running_batches(self) -> bool:
        """Return whether the server works on a batch."""
        return any(batch["state"] in {"PENDING", "RUNNING"} for batch in self.api.batches())

    def describe_effect(self, before: Counter[str], code: int, *, waits: bool = False) -> str:
        """Return what happened since `before`, as the tables write it.

        Args:
            before: The requests that had reached the server.
            code: The exit code of the command.
            waits: The command waited for batches.
        """
        counts = self.count_requests() - before
        requests = [
            f"{'n' if waits and kind in UNCOUNTED_KINDS else counts[kind]}"
            f"{KIND_LETTERS.get(kind, f' {kind}')}"
            for kind, _, _ in REQUEST_KINDS
            if counts[kind]
        ]
        batches = self.workspace.batches()
        states = [
            batch["state"] if batch["mode"] == "batch" else f"{batch['mode']} {batch['state']}"
            for batch in batches
        ]
        modes = {batch["number"]: batch["mode"] for batch in batches}
        status = self.workspace.status()
        paid_requests = [request for request in self.workspace.logged_requests() if request["cost"]]
        paid_modes = Counter(modes[request["batch"]] for request in paid_requests)
        paid = [f"{count} {mode}" for mode, count in paid_modes.items()]
        if status["spent"]["lost"]:
            paid.append("lost")

        # Each reply is paid once, whoever counts.
        paid_usd = sum(request["cost"] for request in paid_requests)
        assert status["spent"]["actual"] == pytest.approx(paid_usd, abs=1e-5)
        if counts:
            self.check()
        parts = (states, self.describe_rows(), paid)
        cells = [str(code), " ".join(requests) or "-", *(", ".join(part) or "-" for part in parts)]
        return " | ".join(cells)

    def describe_rows(self) -> list[str]:
        """Return the number of rows in each state."""
        return [f"{count} {state}" for state, count in self.workspace.state_counts().items()]

    def check(self, *, excused: tuple[str, ...] = ()) -> None:
        """Check the invariants of all acceptance tests."""
        self.workspace.used_tasks.add(self.workspace.task or PEOPLE)
        inspection = Inspection(
            self.workspace, self.api.batches(), self.api.creates(), is_single=True
        )
        check_invariants(inspection, excused=excused)


def kind_of(method: str, path: str) -> str:
    """Return the kind of a request; empty for others, such as deleted uploads."""
    for kind, kind_method, pattern in REQUEST_KINDS:
        if method == kind_method and re.search(pattern, path):
            return kind
    return ""


def name_of_row(request: object) -> str:
    """Return the name of the row that a request asks about."""
    (name,) = set(ROW_NAME.findall(json.dumps(request)))
    return str(name)


def make_open(life: Life) -> None:
    """Make two open rows, and no batch."""
    life.workspace.import_people(2)


def make_six_open(life: Life) -> None:
    """Make six open rows."""
    life.workspace.import_people(6)


def make_prepared(life: Life) -> None:
    """Make a batch for which the server had no room."""
    make_open(life)
    life.api.script_fault("quota_batch")
    life.workspace.run_command("submit", code=4)


def make_lost_create(life: Life) -> None:
    """Make a batch that exists at the server; the reply was lost, and the list not readable."""
    make_open(life)
    fail_creates(life.api, "create_lost_reply")
    life.api.script_fault("status", method="GET", path=LIST_PATH, times=MANY_TIMES)
    error_output = life.workspace.run_command("submit", RETRY_FOR=0.1, code=4).stderr
    assert "checking whether it was created" in error_output
    assert "next: finished work is stored; run the same command again later" in error_output
    life.api.clear_faults()
    life.wait_for_server()


def make_absent_create(life: Life) -> None:
    """Make a batch that does not exist at the server, which the command could not find out."""
    make_open(life)
    fail_creates(life.api, "status", {"code": 503})
    life.api.script_fault("status", method="GET", path=LIST_PATH, times=MANY_TIMES)
    life.workspace.run_command("submit", RETRY_FOR=0.1, code=4)
    life.api.clear_faults()


def make_running(life: Life) -> None:
    """Make a batch that never ends."""
    make_open(life)
    life.api.script_fault("never_ends")
    life.workspace.run_command("submit")


def make_ended(life: Life) -> None:
    """Make a batch that has ended at the server, with the fate that was scripted."""
    make_open(life)
    life.workspace.run_command("submit")
    life.wait_for_server()


def make_downloaded(life: Life) -> None:
    """Make a batch whose answers are downloaded, and not stored."""
    make_ended(life)
    life.workspace.run_command("poll")


def make_expired(life: Life) -> None:
    """Make a batch that expired without an answer."""
    life.api.script_fault("batch_expires")
    make_ended(life)


def make_half_expired(life: Life) -> None:
    """Make a batch that expired with the answer of the first row."""
    life.api.script_fault("batch_expires", args={"partial": 0.5})
    make_ended(life)


def make_failed(life: Life) -> None:
    """Make a batch that failed at the server."""
    life.api.script_fault("batch_fails")
    make_ended(life)


def make_cancelled(life: Life) -> None:
    """Make a batch that a person cancelled, and whose end no command has read."""
    make_running(life)
    life.workspace.run_command("cancel", 1)


def make_ingested(life: Life) -> None:
    """Make two answered rows."""
    make_downloaded(life)
    life.workspace.run_command("ingest")


def make_due(life: Life) -> None:
    """Make a person whose first call failed."""
    life.api.script_fault("status", times=MANY_TIMES, path=LIVE_CALL, args=OVERLOAD)
    write_person(life.workspace, "due")
    life.workspace.run_command("add", "due.json", RETRY_FOR=0.1)
    life.api.clear_faults()


def make_people(life: Life) -> None:
    """Make a person in each state; the name is the state.

    `failed` failed once in a batch, `claimed` is in a running batch.
    """
    import_person(life.workspace, "tagged")
    life.workspace.run_command("tag", mode="live")
    import_person(life.workspace, "parked")
    for _ in range(2):
        fail_in_batch(life, "parked")
    import_person(life.workspace, "failed")
    fail_in_batch(life, "failed")
    import_person(life.workspace, "claimed")
    life.api.script_fault("never_ends")
    life.workspace.run_command("tag", mode="batch", row="claimed")
    make_due(life)
    import_person(life.workspace, "open")


def make_closed_rows(life: Life) -> None:
    """Make four open rows that can be decided."""
    declare_tickets(life.workspace)
    write_tickets(life.workspace, {name: ROW_TEXT.format(name) for name in "abcd"})
    life.workspace.run_command("tag", dry=True)


def make_tickets(life: Life) -> None:
    """Make a row of a user's task in each state; the name is the state.

    `marked` is answered, and shall be asked again. `gone` is not in the file any more.
    """
    workspace, api = life.workspace, life.api
    declare_tickets(workspace)
    texts = {name: ROW_TEXT.format(name) for name in ("answered", "stale", "marked")}
    write_tickets(workspace, texts)
    workspace.run_command("tag", mode="live")

    texts |= {name: ROW_TEXT.format(name) for name in ("parked", "claimed", "gone")}
    write_tickets(workspace, texts)
    for _ in range(2):
        fail_in_batch(life, "parked")
    api.script_fault("status", times=MANY_TIMES, path=LIVE_CALL, args=OVERLOAD)
    workspace.run_command("tag", mode="live", row="marked", again=True, RETRY_FOR=0.1, code=4)
    api.clear_faults()
    api.script_fault("never_ends")
    workspace.run_command("tag", mode="batch", row="claimed")

    del texts["gone"]
    texts |= {"stale": "The stale lamp sings.", "open": ROW_TEXT.format("open")}
    write_tickets(workspace, texts)
    workspace.run_command("tag", dry=True)


def fail_in_batch(life: Life, name: str) -> None:
    """Let the request about a row fail in a batch."""
    fault, args = ROW_FAULT
    life.api.script_fault(fault, args=args)
    life.workspace.run_command("tag", mode="batch", row=name)
    life.workspace.run_commands("poll", "ingest")


def import_person(workspace: Workspace, name: str) -> None:
    """Import a person whose biography has the name."""
    workspace.write_file(f"{name}.csv", f"Username,Bio\n{name},{ROW_TEXT.format(name)}\n")
    workspace.run_command("import", f"{name}.csv")


def write_person(workspace: Workspace, name: str) -> None:
    """Write the document of a person for `add-expert`."""
    person = {"username": name, "bio": ROW_TEXT.format(name)}
    workspace.write_file(f"{name}.json", json.dumps(person))


def declare_tickets(workspace: Workspace) -> None:
    """Write the file of the task `tickets`, which can be decided."""
    use_tickets(workspace)
    text = write_declaration(TICKET_FIELDS, prompt="Ticket: {text}", items="tickets.csv")
    workspace.write_file("tasks/tickets.py", text)


def use_tickets(workspace: Workspace) -> None:
    """Let the commands of a workspace use its task `tickets`."""
    workspace.task = TICKETS
    workspace.settings |= {"YES": "1", "TRUST": str(workspace.home / "tasks" / "tickets.py")}


def write_tickets(workspace: Workspace, texts: dict[str, str]) -> None:
    """Write the rows of the task `tickets`."""
    lines = [f"{name},{text}\n" for name, text in texts.items()]
    workspace.write_file("tasks/tickets.csv", "id,text\n" + "".join(lines))


TICKET_STATES: dict[str, Callable[[Life], None]] = {
    "closed rows": make_closed_rows,
    "tickets": make_tickets,
}
STATES: dict[str, Callable[[Life], None]] = {
    "none": make_open,
    "six": make_six_open,
    "prepared": make_prepared,
    "lost create": make_lost_create,
    "absent create": make_absent_create,
    "running": make_running,
    "ended": make_ended,
    "downloaded": make_downloaded,
    "expired": make_expired,
    "half expired": make_half_expired,
    "failed": make_failed,
    "cancelled": make_cancelled,
    "ingested": make_ingested,
    "due": make_due,
    "people": make_people,
    **TICKET_STATES,
}


def copy_state(state: str, *, kept_folder: Path, folder: Path) -> Life:
    """Copy the workspace in a state to a folder, with its own server, which the caller kills.

    Args:
        state: One of STATES.
        kept_folder: The folder of the workspaces that were made before.
        folder: A new folder.
    """
    kept_state = kept_folder / state.replace(" ", "-")
    if not kept_state.exists():
        with Engine(kept_state / "api") as api:
            STATES[state](Life(Workspace(kept_state / "here", api.url), api))

    shutil.copytree(kept_state, folder, symlinks=True)
    if ON_POSTGRESQL:
        postgresql.copy_below(kept_state, folder)
    api = Engine(folder / "api").start()
    life = Life(Workspace(folder / "here", api.url), api)
    move_to_other_server(life.workspace)
    if state in TICKET_STATES:
        use_tickets(life.workspace)
    return life


MakeLife = Callable[[str], Life]


def read_table(text: str) -> list[Any]:
    """Return the cases of a table: state, command, and the other columns as one text."""
    lines = []
    state = ""
    for line in text.strip().splitlines():
        command, *effect = (cell.strip() for cell in line.split("|"))
        # Only Gemini has decision models.
        if PROVIDER != "gemini" and "decide" in command:
            continue
        if effect:
            case_id = f"{state}, {command}"
            lines.append(pytest.param(state, command, " | ".join(effect), id=case_id))
        else:
            state = command.removesuffix(":")
    return lines


@pytest.fixture(name="kept_folder", scope="module")
def _kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the workspaces of all states, each of which is made once."""
    return tmp_path_factory.mktemp("states")


@pytest.fixture(name="make_life")
def _make_life(kept_folder: Path, tmp_path: Path) -> Iterator[MakeLife]:
    """Return a function that copies the workspace in a state, with its own server."""
    lives = list[Life]()

    def make(state: str) -> Life:
        """Copy the workspace in a state."""
        folder = tmp_path / f"life-{len(lives)}"
        lives.append(copy_state(state, kept_folder=kept_folder, folder=folder))
        return lives[-1]

    yield make
    for life in lives:
        life.api.kill()


def run(life: Life, command: str) -> EndedCommand:
    """Run a command of the tables."""
    verb, options = COMMANDS[command]
    arguments = []
    if verb == "add":
        write_person(life.workspace, "added")
        arguments = ["added.json"]
    if verb == "ask":
        arguments = ["tasks/tickets.csv"]
        options = {**QUESTION, **options}
    return life.workspace.try_command(verb, *arguments, **options)


def effect_of(life: Life, verb: str, **options: Any) -> str:
    """Run a command, and return its effect."""
    before = life.count_requests()
    ended = life.workspace.try_command(verb, **options)
    return life.describe_effect(before, ended.code, waits=bool(options.get("wait")))


@pytest.mark.parametrize(("state", "command", "effect"), read_table(BATCH_TABLE))
def test_command_moves_a_batch(make_life: MakeLife, state: str, command: str, effect: str) -> None:
    """The command has the effect of the table."""
    sentence = BATCH_SENTENCES.get((state, command), "")
    if PROVIDER == "openai" and (state, command) in OPENAI_EFFECTS:
        effect = OPENAI_EFFECTS[state, command]
        sentence = ""
    life = make_life(state)
    before = life.count_requests()
    ended = run(life, command)
    waits = "WAIT=1" in command
    assert life.describe_effect(before, ended.code, waits=waits) == effect, ended
    assert sentence in ended.output


def write_asked_rows(counts: Counter[str]) -> str:
    """Return the asked rows as the table writes them: each way to ask, then names of rows."""
    names_by_way: dict[str, list[str]] = {}
    for asked_row in sorted(counts):
        way, name = asked_row.split()
        names_by_way.setdefault(way, [way]).append(name)
    return ", ".join(" ".join(words) for words in names_by_way.values()) or "-"


# Rows that changed, or are asked again, are answered again.
AGAIN = ("nobody_is_answered_twice",)


@pytest.mark.parametrize(("state", "command", "effect"), read_table(ROW_TABLE))
def test_command_asks_rows(make_life: MakeLife, state: str, command: str, effect: str) -> None:
    """The command asks exactly the rows of the table, each once."""
    life = make_life(state)
    before = life.count_asked_rows()
    rows_before = life.describe_rows()
    ended = run(life, command)
    counts = life.count_asked_rows() - before
    assert set(counts.values()) <= {1}
    assert ended.code == 0, ended
    rows = life.describe_rows()
    row_text = "same" if rows == rows_before else ", ".join(rows)
    assert f"{row_text} | {write_asked_rows(counts)}" == effect, ended
    life.check(excused=AGAIN)


def test_budget_of_a_killed_run_goes_on(make_life: MakeLife) -> None:
    """What a killed run spent, and may have spent, counts for the run that continues it."""
    life = make_life("six")
    price = life.workspace.read_json("preflight", limit=1)["live"]["cost"]
    life.api.script_fault("hang", nth=3, times=MANY_TIMES, path=LIVE_CALL_PATH, args=HANGS)
    limits: dict[str, Any] = {"BUDGET": f"{7 * price:.9f}", "CONCURRENCY": 1}
    kill_after_calls(
        life.workspace, life.api, LIVE_CALL, "tag", mode="live", call_count=3, **limits
    )
    life.api.clear_faults()

    effects = [effect_of(life, "tag", mode="live", CONCURRENCY=1) for _ in range(3)]
    assert effects == [
        "0 | 3 call | live ingested, live ingested | 5 tagged, 1 open | 5 live, lost",
        # The budget was used up, which ended its run, so the next run has none.
        "0 | 1 call | live ingested, live ingested, live ingested | 6 tagged | 6 live, lost",
        "0 | - | live ingested, live ingested, live ingested | 6 tagged | 6 live, lost",
    ]


def test_budget_of_an_unfinished_tag_limits_work(make_life: MakeLife) -> None:
    """`work` and `tag` keep to the budget while the run is not over; `batch-submit` does not."""
    life = make_life("six")
    price = life.workspace.read_json("preflight", limit=1)["batch"]["cost"]
    budget = f"{2.5 * price:.9f}"
    effect = effect_of(life, "tag", mode="batch", BUDGET=budget)
    sent = "0 | 1C 1U 1L | submitted | 4 open, 2 claimed | -"
    assert effect == sent

    life.wait_for_server()
    document = life.workspace.read_json("run", only=ASKING_UNITS)["tasks"]["experts"]
    assert (document["left"], document["submitted"]) == (4, {})
    assert document["out_of_money"].startswith("BUDGET=")
    assert effect_of(life, "run", only=ASKING_UNITS) == (
        "0 | - | ingested | 2 tagged, 4 open | 2 batch"
    )
    assert effect_of(life, "submit") == (
        "0 | 1C 1U 1L | ingested, submitted | 2 tagged, 4 claimed | 2 batch"
    )


@pytest.mark.skipif(PROVIDER != "gemini", reason="only Gemini has decision models")
@pytest.mark.parametrize(
    ("verb", "options", "effect"),
    [
        (
            "tag",
            {},
            "0 | 3 decision | decide ingested, decide ingested | 4 answered | 4 decide, lost",
        ),
        (
            "run",
            {},
            "0 | 3 decision | decide ingested, decide ingested | 4 answered | 4 decide, lost",
        ),
        (
            "tag",
            {"mode": "live"},
            "0 | 3 call | decide ingested, live ingested | 4 answered | 1 decide, 3 live, lost",
        ),
        (
            "submit",
            {},
            "0 | 1C 1U 1L | decide ingested, submitted | 1 answered, 3 claimed | 1 decide, lost",
        ),
    ],
    ids=["tag", "work", "tag live", "batch-submit"],
)
def test_decisions_go_on_after_a_kill(
    make_life: MakeLife, verb: str, options: dict[str, Any], effect: str
) -> None:
    """`tag` and `work` continue by decisions; a command with another way uses its own."""
    life = make_life("closed rows")
    life.api.script_fault("hang", nth=2, times=MANY_TIMES, path="/decisions$", args=HANGS)
    kill_after_calls(
        life.workspace, life.api, "/decisions", "tag", mode="decide", call_count=3, CONCURRENCY=2
    )
    life.api.clear_faults()
    assert "tag" in life.workspace.status()["next"]
    assert effect_of(life, verb, **options) == effect


def test_pilot_waits_for_no_other_rows(make_life: MakeLife) -> None:
    """A batch of other rows that never ends does not delay the verdict of a pilot."""
    life = make_life("none")
    life.api.script_fault("never_ends")
    life.workspace.run_command("submit")
    life.workspace.import_people(20, first=50)
    # The sample has one of the new rows.
    life.workspace.run_command("submit", pilot=1)
    assert sorted(life.workspace.batch_states()) == ["ingested", "submitted", "submitted"]


def test_pilot_beside_another_process(make_life: MakeLife) -> None:
    """The second command waits for the batch of the first, and neither sends a row twice."""
    life = make_life("none")
    workspace, api = life.workspace, life.api
    workspace.import_people(1, first=50)
    api.configure(paused=True)
    before = life.count_requests()
    # On a busy machine a reply may be late, but it is never lost.
    names = ("CREATE_TIMEOUT", "CALL_TIMEOUT", "RETRY_FOR", "POLL_PATIENCE")
    patience: dict[str, Any] = dict.fromkeys(names, 60)
    with workspace.start_command("submit", pilot=2, **patience) as first:
        wait_until(api.batches, first.read_output)
        wait_until(lambda: workspace.batch_states() == ["submitted"], first.read_output)
        looks = api.count_calls("GET", "/batches/")
        with workspace.start_command("submit", pilot=2, **patience) as second:
            wait_until(lambda: api.count_calls("GET", "/batches/") > looks + 4, second.read_output)
            api.configure(paused=False)
            codes = [first.wait().code, second.wait().code]

    assert codes == [0, 0], second.read_output()
    assert [len(create["lines"]) for create in api.creates()] == [2, 1]
    assert life.describe_effect(before, 0, waits=True) == (
        "0 | 2C 2U nL nG 1D | ingested, submitted | 2 tagged, 1 claimed | 2 batch"
    )

    # The verdict counts for later rows as well.
    workspace.import_people(1, first=60)
    workspace.run_command("submit", pilot=2)
    assert [len(create["lines"]) for create in api.creates()] == [2, 1, 1]


def test_tag_waits_for_live_calls_of_another_process(make_life: MakeLife) -> None:
    """A second `tag WAIT=1` ends after the live calls of the first, and asks no row again."""
    life = make_life("none")
    workspace, api = life.workspace, life.api
    workspace.import_people(1, first=50)
    api.script_fault("slow_reply", times=MANY_TIMES, path=LIVE_CALL_PATH, args={"seconds": 5})
    with workspace.start_command("tag", mode="live", CALL_TIMEOUT=200) as first:
        wait_for_calls(api, first, LIVE_CALL, 1)
        second = workspace.run_command("tag", wait=True)
        assert "claimed" not in workspace.state_counts(), second
        assert first.wait().code == 0, first.read_output()
    assert second.stderr.count("waiting for the lock") == 1, second
    api.clear_faults()


def interrupt_call(life: Life, *, is_repeated: bool, reply_after_s: float) -> EndedCommand:
    """Send one or more SIGINT to a live run whose first call is answered after some seconds."""
    args = {"seconds": reply_after_s}
    life.api.script_fault("slow_reply", times=MANY_TIMES, path=LIVE_CALL_PATH, args=args)
    options: dict[str, Any] = {"mode": "live", "CONCURRENCY": 1, "CALL_TIMEOUT": 200}
    with life.workspace.start_command("tag", **options) as running:
        wait_for_calls(life.api, running, LIVE_CALL, 1)
        running.signal(signal.SIGINT)
        while is_repeated and not running.is_finished():
            time.sleep(0.5)
            with contextlib.suppress(ProcessLookupError):
                running.signal(signal.SIGINT)
        ended = running.wait()
    life.api.clear_faults()
    return ended


def test_first_interrupt_waits_for_the_running_call(make_life: MakeLife) -> None:
    """After Ctrl-C nothing is asked any more, but the reply of the running call is stored."""
    life = make_life("none")
    before = life.count_requests()
    ended = interrupt_call(life, is_repeated=False, reply_after_s=2)
    assert life.describe_effect(before, ended.code) == (
        "130 | 1 call | live ingested | 1 tagged, 1 open | 1 live"
    )
    assert "interrupted; finished work is stored" in ended.stderr
    assert effect_of(life, "tag", mode="live") == (
        "0 | 1 call | live ingested, live ingested | 2 tagged | 2 live"
    )


def test_second_interrupt_gives_the_running_call_up(make_life: MakeLife) -> None:
    """The call may have been paid, and its row is asked again."""
    life = make_life("none")
    before = life.count_requests()
    ended = interrupt_call(life, is_repeated=True, reply_after_s=4.5)
    assert life.describe_effect(before, ended.code) == (
        "130 | 1 call | live ingested | 2 open | lost"
    )
    assert effect_of(life, "tag", mode="live") == (
        "0 | 2 call | live ingested, live ingested | 2 tagged | 2 live, lost"
    )


def test_interrupted_wait_is_continued(make_life: MakeLife) -> None:
    """The batch goes on at the server, and the same command collects it."""
    life = make_life("none")
    life.api.configure(paused=True)
    before = life.count_requests()
    with life.workspace.start_command("tag", mode="batch", wait=True) as running:
        wait_until(lambda: life.api.count_calls("GET", "/batches/"), running.read_output)
        ended = running.stop(signal.SIGINT)
    assert life.describe_effect(before, ended.code, waits=True) == (
        "130 | 1C 1U nL nG | submitted | 2 claimed | -"
    )
    life.api.configure(paused=False)
    assert effect_of(life, "tag", mode="batch", wait=True) == (
        "0 | nL nG 1D | ingested | 2 tagged | 2 batch"
    )


@pytest.mark.parametrize("verb", ["submit", "work"])
def test_first_look_after_a_restart(make_life: MakeLife, verb: str) -> None:
    """Each process looks for a lost create for LIST_LAG seconds before it creates again.

    Looks of killed processes do not count.
    """
    life = make_life("absent create")
    before = life.count_requests()
    for _ in range(2):
        with life.workspace.start_command(verb, LIST_LAG=600) as running:
            wait_until(
                lambda: "checking again in 60 s" in running.read_output(), running.read_output
            )
            running.signal(signal.SIGKILL)
            running.wait()
    assert life.describe_effect(before, 0) == "0 | 2L | submitting | 2 claimed | -"

    before = life.count_requests()
    started_at_s = time.monotonic()
    with life.workspace.start_command(verb, LIST_LAG=1.5) as running:
        wait_until(lambda: life.workspace.batch_states() == ["submitted"], running.read_output)
        duration_s = time.monotonic() - started_at_s
        ended = running.stop(signal.SIGTERM) if verb == "work" else running.wait()
    assert duration_s > 1.5
    code = 130 if verb == "work" else 0
    counts = life.count_requests() - before
    # `work` may look at the batch before it ends.
    assert (ended.code, counts["create"], counts["upload"]) == (code, 1, 0)
    if verb == "submit":
        assert life.describe_effect(before, code) == ("0 | 1C 2L | submitted | 2 claimed | -")


def test_new_person_is_due_after_the_deadline(make_life: MakeLife) -> None:
    """`add-expert` gives the call up after 6.5 s, and `work` asks the person alone."""
    life = make_life("none")
    life.api.script_fault("hang", times=MANY_TIMES, path=LIVE_CALL_PATH, args=HANGS)
    write_person(life.workspace, "added")
    before = life.count_requests()
    ended = life.workspace.try_command("add", "added.json", CALL_TIMEOUT=200)
    assert life.describe_effect(before, ended.code) == (
        "0 | 1 call | live ingested | 3 open | lost"
    )
    assert "no reply came within 6.5 s" in ended.stderr
    life.api.clear_faults()
    assert effect_of(life, "run", only=ASKING_UNITS) == (
        "0 | 1C 1U 1L 1 call | live ingested, live ingested, submitted"
        " | 1 tagged, 2 claimed | 1 live, lost"
    )


def test_due_row_stays_due_until_it_is_answered(make_life: MakeLife) -> None:
    """Each pass makes one call and repeats it once; the page asks when it starts."""
    life = make_life("due")
    life.api.script_fault("status", times=MANY_TIMES, path=LIVE_CALL_PATH, args=OVERLOAD)
    runs = ["live ingested"]
    for _ in range(2):
        runs.append("live ingested")
        effect = effect_of(life, "run", only=ASKING_UNITS.replace(",submit", ""), RETRY_FOR=0)
        assert effect == f"4 | 2 call | {', '.join(runs)} | 1 open | -"
    ended = life.workspace.run_command("run", only="ask", json=True, code=4, RETRY_FOR=0)
    assert ended.json["tasks"]["experts"]["retried"]["failed"] == 1
    runs.append("live ingested")
    life.api.clear_faults()

    before = life.count_requests()
    with life.workspace.serve_page():
        wait_until(lambda: life.workspace.state_counts() == {"tagged": 1})
    runs.append("live ingested")
    assert life.describe_effect(before, 0) == f"0 | 1 call | {', '.join(runs)} | 1 tagged | 1 live"


@on_a_server
def test_workers_take_all_steps_once(make_life: MakeLife) -> None:
    """Jobs of the same workspace send, poll and ingest one batch."""
    life = make_life("none")
    workspace = life.workspace
    before = life.count_requests()
    with workspace.start_command("work", concurrency=2, yes=True) as running:
        wait_until(lambda: workspace.state_counts() == {"tagged": 2}, running.read_output)
        running.signal(signal.SIGTERM)
        ended = running.wait()
    assert life.describe_effect(before, ended.code, waits=True) == (
        "0 | 1C 1U nL nG 1D | ingested | 2 tagged | 2 batch"
    )
