"""`make forget` removes every byte of a person, and changes nothing of other people."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from askrows.pipeline.core import tokenizer
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.settings import load_settings
from askrows.pipeline.index.vector_cache import make_vector_cache
from askrows.pipeline.ops import forget
from askrows.pipeline.ops.open_task import open_workspace
from tests import ledger
from tests.integration import reviews
from tests.lab import ON_POSTGRESQL, Workspace, ran
from tests.people import insert_person
from tests.progress import NullProgress

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")
BIO = (
    'Zanthippa mends harpsichords in "Quillmouth",\n'
    "and has taught the tuning of old strings for thirty years."
)
PERSON = {
    "first_name": "Zanthippa",
    "last_name": "Quorn",
    "job_title": "Harpsichord maker",
    "bio": BIO,
    "profile_url": "https://example.org/zq-77",
}
TRACES = (b"zq-77", b"Zanthippa", b"Quorn", b"harpsichords in", b"tuning of old strings")


def add_person(workspace: Workspace, name: str = "zq-77") -> str:
    """Add the person to forget, and return their id."""
    with workspace.open() as ws, ws.workspace.store.write() as tx:
        return insert_person(ws, tx, name, PERSON)


def files_with_traces(root: Path) -> list[str]:
    """Return every file below a folder that contains a trace of the person."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and any(trace in path.read_bytes() for trace in TRACES)
    )


def tables_with_traces(workspace: Workspace) -> list[str]:
    """Return every table that contains a trace of the person."""
    tables = []
    for name in workspace.tables():
        content = repr(workspace.query(f"SELECT * FROM {name}"))  # noqa: S608 - our tables
        if any(trace.decode() in content for trace in TRACES):
            tables.append(name)
    return tables


