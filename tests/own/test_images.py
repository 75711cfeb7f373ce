"""A task whose rows have images: from a table of paths to answers, by every way of asking."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.engine import picture_source
from pipeline.engine.pictures import Picture, probe
from tests.lab import Workspace, ran

TASK = """
from pydantic import BaseModel
from findable import Task

class Seen(BaseModel):
    summary: str
    colours: list[str]

task = Task(answer=Seen, items="photos.csv", prompt="What is it? {{note}}", images=["photo"]{more})
"""
MODEL = "gemini-3.5-flash-lite"
LEAVING = "the rows of photos and their images leave this machine"
ROUND = ("batch-submit", "batch-poll", "batch-ingest")


def saved(colour: str, kind: str = "PNG", size: tuple[int, int] = (1_000, 600)) -> bytes:
    """Return the file of an image of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def put(workspace: Workspace, rows: dict[str, str], *, more: str = "") -> None:
    """Write the task and the table of its rows, by their keys the paths of their images; commands are about it."""
    Path("tasks").mkdir(exist_ok=True)
    Path("tasks", "photos.py").write_text(TASK.format(more=more), encoding="utf-8")
    lines = "".join(f'{key},"{path}",of bees\n' for key, path in rows.items())
    Path("tasks", "photos.csv").write_text(f"id,photo,note\n{lines}", encoding="utf-8")
    workspace.environ["FINDABLE_TASK"] = "photos"


def put_images(**images: bytes) -> dict[str, str]:
    """Write images beside the table, and return their names by the keys of the rows that name them."""
    for name, data in images.items():
        Path("tasks").mkdir(exist_ok=True)
        Path("tasks", f"{name}.jpg").write_bytes(data)
    return {name: f"{name}.jpg" for name in images}


def counts(workspace: Workspace) -> dict[str, int]:
    """Return how many rows are in each state; states without any are left out."""
    found = json.loads(workspace.ran("status", "--json").stdout)["photos"]
    return {state: count for state, count in found.items() if count and state != "total"}


def asked(workspace: Workspace) -> list[Any]:
    """Return the lines of the request files."""
    files = sorted((workspace.data / "batches").glob("*-requests.jsonl"))
    return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


def test_images_are_asked_about_by_every_way(workspace: Workspace) -> None:
    """Tried, live and in a batch; each goes out scaled before the text, and none of its bytes is ever shown."""
    rows = put_images(red=saved("red"), blue=saved("blue"), green=saved("lime"))
    put(workspace, {**rows, "none": ""})
    Path("bees.csv").write_text("Username,Bio\nada,I keep bees.\n", encoding="utf-8")
    workspace.ran("import", "bees.csv", TASK="experts")
    workspace.ran_each("tag-live", TASK="experts")  # what is bound to Gemini sends its first image even so
    began = workspace.ran("try", "--json", ITEM="red")
    assert began.stderr.count(LEAVING) == 1
    tried = json.loads(began.stdout)["items"][0]
    picture, text = tried["request"]["contents"][0]["parts"]
    assert picture["inlineData"].keys() == {"mimeType", "size", "sha256"}
    assert text == {"text": "What is it? <note>of bees</note>"}
    assert tried["answer"]["colours"] == ["red"]
    assert LEAVING not in workspace.ran("tag-live", LIMIT="1").stderr
    workspace.ran_each(*ROUND)
    assert counts(workspace) == {"answered": 3, "empty": 1}
    differ = "SELECT count(*) FROM findable_answers JOIN photos_items ON findable_key = item_id"
    assert workspace.scalar(f"{differ} WHERE task = 'photos' AND input_hash = findable_hash") == 3
    told = dict(workspace.query("SELECT id, colours FROM photos_answered"))
    assert all(name in str(told[name]) for name in ("red", "blue", "green"))
    sent = asked(workspace)
    assert [line["key"] for line in sent] == ["photos/blue", "photos/green"]
    data = sent[0]["request"]["contents"][0]["parts"][0]["inlineData"]["data"]
    assert data not in ran(workspace, "show", "--raw", ITEM="blue")
    assert '"size":' in ran(workspace, "show", "--raw", ITEM="blue")
    assert not any(data in str(row) for row in workspace.query("SELECT * FROM photos_items"))


UNUSABLE: dict[str, str] = {
    "there is no such file": "nowhere.jpg",
    "not below": "../outside.jpg",
    "not below ": "link.jpg",
    "line end": "two\nlines.jpg",
    "a folder, a device or a pipe": "folder",
    "pipe": "pipe",
    "cut off or broken": "cut.jpg",
    "is empty": "nothing.jpg",
    "SVG": "drawing.png",
    "gs:// addresses": "gs://bucket/image.jpg",
    "begins with https://": "http://example.org/image.jpg",
    "private network": "https://127.0.0.1/image.jpg",
}


