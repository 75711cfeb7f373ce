"""`make doctor` finds each planted fault, and the commands that it recommends repair it."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from askrows.pipeline.store import erasure
from tests.lab import ON_POSTGRESQL, Api, Workspace
from tests.people import insert_person

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")
LONG_AGO = "2026-01-01 00:00:00.000000"


@dataclass(frozen=True)
class Bench:
    """A workspace that has gone through the chain, and its emulator."""

    workspace: Workspace
    api: Api

    @property
    def data(self) -> Path:
        """Return the workspace's directory."""
        return self.workspace.data

    def sql(self, statement: str) -> None:
        """Change the database without the product; `:long_ago` is a time."""
        self.workspace.change(statement, long_ago=LONG_AGO)

    def add_person(self, name: str) -> None:
        """Add a person with a biography."""
        with self.workspace.open() as ws, ws.workspace.store.write() as tx:
            insert_person(ws, tx, name, {"bio": "I mend old clocks."})

    def run(self, command: str) -> None:
        """Run a command line that must succeed."""
        self.workspace.ran(*command.split())

    def doctor(self) -> tuple[int, list[dict[str, Any]]]:
        """Return doctor's exit code and findings."""
        result = self.workspace.run("doctor", "--json")
        findings: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
        return result.exit_code, findings


@pytest.fixture
def bench(workspace: Workspace, api: Api, begun: Callable[..., None]) -> Bench:
    """Prepare six tagged people, a person without a bio, two builds and a submitted batch."""
    prepared_bench = Bench(workspace, api)
    workspace.environ["ASKROWS_RETRY_FOR"] = "0.2"

    def prepare() -> None:
        """Run the chain, and start it again."""
        with workspace.open() as ws, ws.workspace.store.write() as tx:
            for number in range(7):
                bio = None if number == 6 else f"I keep bees and teach water law in town {number}."
                insert_person(ws, tx, f"person-{number}", {"job_title": "Keeper", "bio": bio})
        for command in (*CHAIN, "index"):
            prepared_bench.run(command)
        for name in ("late-1", "late-2"):
            prepared_bench.add_person(name)
        api.configure(batch_looks=1000)
        prepared_bench.run("batch-submit")

    begun(prepare)
    # The copied workspace was prepared with an API at another port.
    workspace.change("UPDATE askrows_batches SET address = :url", url=api.url)
    return prepared_bench


def delete_file(pattern: str) -> Callable[[Bench], None]:
    """Return a plant that deletes the only file of that name."""

    def plant(bench: Bench) -> None:
        """Delete the file."""
        (path,) = bench.data.glob(pattern)
        path.unlink()

    return plant


def spoil_file(pattern: str) -> Callable[[Bench], None]:
    """Return a plant that changes a byte in the middle of the first file of that name."""

    def plant(bench: Bench) -> None:
        """Change the byte."""
        path = min(bench.data.glob(pattern))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return plant


def write_file(name: str) -> Callable[[Bench], None]:
    """Return a plant that leaves a file over, as a killed run does."""

    def plant(bench: Bench) -> None:
        """Write the file."""
        (bench.data / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.data / name).write_bytes(b"half")

    return plant


def undo_ingest(bench: Bench) -> None:
    """Reset the first batch to its state before the ingest."""
    bench.sql("UPDATE askrows_batches SET state = 'downloaded' WHERE number = 1")
    bench.sql("UPDATE askrows_asks SET state = 'claimed' WHERE batch = 1")
    bench.sql("DELETE FROM askrows_answers")
    bench.sql("UPDATE experts SET tags = NULL")


def undo_create(bench: Bench) -> None:
    """Reset the second batch to its state before the create, and change its request file."""
    bench.sql("UPDATE askrows_batches SET state = 'prepared', remote_name = NULL WHERE number = 2")
    spoil_file("batches/000002-requests.jsonl")(bench)


