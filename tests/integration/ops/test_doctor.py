"""`make doctor` finds each fault that is planted, and what it says to type mends what can be mended."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.index.vector_cache import vector_cache
from pipeline.store import erasure
from tests.lab import ON_POSTGRESQL, Api, Workspace

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")
LONG_AGO = "2026-01-01 00:00:00.000000"


@dataclass(frozen=True)
class Bench:
    """A workspace that has gone through the chain, and the emulator it went to."""

    workspace: Workspace
    api: Api
    patch: pytest.MonkeyPatch

    @property
    def data(self) -> Path:
        """Return the workspace's directory."""
        return self.workspace.data

    def sql(self, statement: str) -> None:
        """Change the database behind the product's back; `:long_ago` is a time."""
        self.workspace.change(statement, long_ago=LONG_AGO)

    def plant(self, fault: "str | Callable[[Bench], None]") -> None:
        """Bring a fault about."""
        if isinstance(fault, str):
            self.sql(fault)
        else:
            fault(self)

    def add_person(self, name: str) -> None:
        """Add one person who can be asked about."""
        with self.workspace.open() as ws, ws.store.write() as tx:
            table.insert_person(tx, name, {"bio": "I mend old clocks."})

    def run(self, command: str) -> None:
        """Run a command, with its words, that must work."""
        self.workspace.ran(*command.split())

    def doctor(self) -> tuple[int, list[dict[str, Any]]]:
        """Return doctor's exit code and findings."""
        result = self.workspace.run("doctor", "--json")
        findings: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
        return result.exit_code, findings


@pytest.fixture
def bench(
    workspace: Workspace, api: Api, begun: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """Six people are tagged, one has no bio, the index was built twice, and a batch of two waits at the API."""
    made = Bench(workspace, api, monkeypatch)
    workspace.environ["FINDABLE_RETRY_FOR"] = "0.2"

    def prepare() -> None:
        """Go through the chain, and begin it again."""
        with workspace.open() as ws, ws.store.write() as tx:
            for number in range(7):
                bio = None if number == 6 else f"I keep bees and teach water law in town {number}."
                table.insert_person(tx, f"person-{number}", {"job_title": "Keeper", "bio": bio})
        for command in (*CHAIN, "index"):
            made.run(command)
        for name in ("late-1", "late-2"):
            made.add_person(name)
        api.configure(batch_looks=1000)
        made.run("batch-submit")

    begun(prepare)
    return made


def forget_file(pattern: str) -> Callable[[Bench], None]:
    """Return a plant that deletes the one file of that name."""

    def plant(bench: Bench) -> None:
        """Delete it."""
        (path,) = bench.data.glob(pattern)
        path.unlink()

    return plant


def spoil_file(pattern: str) -> Callable[[Bench], None]:
    """Return a plant that changes a byte in the middle of the first file of that name."""

    def plant(bench: Bench) -> None:
        """Change it."""
        path = min(bench.data.glob(pattern))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return plant


def write_file(name: str) -> Callable[[Bench], None]:
    """Return a plant that leaves a file behind, as a killed run does."""

    def plant(bench: Bench) -> None:
        """Write it."""
        (bench.data / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.data / name).write_bytes(b"half")

    return plant


def not_ingested(bench: Bench) -> None:
    """Put the first batch back before its ingest."""
    bench.sql("UPDATE findable_batches SET state = 'downloaded' WHERE number = 1")
    bench.sql("UPDATE findable_asks SET state = 'claimed' WHERE batch = 1")
    bench.sql("DELETE FROM findable_answers")
    bench.sql("UPDATE experts SET tags = NULL")


def back_to_prepared(bench: Bench) -> None:
    """Put the second batch back before its create, and change its request file."""
    bench.sql("UPDATE findable_batches SET state = 'prepared', remote_name = NULL WHERE number = 2")
    spoil_file("batches/000002-requests.jsonl")(bench)


def half_created(bench: Bench) -> None:
    """Forget that the second batch's create was answered."""
    bench.sql(
        "UPDATE findable_batches SET state = 'submitting', remote_name = NULL, create_ended_at = NULL WHERE number = 2"
    )


def created_twice(bench: Bench) -> None:
    """Let the API make two batches of one create."""
    bench.add_person("twin")
    bench.api.fault("duplicate_batch")
    bench.run("batch-submit")


def older_copy(bench: Bench) -> None:
    """Forget a batch that the API knows, as a database does that was put back to an older copy."""
    bench.sql("DELETE FROM findable_asks WHERE batch = 2")
    bench.sql("DELETE FROM findable_creates WHERE batch = 2")
    bench.sql("DELETE FROM findable_batches WHERE number = 2")


def lose_result_for_good(bench: Bench) -> None:
    """Lose a result that is needed, here and at the API."""
    not_ingested(bench)
    forget_file("batches/000001-results.jsonl")(bench)
    with bench.workspace.open() as ws, ws.store.write() as tx:
        table.refresh_scores(tx)


def lost_build(bench: Bench) -> None:
    """Remove the build in service."""
    shutil.rmtree(bench.data / "index" / "builds" / "2")


def lead_back(bench: Bench) -> None:
    """Let the link lead to the build before, as where a run died right before it would have replaced it."""
    link = bench.data / "index" / "current"
    link.unlink()
    link.symlink_to("builds/1")


def spoil_cache(bench: Bench) -> None:
    """Change a number of a cached vector."""
    with bench.workspace.open() as ws, vector_cache(ws).store.write() as tx:
        tx.exec_driver_sql(
            "UPDATE findable_vectors SET crc = crc + 1 WHERE key = (SELECT key FROM findable_vectors LIMIT 1)"
        )


def spoil_index_of_database(bench: Bench) -> None:
    """Let an index of the database be about another column than its entries are, or half made."""
    if ON_POSTGRESQL:
        bench.sql(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'findable_answers_of_item'::regclass"
        )
        return
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    connection = sqlite3.connect(bench.data / "findable.db")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'item_id', 'extractor') WHERE name = 'findable_answers_of_item'"
    )
    connection.commit()
    connection.close()


