"""A task whose rows have images: from a table of paths to answers, by every way of asking."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.engine import row_images
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


@pytest.mark.full
def test_a_file_is_read_again_only_where_it_changed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that moved is the same input; one whose bytes are others is another, whatever its times say."""
    opened: list[bytes] = []
    monkeypatch.setattr(row_images, "SETTLED_NS", 0)

    def counted(data: bytes) -> Picture:
        opened.append(data)
        return probe(data)

    monkeypatch.setattr(row_images, "probe", counted)
    put(workspace, put_images(red=saved("red"), blue=saved("blue")))
    workspace.ran_each("batch-submit", "batch-submit", *ROUND[1:])
    assert len(opened) == 2
    hashes = workspace.query("SELECT input_hash FROM findable_rows ORDER BY n")
    shutil.move("tasks/red.jpg", "tasks/moved.jpg")
    put(workspace, {"red": "moved.jpg", "blue": "blue.jpg"})
    assert "2 answered" in ran(workspace, "status")
    ran(workspace, "batch-submit")
    assert workspace.query("SELECT input_hash FROM findable_rows ORDER BY n") == hashes
    Path("tasks", "moved.jpg").write_bytes(saved("lime"))
    assert "1 changed" in ran(workspace, "batch-submit")
    assert len(opened) == 4  # another path is another file until it was read
