"""Make workspaces in all states of batches and rows, and describe what a command did to one."""

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import postgresql
from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.creates import fail_creates
from tests.acceptance.engine import LIVE_CALL, MANY_TIMES, Engine
from tests.acceptance.process import MAX_WAIT_S
from tests.acceptance.product import ON_POSTGRESQL, PEOPLE, Workspace, write_declaration

LIST_PATH = r"/batches\?"
# The kinds of requests, by method and a pattern of their path; the first that matches counts.
# The index is not the business of these tests.
REQUEST_KINDS = (
    ("create", "POST", r":batchGenerateContent"),
    ("upload", "POST", r"^/upload/.*upload_id="),
    ("call", "POST", r":generateContent"),
    ("decision", "POST", r"/decisions"),
    ("cancel", "POST", r":cancel"),
    ("list", "GET", r"/batches(\?|$)"),
    ("get", "GET", r"/batches/[^/:]+$"),
    ("download", "GET", r":download"),
)
# A command that waits looks more or less often, as fast as the server is.
UNCOUNTED_KINDS = {"get", "list"}
OVERLOAD = {"code": 503, "message": "overloaded"}
LINE_ERROR = {"code": 13, "message": "Trouble."}
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
                tier = request["json"].get("serviceTier", kind)
                counts[f"{tier} {name_of_row(request['json'])}"] += 1
        return counts

    def wait_for_server(self) -> None:
        """Wait until the server has ended all batches that it works on."""
        deadline = time.monotonic() + MAX_WAIT_S
        while any(batch["state"] in {"PENDING", "RUNNING"} for batch in self.api.batches()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def describe_effect(self, before: Counter[str], code: int, *, waits: bool = False) -> str:
        """Return what happened since `before`, as `test_units` writes it.

        Args:
            before: The requests that had reached the server.
            code: The exit code of the command.
            waits: The command waited for batches.
        """
        counts = self.count_requests() - before
        requests = [
            f"some {kind}" if waits and kind in UNCOUNTED_KINDS else f"{counts[kind]} {kind}"
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
        parts = (requests, states, self.describe_rows(), paid)
        return " | ".join([str(code), *(", ".join(part) or "-" for part in parts)])

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
    life.workspace.run_command("submit", RETRY_FOR=0.1, code=4)
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
    life.api.script_fault("error_line", args=LINE_ERROR)
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
    if state in TICKET_STATES:
        use_tickets(life.workspace)
    return life