def begin_to_forget(bench: Bench) -> None:
    """Leave the mark of a forgetting that was killed."""
    with bench.workspace.open() as ws, ws.store.write() as tx:
        erasure.begin_erasure(tx, "expert-tags", "1", name="person-0", now=ws.now())


Plant = str | Callable[[Bench], None]  # a statement, or what does it
GIVE_UP = "batch-cancel 2 --yes"
CONTRADICTIONS: dict[
    str, tuple[Plant, str, tuple[str, ...]]
] = {  # plant, what is said, what mends it if anything
    "index of the database": (spoil_index_of_database, "index findable_answers_of_item", ()),
    "claim without a batch": (
        (
            "INSERT INTO findable_asks (task, item_id, extractor, batch, line, input_hash, state, at) VALUES "
            "('expert-tags', '7', 'x/y', 77, 1, 'x', 'claimed', :long_ago)"
        ),
        "1 rows of findable_asks name a batch that is not there",
        (),
    ),
    "answer without a batch": (
        "UPDATE findable_answers SET batch = 77 WHERE item_id = '3'",
        "1 rows of findable_answers name a batch",
        (),
    ),
    "batch without claims": (
        "DELETE FROM findable_asks WHERE batch = 2",
        "batch 2 is submitted, has 2 requests, and 0 of them are claimed or accounted for",
        (),
    ),
    "older database": (
        "UPDATE findable_workspace SET position = 0",
        "and the database is at 0",
        ("index --worse-ok",),
    ),
    "old request file": (
        forget_file("batches/000001-requests.jsonl"),
        "its request file is gone",
        (),
    ),
    "old result file": (forget_file("batches/000001-results.jsonl"), "its result is gone", ()),
    "lost result": (lose_result_for_good, "its result is gone", ("batch-cancel 1 --yes",)),
    "state": (
        "UPDATE findable_batches SET state = 'lost' WHERE number = 2",
        "does not exist: 'lost'",
        (),
    ),
    "sum": ("UPDATE findable_batches SET answered = 5 WHERE number = 1", "adds up to 5 of 6", ()),
    "answers": (
        "DELETE FROM findable_answers WHERE item_id = '3'",
        "counts 6 answered, and 5 are stored",
        (),
    ),
    "attempts": (
        (
            "INSERT INTO findable_attempts (task, item_id, extractor, batch, at, charged, outcome, reason) VALUES "
            "('expert-tags', '3', 'x/y', 1, :long_ago, true, 'missing', 'x')"
        ),
        "counts 0 missing, and 1 are stored",
        (),
    ),
    "unclaimed": (
        "UPDATE findable_asks SET state = 'answered' WHERE batch = 2",
        "and 0 of them are claimed",
        (),
    ),
    "no remote name": (
        "UPDATE findable_batches SET remote_name = NULL WHERE number = 2",
        "no remote",
        (),
    ),
    "no result": (
        "UPDATE findable_batches SET result_file = NULL WHERE number = 1",
        "names no result",
        (),
    ),
    "stuck claims": (
        "UPDATE findable_asks SET state = 'claimed' WHERE batch = 1",
        "6 items are claimed",
        ("batch-submit",),
    ),
    "other lines": (
        "UPDATE findable_asks SET item_id = '99' WHERE line = 2 AND batch = 2",
        "asks 2",
        (),
    ),
    "request file": (
        spoil_file("batches/000002-requests.jsonl"),
        "changed after it was sealed",
        (),
    ),
    "unsent file": (back_to_prepared, "changed after it was sealed", (GIVE_UP,)),
    "score": (
        "UPDATE experts SET findability_score = 99 WHERE id = 1",
        "scores that do not follow",
        ("score",),
    ),
    "index": (spoil_file("index/builds/2/faiss.index"), "has other bytes", ("index",)),
    "words": (spoil_file("index/builds/2/words.scores.npy"), "has other bytes", ("index",)),
    "build": (lost_build, "index in service is broken", ("index",)),
    "link": (forget_file("faiss.index"), "does not lead to the index", ("index",)),
    "gone": (
        lambda bench: bench.api.fault("batch_vanishes", times=1000),
        "not to be seen there",
        (GIVE_UP,),
    ),
    "older copy": (older_copy, "no batch here knows it", ()),
    "result of no batch": (
        write_file("batches/000009-results.jsonl"),
        "of a batch that this database does not",
        (),
    ),
    "twin": (created_twice, "second remote batch of batch 3", ("batch-poll",)),
}
HARMLESS: dict[str, tuple[Plant, str, tuple[str, ...]]] = {
    "other width": (
        lambda bench: bench.workspace.environ.update(FINDABLE_DIM="512"),
        "search would ask for gemini-embedding-2, 512 wide",
        ("index",),
    ),
    "half forgotten": (
        begin_to_forget,
        "item 1 was begun to be forgotten",
        ("forget person-0 --yes",),
    ),
    "request litter": (
        write_file("batches/000009-requests.jsonl"),
        "000009-requests.jsonl belongs to n",
        ("clean",),
    ),
    "half result": (
        write_file("batches/000001-results.jsonl.part"),
        "belongs to nothing",
        ("clean",),
    ),
    "staging": (
        write_file("index/builds/9.staging/faiss.index"),
        "9.staging belongs to nothing",
        ("clean",),
    ),
    "half a link": (write_file("index/current.77.link-part"), "current.77.link-part", ("clean",)),
    "stale link": (
        lead_back,
        "build 2 is in service by the database, and index/current leads to 1",
        ("index",),
    ),
    "vector": (spoil_cache, "1 cached vectors of gemini-embedding-2 are damaged", ()),
    "unclear": (
        half_created,
        "batch 2 was being created when a run died, and is in the list",
        ("batch-submit",),
    ),
    "other tags": (
        "UPDATE experts SET tags = '[\"x\"]' WHERE id = 1",
        "another program changed",
        (),
    ),
    "gone person": (
        "DELETE FROM experts WHERE id = 1",
        "answers or columns of 1 people are here whose rows are not",
        ("forget --item 1 --yes",),
    ),
}


