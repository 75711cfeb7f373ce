"""A user's task about the images of folders: imported, asked, shown, moved and forgotten."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.database import run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import MODEL, Workspace

DECLARATION = """
from pydantic import BaseModel
from askrows import Folder, Task

class Answer(BaseModel):
    caption: str
    tags: list[str]

task = Task(
    answer=Answer,
    items=Folder(table="photos"),
    images=["path"],
    prompt="What does the photo show?",
    label="{path}",
    index="{caption}",
    write_to="photo_captions.photo_id",
    words=("photo", "photos", "captioned", "blank"),
)
"""
COLOURS = {"sea": "navy", "2026/field": "lime", "copy": "navy"}


@pytest.fixture(name="photos")
def _photos(workspace: Workspace) -> Workspace:
    """A workspace with the task and a folder of three photos, one of them a copy."""
    workspace.task = "photos"
    workspace.settings["YES"] = "1"
    workspace.write_file("tasks/photos.py", DECLARATION)
    for name, colour in COLOURS.items():
        save_photo(workspace.home / "album" / f"{name}.png", colour)
    (workspace.home / "album" / "cut.png").write_bytes(b"\x89PNG cut")
    return workspace


def save_photo(path: Path, colour: str) -> None:
    """Write a photo of two colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (48, 32), colour)
    image.paste("white", (0, 0, 20, 20))
    image.save(path)


def import_folder(photos: Workspace, folder: str = "album") -> dict[str, Any]:
    """Import a folder, and return the counts that are not zero."""
    report = photos.run_command("import", **{"from": folder}, json=True).json
    return {name: count for name, count in report.items() if count and name != "folder"}


def test_photos_are_imported_asked_and_shown(photos: Workspace, api: Engine) -> None:
    """Equal photos share a request; records, search and page are as for the shipped task."""
    refusal = photos.run_command("status", code=3).stderr
    assert "import --task photos --from photos/` creates a workspace from a folder" in refusal
    assert import_folder(photos) == {"added": 4, "broken": 1}
    assert import_folder(photos) == {"unchanged": 4, "broken": 1}
    photos.run_commands("submit", "poll", "ingest", "index")
    assert photos.state_counts() == {"captioned": 3, "unusable": 1}
    assert [len(create["lines"]) for create in api.creates()] == [2]

    records = run_sql(photos, "SELECT photo_id, provider, model, caption FROM photo_captions")
    captions = {row["id"]: row["caption"] for row in photos.exported_rows() if row["caption"]}
    assert {str(record[0]): record[3] for record in records} == captions
    assert {record[1:3] for record in records} == {("gemini", MODEL)}
    assert len(photos.search("photo")) == 3

    path = str(photos.home / "album" / "sea.png")
    shown = photos.read_json("show", path)
    assert shown["name"] == path
    with photos.serve_page() as client:
        gallery = client.get("/?task=photos").text
        assert f"/api/photos/thumbnail?key={shown['row']}&amp;side=320" in gallery
        assert client.get("/api/photos/thumbnail", params={"key": shown["row"]}).content[:2] == (
            b"\xff\xd8"
        )
        assert client.get("/api/photos/thumbnail", params={"key": "none"}).status_code == 422


@pytest.mark.excused("nobody_is_answered_twice")
def test_files_move_change_and_disappear(photos: Workspace) -> None:
    """A moved file keeps its row, other bytes are asked again, and a row without a file is gone."""
    import_folder(photos)
    photos.run_command("tag", mode="live")
    album = photos.home / "album"
    (album / "sea.png").rename(album / "ocean.png")
    save_photo(album / "2026" / "field.png", "gold")
    (album / "copy.png").unlink()
    save_photo(album / "cut.png", "red")
    assert import_folder(photos) == {"updated": 2, "moved": 1, "gone": 1}
    assert photos.state_counts() == {"captioned": 1, "stale": 1, "open": 1}

    photos.run_command("tag", mode="live", refresh=True)
    assert photos.state_counts() == {"captioned": 3}
    photos.run_command("forget", str(album / "ocean.png"))
    assert len(run_sql(photos, "SELECT id FROM photos")) == 3
    assert len(run_sql(photos, "SELECT photo_id FROM photo_captions")) == 3
    assert (album / "ocean.png").exists()

    # Whoever writes into the table chooses no photo of another folder.
    save_photo(photos.home / "private.png", "black")
    run_sql(photos, "INSERT INTO photos (path) VALUES (:p)", p=str(photos.home / "private.png"))
    refusal = photos.run_command("tag", dry=True).output
    assert "it is outside" in refusal
    assert "import --task photos --from photos/` adds a folder" in refusal


def test_tables_of_another_program_are_adopted_after_the_consent(photos: Workspace) -> None:
    """The command lists what it adds, and changes neither rows nor columns of the program."""
    path = str(photos.home / "album" / "sea.png")
    run_sql(photos, "CREATE TABLE photos (id VARCHAR(9) PRIMARY KEY, path TEXT, stars INTEGER)")
    run_sql(photos, "INSERT INTO photos VALUES ('p1', :path, 5)", path=path)
    refusal = photos.run_command("tag", mode="live", YES="0", code=3).stderr
    assert "the column photos.hash" in refusal
    assert "the table photo_captions" in refusal
    assert [len(row) for row in run_sql(photos, "SELECT * FROM photos")] == [3]

    photos.run_command("tag", mode="live")
    assert run_sql(photos, "SELECT id, path, stars FROM photos") == [("p1", path, 5)]
    assert run_sql(photos, "SELECT photo_id FROM photo_captions") == [("p1",)]


def test_answers_go_into_a_column_of_the_table(photos: Workspace) -> None:
    """The column of `write_to=` is added to the table of the files, and has the answers."""
    declaration = DECLARATION.replace("photo_captions.photo_id", "photos.caption=caption")
    photos.write_file("tasks/photos.py", declaration)
    import_folder(photos)
    photos.run_command("tag", mode="live")
    captions = run_sql(photos, "SELECT caption FROM photos WHERE caption IS NOT NULL")
    assert len(captions) == 3
    assert photos.state_counts() == {"captioned": 3, "unusable": 1}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('table="photos"', 'table="My photos"', "items= has the table 'My photos'"),
        ('label="{path}"', 'key="path"', "key= cannot be used with a Folder"),
        ('label="{path}"', 'image_folder="."', "image_folder= cannot be used with a Folder"),
        ('label="{path}"', 'name="images"', "a task cannot be called 'images'"),
        ('"{caption}"', '"{size}"', "index= names the column 'size', but the rows have id, path"),
    ],
)
def test_wrong_declaration_is_refused(photos: Workspace, old: str, new: str, message: str) -> None:
    """The message names the file, and nothing is made."""
    path = photos.write_file("tasks/photos.py", DECLARATION.replace(old, new))
    refusal = photos.run_command("import", **{"from": "album"}, code=2).stderr
    assert f"{path}" in refusal
    assert message in refusal
    assert not photos.data.exists()
