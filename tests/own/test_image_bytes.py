"""Images that stand as bytes in a cell: asked about as files are, kept beside the rows, and gone with them."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.lab import Workspace, ran
from tests.own.test_images import ROUND, TASK, asked, counts, saved

KEPT = "SELECT count(*) FROM photos_kept_images"
ROWS: list[tuple[str, bytes | None]] = [
    ("red", saved("red")),
    ("again", saved("red")),
    ("blue", saved("blue", "JPEG")),
    ("cut", saved("lime", "JPEG")[:900]),
    ("nothing", b""),
    ("none", None),
]
STATES = {"answered": 3, "unusable": 2, "empty": 1}


def declared(items: str) -> None:
    """Write the task, whose items are those."""
    Path("tasks").mkdir(exist_ok=True)
    told = TASK.format(more="").replace("photos.csv", items).replace(" {note}", "")
    Path("tasks", "photos.py").write_text(told, encoding="utf-8")


def put_table(workspace: Workspace, rows: list[tuple[str, bytes | None]]) -> None:
    """Make a table of another program that holds images, and the task of a SELECT on it."""
    workspace.begin()
    kind = "BYTEA" if workspace.on_postgresql else "BLOB"
    workspace.change(f"CREATE TABLE shots (id TEXT PRIMARY KEY, photo {kind})")
    for key, data in rows:
        workspace.change("INSERT INTO shots VALUES (:key, :data)", key=key, data=data)
    declared("SELECT id, photo FROM shots ORDER BY id")
    workspace.environ["FINDABLE_TASK"] = "photos"


def test_bytes_of_a_select_are_asked_about_as_files_are(workspace: Workspace) -> None:
    """Each once, by its bytes; broken ones are listed; no byte stands where a row is shown, and none is left over."""
    put_table(workspace, ROWS)
    workspace.ran("tag-live", "--yes", LIMIT="1")
    workspace.ran_each(*ROUND)
    assert counts(workspace) == STATES
    assert [line["key"] for line in asked(workspace)] == ["photos/blue"]  # `again` was asked, and `red` is the same
    listed = {one["id"]: str(one) for one in json.loads(ran(workspace, "items", "--json", STATE="unusable"))["items"]}
    assert "cut off" in listed["cut"]
    assert "0 bytes" in listed["nothing"]
    shown = ran(workspace, "show", "--raw", ITEM="blue")
    assert "sha256:" in shown
    assert asked(workspace)[0]["request"]["contents"][0]["parts"][0]["inlineData"]["data"] not in shown
    assert workspace.scalar(KEPT) == 2
    workspace.change("UPDATE shots SET photo = :data WHERE id = 'cut'", data=saved("lime"))
    workspace.change("DELETE FROM shots WHERE id = 'blue'")
    workspace.ran_each(*ROUND)
    assert workspace.scalar(KEPT) == 3
    assert "green" in str(workspace.scalar("SELECT colours FROM photos_answered WHERE id = 'cut'"))
    workspace.ran("clean", KEEP_DAYS="0")
    assert workspace.scalar(KEPT) == 2
    workspace.ran("forget", "--item", "again", "--yes")
    assert workspace.scalar(KEPT) == 2
    workspace.ran("forget", "--item", "red", "--yes")
    assert workspace.scalar(KEPT) == 1
    workspace.ran("batch-submit")  # the table of the other program has both still
    assert workspace.scalar(KEPT) == 1


@pytest.mark.full
def test_bytes_of_a_parquet_file_and_of_python_are_images_too(workspace: Workspace) -> None:
    """Opened once, and anew where another side is asked for; rows of Python give what those of the file gave."""
    table = pa.table({"id": [key for key, _ in ROWS], "photo": pa.array([data for _, data in ROWS], pa.binary())})
    Path("tasks").mkdir()
    parquet.write_table(table, "tasks/photos.parquet")
    declared("photos.parquet")
    workspace.environ["FINDABLE_TASK"] = "photos"
    workspace.ran_each(*ROUND, IMAGE_SIDE="64")
    assert counts(workspace) == STATES
    sides = "SELECT side, count(*) FROM photos_kept_images GROUP BY side"
    assert workspace.query(sides) == [(64, 2)]
    workspace.ran("batch-submit", IMAGE_SIDE="32", ACCEPT_CHANGED="1")
    assert workspace.query(sides) == [(32, 2)]


def test_a_table_of_another_program_stays(workspace: Workspace) -> None:
    """One that has the name under which images would be kept is refused, and nothing is asked."""
    put_table(workspace, ROWS)
    workspace.change("CREATE TABLE photos_kept_images (id TEXT)")
    assert "is not this task's" in ran(workspace, "batch-submit", "--yes", code=3)
    assert workspace.columns("photos_kept_images") == ["id"]