def lose_create_reply(bench: Bench) -> None:
    """Remove the reply to the second batch's create."""
    bench.sql(
        "UPDATE askrows_batches SET state = 'submitting', remote_name = NULL, "
        "create_ended_at = NULL WHERE number = 2"
    )


def create_duplicate_batch(bench: Bench) -> None:
    """Let the API create two batches for a single call."""
    bench.add_person("twin")
    bench.api.script_fault("duplicate_batch")
    bench.run("batch-submit")


def give_up_running_batch(bench: Bench) -> None:
    """Give the second batch up while the API hides it, and show it again."""
    bench.api.script_fault("batch_vanishes", times=1000)
    missing = {"code": 404, "message": "Requested entity was not found."}
    bench.api.script_fault("status", method="POST", path=":cancel$", times=1000, args=missing)
    bench.run(GIVE_UP)
    bench.api.clear_faults()


def forget_newer_batch(bench: Bench) -> None:
    """Delete a batch that the API knows, as if an older database was restored."""
    bench.sql("DELETE FROM askrows_asks WHERE batch = 2")
    bench.sql("DELETE FROM askrows_creates WHERE batch = 2")
    bench.sql("DELETE FROM askrows_batches WHERE number = 2")


def lose_result_for_good(bench: Bench) -> None:
    """Lose a needed result on disk and at the API."""
    undo_ingest(bench)
    delete_file("batches/000001-results.jsonl")(bench)


def delete_build(bench: Bench) -> None:
    """Delete the build in service."""
    shutil.rmtree(bench.data / "index" / "builds" / "2")


def link_older_build(bench: Bench) -> None:
    """Link the previous build, as if a run died right before it replaced the link."""
    link = bench.data / "index" / "current"
    link.unlink()
    link.symlink_to("builds/1")


def spoil_index_of_database(bench: Bench) -> None:
    """Define an index of the SQLite file on another column than its entries."""
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    connection = sqlite3.connect(bench.data / "askrows.db")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'row_id', 'version') "
        "WHERE name = 'askrows_answers_of_row'"
    )
    connection.commit()
    connection.close()


def interrupt_forget(bench: Bench) -> None:
    """Leave the mark of a `forget` command that was killed."""
    with bench.workspace.open() as ws, ws.workspace.store.write() as tx:
        erasure.park_row_and_record_erasure(
            tx, "experts", "1", name="person-0", now=ws.workspace.now()
        )