def test_a_sound_workspace_is_healthy(bench: Bench) -> None:
    """After the chain, with a batch under way, there is nothing to find; without a key of Gemini: exit code 3.

    What a living process stages is not called a dead one's.
    """
    assert bench.doctor() == (0, [])
    result = bench.workspace.run("doctor")
    assert result.stdout.endswith("checks passed: nothing contradicts what is stored\n")
    with bench.workspace.open() as ws, ws.lock("index"):
        (bench.workspace.data / "index" / "builds" / "9.staging").mkdir()
        assert bench.doctor() == (0, [])
    del bench.workspace.environ["GEMINI_API_KEY"]
    assert bench.doctor()[0] == 3


def test_an_empty_workspace_is_healthy(workspace: Workspace, api: Api, tmp_path: Path) -> None:
    """Where nothing was done yet doctor asks whether the key is taken; without one it starts no engine."""
    result = workspace.begin().run("doctor")
    assert (result.exit_code, result.output.count("\n")) == (0, 1)
    looked_up = {entry["path"].partition("?")[0] for entry in api.journal()}
    models = ("gemini-3.5-flash-lite", "gemini-embedding-2")
    assert looked_up == {"/v1beta/batches", *(f"/v1beta/models/{name}" for name in models)}
    local = Workspace(tmp_path / "local", {"FINDABLE_DATA": str(tmp_path / "local")})
    local.begin().ran("doctor")
    assert not list(local.data.glob("local-engine*"))