def test_rows_whose_images_cannot_be_opened_are_listed_with_their_reasons(workspace: Workspace) -> None:
    """They are not asked, nothing is charged to them, and they are asked once their bytes are others."""
    rows = put_images(good=saved("red"), cut=saved("red")[:900], nothing=b"", drawing=b"<svg ")
    Path("tasks", "drawing.jpg").rename("tasks/drawing.png")
    Path("tasks", "folder").mkdir()
    os.mkfifo("tasks/pipe")
    Path("outside.jpg").write_bytes(saved("red"))
    Path("tasks", "link.jpg").symlink_to("../outside.jpg")
    put(workspace, {"good": rows["good"], **{f"r{number}": path for number, path in enumerate(UNUSABLE.values())}})
    said = ran(workspace, *ROUND[:1])
    assert f"{len(UNUSABLE)} with an image that cannot be asked about" in said
    assert f"{len(UNUSABLE) - 3} more of such rows: `" in said
    assert counts(workspace) == {"claimed": 1, "unusable": len(UNUSABLE)}
    listed = json.loads(workspace.ran("items", "--json", STATE="unusable", LIMIT="50").stdout)
    for number, reason in enumerate(UNUSABLE):
        assert reason.strip() in str(listed["items"][number]), reason
    assert not workspace.scalar("SELECT count(*) FROM findable_attempts")
    Path("tasks", "cut.jpg").write_bytes(saved("blue"))
    ran(workspace, *ROUND[:1])
    assert counts(workspace) == {"claimed": 2, "unusable": len(UNUSABLE) - 1}


@pytest.mark.full
def test_a_file_is_read_again_only_where_it_changed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that moved is the same input; one whose bytes are others is another, whatever its times say."""
    opened: list[bytes] = []
    monkeypatch.setattr(picture_source, "SETTLED_NS", 0)

    def counted(data: bytes) -> Picture:
        opened.append(data)
        return probe(data)

    monkeypatch.setattr(picture_source, "probe", counted)
    put(workspace, put_images(red=saved("red"), blue=saved("blue")))
    workspace.ran_each("batch-submit", "batch-submit", *ROUND[1:])
    assert len(opened) == 2
    hashes = workspace.query("SELECT findable_hash FROM photos_items ORDER BY id")
    shutil.move("tasks/red.jpg", "tasks/moved.jpg")
    put(workspace, {"red": "moved.jpg", "blue": "blue.jpg"})
    assert "2 answered" in ran(workspace, "status")
    ran(workspace, "batch-submit")
    assert workspace.query("SELECT findable_hash FROM photos_items ORDER BY id") == hashes
    Path("tasks", "moved.jpg").write_bytes(saved("lime"))
    assert "1 changed" in ran(workspace, "batch-submit")
    assert len(opened) == 4  # another path is another file until it was read


def test_a_pair_of_tables_of_another_program_is_adopted_by_its_names(workspace: Workspace) -> None:
    """Its rows stay, what has a row of this provider and model is not asked, the rest is, and is taken back again."""
    put_images(navy=saved("navy"), lime=saved("lime"), red=saved("red"))
    workspace.begin().change("CREATE TABLE library (no INTEGER PRIMARY KEY, file TEXT)")
    for number, name in enumerate(("navy", "lime", "red"), 1):
        workspace.change("INSERT INTO library VALUES (:no, :file)", no=number, file=f"{name}.jpg")
    columns = "photo_id INTEGER, provider TEXT, model TEXT, summary TEXT, colours TEXT, created_at TEXT"
    workspace.change(f"CREATE TABLE photo_ai ({columns})")
    theirs = [(1, "gemini", MODEL, "Theirs.", "[]", "1999"), (2, "gemini", "of-last-year", "Old.", "[ ]", "1998")]
    for row in theirs:
        told = dict(zip("abcdef", row, strict=True))
        workspace.change("INSERT INTO photo_ai VALUES (:a, :b, :c, :d, :e, :f)", **told)
    more = ', write_to="photo_ai.photo_id"'
    text = TASK.format(more=more).replace("photos.csv", "SELECT no AS id, file FROM library ORDER BY no")
    text = text.replace('["photo"]', '["file"]').replace(" {note}", "")
    Path("tasks", "photos.py").write_text(text, encoding="utf-8")
    workspace.environ["FINDABLE_TASK"] = "photos"
    assert "tables of another program (library, photo_ai)" in ran(workspace, "batch-submit", code=3)
    workspace.ran("batch-submit", "--yes")
    assert [line["key"] for line in asked(workspace)] == ["photos/2", "photos/3"]
    workspace.ran_each(*ROUND[1:])
    assert counts(workspace) == {"answered": 3}
    found = workspace.query("SELECT * FROM photo_ai ORDER BY photo_id, created_at")
    assert [row for row in found if row in theirs] == theirs
    ours = {row[:3]: json.loads(row[4]) for row in found if row not in theirs}
    assert ours == {(2, "gemini", MODEL): ["green"], (3, "gemini", MODEL): ["red"]}
    workspace.change("DELETE FROM photo_ai WHERE photo_id = 3")
    assert "photo_ai lacks the rows of 1 photos" in ran(workspace, "doctor", code=5)
    workspace.ran("doctor", "--fix")
    workspace.ran("forget", "--item", "3", "--yes")
    assert len(workspace.query("SELECT * FROM photo_ai")) == 3
    workspace.ran("rollback", f"photos@1/{MODEL}", "--yes")
    assert workspace.query("SELECT * FROM photo_ai ORDER BY photo_id") == theirs


@pytest.mark.parametrize(
    ("where", "said"),
    [("nowhere.photo_id", "no table `nowhere`"), ("photo_ai.photo_id", "lacks the columns provider, model, summary")],
)
def test_a_table_that_cannot_take_rows_is_refused(workspace: Workspace, where: str, said: str) -> None:
    """Before anything is asked."""
    workspace.begin().change("CREATE TABLE photo_ai (photo_id TEXT, created_at TEXT, colours TEXT)")
    put(workspace, put_images(red=saved("red")), more=f', write_to="{where}"')
    assert said in ran(workspace, "batch-submit", "--yes", code=2)