# A statement of SQL, or a function that changes the workspace.
Plant = str | Callable[[Bench], None]
# A plant, part of the message, and the commands that repair the fault, if any.
Fault = tuple[Plant, str, tuple[str, ...]]
GIVE_UP = "batch-cancel 2 --yes"
# Faults that doctor reports with exit code 5.
CONTRADICTIONS: dict[str, Fault] = {
    "index of the database": (spoil_index_of_database, "index askrows_answers_of_row", ()),
    "claim without a batch": (
        (
            "INSERT INTO askrows_asks "
            "(task, row_id, version, batch, line, input_hash, state, at) VALUES "
            "('experts', '7', 'x/y', 77, 1, 'x', 'claimed', :long_ago)"
        ),
        "1 row of askrows_asks names a missing batch",
        (),
    ),
    "answer without a batch": (
        "UPDATE askrows_answers SET batch = 77 WHERE row_id = '3'",
        "1 row of askrows_answers names a missing batch",
        (),
    ),
    "batch without claims": (
        "DELETE FROM askrows_asks WHERE batch = 2",
        "batch 2 is submitted, and has claims and outcomes for 0 of 2",
        (),
    ),
    "older database": (
        "UPDATE askrows_workspace SET position = 0",
        "but the database is at position 0",
        ("index --worse-ok",),
    ),
    "old request file": (
        delete_file("batches/000001-requests.jsonl"),
        "its request file is missing",
        (),
    ),
    "old result file": (delete_file("batches/000001-results.jsonl"), "its result is missing", ()),
    "lost result": (
        lose_result_for_good,
        "its result is missing",
        ("batch-cancel 1 --yes", "score"),
    ),
    "state": (
        "UPDATE askrows_batches SET state = 'lost' WHERE number = 2",
        "has an unknown state: 'lost'",
        (),
    ),
    "sum": (
        "UPDATE askrows_batches SET answered = 5 WHERE number = 1",
        "has claims and outcomes for 5 of 6",
        (),
    ),
    "answers": (
        "DELETE FROM askrows_answers WHERE row_id = '3'",
        "but the database has 5 answered",
        (),
    ),
    "attempts": (
        (
            "INSERT INTO askrows_attempts "
            "(task, row_id, version, batch, at, charged, outcome, reason) VALUES "
            "('experts', '3', 'x/y', 1, :long_ago, true, 'missing', 'x')"
        ),
        "1 missing, 0 refused",
        (),
    ),
    "unclaimed": (
        "UPDATE askrows_asks SET state = 'answered' WHERE batch = 2",
        "and has claims and outcomes for 0 of 2",
        (),
    ),
    "request file": (
        spoil_file("batches/000002-requests.jsonl"),
        "changed after it was sealed",
        (),
    ),
    "unsent file": (undo_create, "changed after it was sealed", (GIVE_UP,)),
    "score": (
        "UPDATE experts SET findability_score = 99 WHERE id = 1",
        "derived values that do not match",
        ("score",),
    ),
    "index": (spoil_file("index/builds/2/faiss.index"), "has other bytes", ("index",)),
    "words": (spoil_file("index/builds/2/entries.sqlite"), "has other bytes", ("index",)),
    "build": (delete_build, "index in service is broken", ("index",)),
    "link": (delete_file("faiss.index"), "does not lead to the index", ("index",)),
    "gone": (
        lambda bench: bench.api.script_fault("batch_vanishes", times=1000),
        "no longer exists at the backend",
        (GIVE_UP,),
    ),
    "older copy": (forget_newer_batch, "but not in its database", ()),
    "result of no batch": (
        write_file("batches/000009-results.jsonl"),
        "belongs to a batch that is not in the database",
        (),
    ),
    "twin": (create_duplicate_batch, "second remote batch of batch 3", ("batch-poll",)),
    "given up": (
        give_up_running_batch,
        "still runs, but its batch 2 was given up",
        ("batch-poll",),
    ),
}
# Faults that doctor reports with exit code 0.
HARMLESS: dict[str, Fault] = {
    "half forgotten": (
        interrupt_forget,
        "the forgetting of row 1 was interrupted",
        ("forget person-0 --yes",),
    ),
    "request litter": (
        write_file("batches/000009-requests.jsonl"),
        "000009-requests.jsonl is a leftover",
        ("clean",),
    ),
    "half result": (
        write_file("batches/000001-results.jsonl.part"),
        "is a leftover of a killed run",
        ("clean",),
    ),
    "staging": (
        write_file("index/builds/9.staging/faiss.index"),
        "9.staging is a leftover of a killed run",
        ("clean",),
    ),
    "half a link": (write_file("index/current.77.link-part"), "current.77.link-part", ("clean",)),
    "stale link": (
        link_older_build,
        "index/current leads to build 1",
        ("index",),
    ),
    "unclear": (
        lose_create_reply,
        "a run was killed while it created batch 2",
        ("batch-submit",),
    ),
}


@pytest.mark.full
def test_a_sound_workspace_is_healthy(bench: Bench) -> None:
    """Doctor finds nothing after the chain, and exits with 3 if the key of Gemini is missing.

    Files that a living process stages are no finding.
    """
    assert bench.doctor() == (0, [])

    result = bench.workspace.run("doctor")
    assert result.stdout.endswith("checks passed, no contradiction found; notices: 0\n")

    with bench.workspace.open() as ws, ws.workspace.wait_for_lock("index"):
        (bench.workspace.data / "index" / "builds" / "9.staging").mkdir()
        assert bench.doctor() == (0, [])

    del bench.workspace.environ["GEMINI_API_KEY"]
    assert bench.doctor()[0] == 3