# a server lets nobody write a row of a batch that is not there
PLANTS = [
    name
    for name in (*CONTRADICTIONS, *HARMLESS)
    if not (ON_POSTGRESQL and name.endswith("without a batch"))
]


@pytest.mark.sampled(20, sqlite=14)
@pytest.mark.parametrize("name", PLANTS)
def test_what_is_wrong_is_said_until_it_is_mended(bench: Bench, name: str) -> None:
    """With exit code 5 where it contradicts; doctor changes nothing, and after what it says to type all is well."""
    plant, said, mends = (CONTRADICTIONS | HARMLESS)[name]
    bench.plant(plant)
    code, findings = bench.doctor()
    assert code == (5 if name in CONTRADICTIONS else 0), findings
    assert any(said in finding["said"] for finding in findings), findings
    assert all(finding["why"] and finding["next"] for finding in findings), findings
    assert bench.doctor() == (code, findings), "doctor changed something"
    for command in mends:
        bench.run(command)
    if mends:
        code, left = bench.doctor()
        assert (code, [finding for finding in left if said in finding["said"]]) == (0, [])


def test_a_lost_result_is_fetched_again(bench: Bench) -> None:
    """A result that is needed and gone is downloaded once more by a poll, byte for byte, and can be ingested."""
    before = (bench.data / "batches" / "000001-results.jsonl").read_bytes()
    not_ingested(bench)
    forget_file("batches/000001-results.jsonl")(bench)
    bench.run("batch-poll --no-wait")
    assert (bench.data / "batches" / "000001-results.jsonl").read_bytes() == before
    bench.run("batch-ingest")
    assert bench.workspace.scalar("SELECT count(*) FROM experts WHERE tags IS NOT NULL") >= 6
    assert bench.doctor()[0] == 0


def test_files_that_only_a_newer_database_knows_are_kept(bench: Bench) -> None:
    """Where the database is an older copy, `clean` does not take what was answered since for a dead run's litter."""
    older_copy(bench)
    kept = {"000009-requests.jsonl", "000009-results.jsonl"}
    for name in kept:
        write_file(f"batches/{name}")(bench)
    code, findings = bench.doctor()
    told = {
        one["said"].split()[0]
        for one in findings
        if "does not know: it is an older copy" in one["said"]
    }
    assert (code, told) == (5, kept | {"000002-requests.jsonl"})
    bench.run("clean")
    assert kept <= {path.name for path in (bench.data / "batches").iterdir()}


@pytest.mark.sqlite_only(
    reason="it damages the database's own file, and PostgreSQL takes only text that is UTF-8"
)
def test_a_damaged_database_is_said_in_one_line(bench: Bench) -> None:
    """Where pages of the database are damaged doctor says so with exit code 5.

    A cell that another program filled with bytes that are no UTF-8 is named, and no contradiction.
    """
    bench.sql("UPDATE experts SET company = CAST(x'48E96C' AS TEXT) WHERE id = 1")
    code, findings = bench.doctor()
    assert (code, [one["contradiction"] for one in findings if "no UTF-8" in one["said"]]) == (
        0,
        [False],
    )
    path = bench.data / "findable.db"
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    for page in range(8192, len(content), 4096):
        content[page : page + 64] = b"\xff" * 64
    path.write_bytes(content)
    assert "Traceback" not in bench.workspace.ran("doctor", code=5).output