@pytest.fixture
def indexed_workspace(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """Prepare five people and the person to forget, tagged and indexed twice."""

    def prepare() -> None:
        """Run the chain."""
        people(5)
        add_person(workspace)
        workspace.ran_each(*CHAIN, "index")

    begun(prepare)
    return workspace


def merge_tag(workspace: Workspace) -> None:
    """Merge a tag of the person, with themselves as the editor."""
    tags = workspace.scalar("SELECT tags FROM experts WHERE username = 'zq-77'")
    tag = (json.loads(tags) if isinstance(tags, str) else tags)[0]
    workspace.ran("tags", "--merge", f"{tag}=lutherie", "--who", "zq-77")
    workspace.ran("index")


def indexed_terms(workspace: Workspace) -> list[str]:
    """Return the person's terms that a build contains."""
    person_terms = tokenizer.extract_terms("Zanthippa Quorn harpsichords Quillmouth tuning strings")
    build_terms = set[str]()
    for path in workspace.data.glob("index/builds/*/entries.sqlite"):
        with closing(sqlite3.connect(path)) as build:
            build.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab (main, words, row)")
            build_terms |= {term for (term,) in build.execute("SELECT term FROM temp.vocabulary")}
    return [term for term in person_terms if term in build_terms]


@pytest.mark.full
def test_a_forgotten_person_is_in_no_byte(indexed_workspace: Workspace) -> None:
    """Row, answers, sealed lines, vectors, index, merges and free pages lose the person.

    An unconfirmed or a second `forget` exits with 2 and changes nothing. The cost stays, and the
    id is not used again.
    """
    merge_tag(indexed_workspace)
    assert len(indexed_terms(indexed_workspace)) == 6

    snapshot = ledger.snapshot(indexed_workspace)
    spent = ledger.status(indexed_workspace)["spent"]
    assert "nothing was changed" in ran(indexed_workspace, "forget", "zq-77", code=2)
    assert ledger.snapshot(indexed_workspace) == snapshot

    assert {"batches/000001-requests.jsonl"} <= set(files_with_traces(indexed_workspace.data))
    assert ON_POSTGRESQL or "askrows.db" in files_with_traces(indexed_workspace.data)
    assert tables_with_traces(indexed_workspace)

    account = indexed_workspace.query("SELECT answered, tokens_in, cost FROM askrows_batches")
    assert "zq-77 forgotten, with 2 lines, 2 sealed files, 2 vectors" in ran(
        indexed_workspace, "forget", "zq-77", "--yes"
    )
    assert files_with_traces(indexed_workspace.data) == []
    assert tables_with_traces(indexed_workspace) == []
    assert indexed_terms(indexed_workspace) == []

    # PostgreSQL keeps a deleted row in its files until it vacuums the table.
    if ON_POSTGRESQL:
        assert indexed_workspace.scalar(
            "SELECT relallvisible FROM pg_class WHERE oid = to_regclass('experts')"
        )
    assert "zq-77" not in ran(indexed_workspace, "search", "Zanthippa Quorn of Quillmouth")
    assert (
        indexed_workspace.query("SELECT answered, tokens_in, cost FROM askrows_batches") == account
    )

    status = ledger.status(indexed_workspace)
    assert status["experts"]["total"] == 5
    assert status["index"]["count"] == 5
    assert status["index"]["behind"] == 0
    assert status["spent"] == spent
    assert len(list((indexed_workspace.data / "index" / "builds").iterdir())) == 1
    assert ledger.findings(indexed_workspace) == []

    ran(indexed_workspace, "forget", "zq-77", "--yes", code=2)
    with indexed_workspace.open() as ws, ws.workspace.store.write() as tx:
        assert int(insert_person(ws, tx, "somebody-new", {})) > 6


@pytest.mark.full
@pytest.mark.sqlite_only(reason="it reads the pages of the database's own file")
def test_earlier_texts_of_a_person_are_gone_too(
    indexed_workspace: Workspace, tmp_path: Path
) -> None:
    """A biography that was replaced earlier is in no free page and in no cached vector."""
    csv_file = tmp_path / "changed.csv"
    csv_file.write_text("Username,Bio\nzq-77,Somebody else wrote this about bees.\n")
    connection = sqlite3.connect(indexed_workspace.data / "askrows.db")
    connection.execute("PRAGMA secure_delete = OFF")
    for number in range(50):
        connection.execute(
            "UPDATE experts SET bio = ? WHERE username = 'zq-77'", (BIO * (1 + number % 7),)
        )

    connection.commit()
    connection.execute("UPDATE experts SET bio = 'x' WHERE username = 'zq-77'")
    connection.commit()
    connection.close()
    assert "askrows.db" in files_with_traces(indexed_workspace.data)

    ran(indexed_workspace, "import", str(csv_file))
    ran(indexed_workspace, "index")
    ran(indexed_workspace, "forget", "zq-77", "--yes")
    assert files_with_traces(indexed_workspace.data) == []

    # The cache keeps the vectors of nonsense texts.
    with (
        indexed_workspace.open() as ws,
        make_vector_cache(ws.workspace, ws.service).open_snapshot() as tx,
    ):
        assert tx is not None
        assert tx.exec_driver_sql("SELECT count(*) FROM askrows_vectors").scalar() == 5 + 276


def test_notes_about_others_lose_the_name(indexed_workspace: Workspace) -> None:
    """Reasons, notes and events keep everything except the person's name."""
    indexed_workspace.change(
        "UPDATE askrows_batches SET reason = 'line 3: zq-77 and zq-778 were refused'"
    )
    with indexed_workspace.open() as ws, ws.workspace.store.write() as tx:
        insert_person(ws, tx, "zq-778", {})
    ran(indexed_workspace, "forget", "zq-77", "--yes")
    assert (
        indexed_workspace.scalar("SELECT reason FROM askrows_batches")
        == "line 3: … and zq-778 were refused"
    )


def test_a_forgotten_query_task_loses_its_file(workspace: Workspace) -> None:
    """A SELECT is no file, so only the task's file in the workspace's folder is deleted."""
    task_file = workspace.begin().data / "tasks" / f"{reviews.NAME}.py"
    text = reviews.write_task_file().read_text(encoding="utf-8")
    query = "items=\"SELECT 1 AS id, 'It broke.' AS text\""
    task_file.parent.mkdir()
    task_file.write_text(text.replace('items="reviews.csv"', query), encoding="utf-8")
    Path("tasks", f"{reviews.NAME}.py").unlink()
    workspace.environ["ASKROWS_TRUST"] = hashlib.sha256(task_file.read_bytes()).hexdigest()
    workspace.ran("tag", "--task", reviews.NAME, "--dry")

    workspace.ran("forget", "--task", reviews.NAME, "--yes")
    assert not task_file.exists()


def test_a_batch_that_was_prepared_during_the_question_keeps_its_task(
    workspace: Workspace,
) -> None:
    """The batches are read again after the question, so that no open batch loses its rows."""
    reviews.set_up_task(workspace)

    def prepare_batch(_question: str) -> bool:
        """Send the task's rows, as another process, before the answer is yes."""
        workspace.ran("batch-submit")
        return True

    settings = load_settings({**workspace.environ, "ASKROWS_TASK": reviews.NAME})
    workspace.ran("tag", "--dry")
    with (
        open_workspace(settings, NullProgress(), confirm=prepare_batch) as ws,
        pytest.raises(InputError, match=r"batch 1 of reviews is not over; nothing was changed"),
    ):
        forget.forget_task(ws)
    workspace.ran_each("batch-poll", "batch-ingest")
    assert workspace.scalar("SELECT count(*) FROM askrows_answers") == len(reviews.TEXTS)