def test_an_empty_workspace_is_healthy(workspace: Workspace, api: Api, tmp_path: Path) -> None:
    """Doctor checks the key in an empty workspace, and starts no local engine if no key is set."""
    result = workspace.begin().run("doctor")
    assert (result.exit_code, result.output.count("\n")) == (0, 1)

    checked_paths = {entry["path"].partition("?")[0] for entry in api.journal()}
    models = ("gemini-3.5-flash-lite", "gemini-embedding-2")
    assert checked_paths == {"/v1beta/batches", *(f"/v1beta/models/{name}" for name in models)}

    local_workspace = Workspace(tmp_path / "local", {"ASKROWS_DATA": str(tmp_path / "local")})
    local_workspace.begin().ran("doctor")
    assert not list(local_workspace.data.glob("local-engine*"))


# A server allows no row that names a missing batch, and checks its own indexes.
NOT_ON_POSTGRESQL = ("without a batch", "index of the database")
PLANTS = [
    name
    for name in (*CONTRADICTIONS, *HARMLESS)
    if not (ON_POSTGRESQL and name.endswith(NOT_ON_POSTGRESQL))
]


@pytest.mark.full
@pytest.mark.parametrize("name", PLANTS)
def test_doctor_reports_a_fault_until_it_is_repaired(bench: Bench, name: str) -> None:
    """Doctor changes nothing, exits with 5 on a contradiction, and recommends the repair."""
    plant, message, repairs = (CONTRADICTIONS | HARMLESS)[name]

    if isinstance(plant, str):
        bench.sql(plant)
    else:
        plant(bench)
    exit_code, findings = bench.doctor()
    assert exit_code == (5 if name in CONTRADICTIONS else 0), findings

    messages = [finding["said"] for finding in findings]
    assert any(message in text for text in messages), findings
    assert all(finding["why"] and finding["next"] for finding in findings), findings
    assert bench.doctor() == (exit_code, findings), "doctor changed something"

    for command in repairs:
        bench.run(command)

    if repairs:
        exit_code, remaining_findings = bench.doctor()
        assert exit_code == 0, remaining_findings
        assert [finding for finding in remaining_findings if message in finding["said"]] == []


def test_files_that_only_a_newer_database_knows_are_kept(bench: Bench) -> None:
    """`clean` keeps files of batches that only a newer copy of the database knows."""
    forget_newer_batch(bench)
    newer_files = {"000009-requests.jsonl", "000009-results.jsonl"}
    for name in newer_files:
        write_file(f"batches/{name}")(bench)

    exit_code, findings = bench.doctor()
    reported_files = {
        finding["said"].split()[0]
        for finding in findings
        if "the database is an older copy" in finding["said"]
    }
    assert (exit_code, reported_files) == (5, newer_files)
    assert not any("leftover" in finding["said"] for finding in findings)

    bench.run("clean")
    assert newer_files <= {path.name for path in (bench.data / "batches").iterdir()}


@pytest.mark.sqlite_only(
    reason="it damages the database's own file, and PostgreSQL takes only text that is UTF-8"
)
def test_a_damaged_database_is_reported_in_one_line(bench: Bench) -> None:
    """Doctor reports damaged pages of the database with exit code 5.

    A cell whose bytes are not UTF-8 is no contradiction.
    """
    bench.sql("UPDATE experts SET company = CAST(x'48E96C' AS TEXT) WHERE id = 1")
    assert bench.doctor()[0] == 0

    path = bench.data / "askrows.db"
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    for page in range(8192, len(content), 4096):
        content[page : page + 64] = b"\xff" * 64
    path.write_bytes(content)
    assert "Traceback" not in bench.workspace.ran("doctor", code=5).output
