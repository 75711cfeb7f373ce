"""`make forget`: nothing of a person is left in any byte that is ours, and all others are as they were."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.experts import table
from pipeline.index import tokenizer
from pipeline.index.vector_cache import open_vector_cache
from tests import ledger
from tests.lab import ON_POSTGRESQL, Api, Workspace, ran

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")
BIO = 'Zanthippa mends harpsichords in "Quillmouth",\nand has taught the tuning of old strings for thirty years.'
PERSON = {
    "first_name": "Zanthippa",
    "last_name": "Quorn",
    "job_title": "Harpsichord maker",
    "bio": BIO,
    "profile_url": "https://example.org/zq-77",
}
TRACES = (b"zq-77", b"Zanthippa", b"Quorn", b"harpsichords in", b"tuning of old strings")


def add_person(workspace: Workspace, name: str = "zq-77") -> str:
    """Add the person who is to be forgotten; return their id."""
    with workspace.open() as ws, ws.store.write() as tx:
        return table.insert_person(tx, name, PERSON)


def holding(root: Path) -> list[str]:
    """Return every file below a folder that holds a trace of the person."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and any(trace in path.read_bytes() for trace in TRACES)
    )


def telling(workspace: Workspace) -> list[str]:
    """Return every table that holds a trace of the person."""
    rows = {name: repr(workspace.query(f"SELECT * FROM {name}")) for name in workspace.tables()}  # noqa: S608 - ours
    return [name for name, told in rows.items() if any(trace.decode() in told for trace in TRACES)]


@pytest.fixture
def chained(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """A workspace in which five people and the one to be forgotten went through the chain, indexed twice."""

    def prepare() -> None:
        """Go through it."""
        people(5)
        add_person(workspace)
        workspace.ran_each(*CHAIN, "index")

    begun(prepare)
    return workspace


def merge(workspace: Workspace) -> None:
    """Let the person have a tag merged, by themselves."""
    tags = workspace.scalar("SELECT tags FROM experts WHERE username = 'zq-77'")
    tag = (json.loads(tags) if isinstance(tags, str) else tags)[0]
    workspace.ran("tags", "--merge", f"{tag}=lutherie", "--who", "zq-77")
    workspace.ran("index")


def words_of(workspace: Workspace) -> list[str]:
    """Return which of the person's terms are among those of a build."""
    named = tokenizer.extract_terms("Zanthippa Quorn harpsichords Quillmouth tuning strings")
    found = set[str]()
    for path in workspace.data.glob("index/builds/*/entries.sqlite"):
        with closing(sqlite3.connect(path)) as build:
            build.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab (main, words, row)")
            found |= {term for (term,) in build.execute("SELECT term FROM temp.vocabulary")}
    return [term for term in named if term in found]


def others(workspace: Workspace) -> dict[str, list[tuple[object, ...]]]:
    """Return all that is kept of all others."""
    tables = {"experts": "id", "findable_answers": "item_id", "findable_asks": "item_id"}
    ids = "'1', '2', '3', '4', '5'"  # which a column of numbers takes too
    return {
        name: workspace.query(f"SELECT * FROM {name} WHERE {key} IN ({ids}) ORDER BY {key}")  # noqa: S608 - our names
        for name, key in tables.items()
    }


def test_nothing_is_left_of_a_person_in_any_byte(chained: Workspace) -> None:
    """Row, answers, sealed lines, vectors, index, merges, free pages hold nothing of them; doctor finds nothing.

    Without a terminal and without --yes nothing is changed, exit code 2; so it ends where there is no such person any
    more. What was paid stays paid, and an id is never given again.
    """
    merge(chained)
    assert len(words_of(chained)) == 6
    snapshot = ledger.snapshot(chained)
    spent = ledger.status(chained)["spent"]
    assert "nothing was changed" in ran(chained, "forget", "zq-77", code=2)
    assert ledger.snapshot(chained) == snapshot
    assert {"batches/000001-requests.jsonl"} <= set(holding(chained.data))
    assert ON_POSTGRESQL or "findable.db" in holding(chained.data)
    assert telling(chained)
    before = others(chained)
    account = chained.query("SELECT answered, tokens_in, cost FROM findable_batches")
    assert "zq-77 is forgotten: 2 lines of 2 sealed files, 2 vectors" in ran(
        chained, "forget", "zq-77", "--yes"
    )
    assert holding(chained.data) == telling(chained) == words_of(chained) == []
    if ON_POSTGRESQL:  # which keeps a deleted row in its files until it cleared the table up
        assert chained.scalar(
            "SELECT relallvisible FROM pg_class WHERE oid = to_regclass('experts')"
        )
    assert "zq-77" not in ran(chained, "search", "Zanthippa Quorn of Quillmouth")
    assert others(chained) == before
    assert chained.query("SELECT answered, tokens_in, cost FROM findable_batches") == account
    status = ledger.status(chained)
    assert (status["experts"]["total"], status["index"]["count"], status["index"]["behind"]) == (
        5,
        5,
        0,
    )
    assert status["spent"] == spent
    assert len(list((chained.data / "index" / "builds").iterdir())) == 1
    assert ledger.findings(chained) == []
    ran(chained, "forget", "zq-77", "--yes", code=2)
    with chained.open() as ws, ws.store.write() as tx:
        assert int(table.insert_person(tx, "somebody-new", {})) > 6


def test_a_person_in_a_batch_that_is_not_over_is_refused(
    workspace: Workspace, people: Callable[..., list[str]], api: Api
) -> None:
    """Prepared, submitted or downloaded: exit code 2, the batch is named with what to do, nothing is changed."""
    people(2)
    add_person(workspace)
    api.fault("quota_batch")
    assert workspace.run("batch-submit").exit_code == 4
    for command in CHAIN[:3]:
        before = ledger.snapshot(workspace)
        assert "stands in batch 1" in ran(workspace, "forget", "zq-77", "--yes", code=2)
        assert ledger.snapshot(workspace) == before
        ran(workspace, command)
    ran(workspace, "forget", "zq-77", "--yes")


@pytest.mark.sqlite_only(reason="it reads the pages of the database's own file")
def test_earlier_texts_of_a_person_are_gone_too(chained: Workspace, tmp_path: Path) -> None:
    """A biography that was replaced long ago is in no free page and in no cached vector."""
    changed = tmp_path / "changed.csv"
    changed.write_text("Username,Bio\nzq-77,Somebody else wrote this about bees.\n")
    connection = sqlite3.connect(chained.data / "findable.db")
    connection.execute("PRAGMA secure_delete = OFF")
    for number in range(50):
        connection.execute(
            "UPDATE experts SET bio = ? WHERE username = 'zq-77'", (BIO * (1 + number % 7),)
        )
    connection.commit()
    connection.execute("UPDATE experts SET bio = 'x' WHERE username = 'zq-77'")
    connection.commit()
    connection.close()
    assert "findable.db" in holding(chained.data)
    ran(chained, "import", str(changed))
    ran(chained, "index")
    ran(chained, "forget", "zq-77", "--yes")
    assert holding(chained.data) == []
    with (
        chained.open() as ws,
        open_vector_cache(ws).open_snapshot() as tx,
    ):  # and nonsense, which is kept
        assert tx is not None
        assert tx.exec_driver_sql("SELECT count(*) FROM findable_vectors").scalar() == 5 + 60


def test_what_was_said_of_others_loses_their_name(chained: Workspace) -> None:
    """Reasons, notes and events that name the person keep all but the name."""
    chained.change("UPDATE findable_batches SET reason = 'line 3: zq-77 and zq-778 were refused'")
    with chained.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "zq-778", {})
    ran(chained, "forget", "zq-77", "--yes")
    assert (
        chained.scalar("SELECT reason FROM findable_batches") == "line 3: … and zq-778 were refused"
    )
