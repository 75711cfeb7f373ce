"""The page on user tasks is complete."""

import json
import re
import shutil
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from askrows import Task
from tests.lab import ROOT, Workspace

BOATS = """\
id,name,knots,text
1,Ada,6,A teak ketch for long voyages
2,Bee,9,A fast sloop with a steel hull
3,Cod,4,A yawl that needs new paint
4,Dee,5,
"""


def test_every_member_is_in_the_table_with_its_default() -> None:
    """Members are in the order of the declaration; members without a default are required."""
    page = (ROOT / "docs" / "own-tasks.md").read_text(encoding="utf-8")
    matches = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", page, re.MULTILINE)
    declared = [
        (field.name, "" if field.default is MISSING else field.default) for field in fields(Task)
    ]
    expected_rows = [
        (name, "" if value == "" and name in {"answer", "items", "prompt"} else repr(value))
        for name, value in declared
    ]
    assert matches == [(name, value.replace("'", '"')) for name, value in expected_rows]


# The sections of the page whose examples are run, and the states of the four rows afterwards.
EXAMPLES = {
    "Rows that lack a value": {"answered": 3, "empty": 1},
    "Cleaned answers": {"answered": 3, "empty": 1},
    "Words for rows and states": {"rated": 3, "no_text": 1},
    "Derived values": {"answered": 3, "empty": 1},
    "Tags": {"answered": 3, "empty": 1},
    "The index": {"answered": 3, "empty": 1},
}


@pytest.mark.parametrize("heading", EXAMPLES)
def test_example_of_a_member_is_run(workspace: Workspace, heading: str) -> None:
    """The example in each section is a task that is asked."""
    ask_example(workspace, heading)
    document = json.loads(workspace.ran("status", "--json", TASK="boats").stdout)
    counts = document["boats"]
    del counts["total"]
    assert {state: count for state, count in counts.items() if count} == EXAMPLES[heading]


def ask_example(workspace: Workspace, heading: str) -> None:
    """Write the example of a section as the task `boats`, and ask its rows."""
    page = (ROOT / "docs" / "own-tasks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (head,) = [block for block in blocks if "class Boat(BaseModel)" in block]
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)

    folder = Path("tasks")
    folder.mkdir()
    (folder / "boats.py").write_text(f"{head}\n\n{example}", encoding="utf-8")
    (folder / "boats.csv").write_text(BOATS, encoding="utf-8")
    workspace.ran("tag-live", TASK="boats", YES="1")


def test_example_of_tags_is_run(workspace: Workspace) -> None:
    """The commands of the section merge a tag, and undo the merge."""
    ask_example(workspace, "Tags")

    def read_tags(*words: str) -> list[str]:
        """Run the command `tags`, and return the tags in use."""
        workspace.ran("tags", *words, TASK="boats")
        document = json.loads(workspace.ran("tags", "--json", TASK="boats").stdout)
        return [counted["tag"] for counted in document["tags"]]

    first_tag, *_ = read_tags()
    assert "yacht" in read_tags("--merge", f"{first_tag}=yacht")
    assert first_tag in read_tags("--undo", "1")


def test_example_of_a_folder_is_run(workspace: Workspace, tmp_path: Path) -> None:
    """The example about folders lists the sample photos in its table, and asks about them."""
    page = (ROOT / "docs" / "own-tasks.md").read_text(encoding="utf-8")
    section = page.partition("## Folders of images\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    Path("tasks").mkdir()
    Path("tasks/photos.py").write_text(example, encoding="utf-8")
    shutil.copytree(ROOT / "askrows" / "sample" / "photos", tmp_path / "album")

    workspace.ran("import", "--from", str(tmp_path / "album"), TASK="photos", YES="1")
    workspace.ran("tag-live", TASK="photos", YES="1")
    paths = workspace.query(
        "SELECT path FROM photos JOIN photo_captions ON photo_id = photos.id WHERE caption <> ''"
    )
    assert {Path(path).name for (path,) in paths} == {
        "evening.jpg",
        "field.png",
        "moon.png",
        "opening-hours.png",
        "tower.webp",
    }


def test_example_of_read_is_run(workspace: Workspace) -> None:
    """The example about cells of files changes two cells, and keeps the other column."""
    page = (ROOT / "docs" / "own-tasks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (head,) = [block for block in blocks if "class Boat(BaseModel)" in block]
    section = page.partition("### Cells of files\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    Path("tasks").mkdir()
    Path("tasks/boats.py").write_text(f"{head}\n\n{example}", encoding="utf-8")
    lines = ["Name,Knots,Text,Builder,Port", "Ada,20 km/h,A ketch.,Ash,Kiel", "Bee,9,A sloop.,,"]
    Path("boats.csv").write_text("\n".join(lines), encoding="utf-8")

    told = workspace.ran("import", "--from", "boats.csv", "--json", TASK="boats", YES="1").stdout
    (finding,) = json.loads(told)["findings"]
    assert (finding["column"], finding["reason"]) == ("knots", "read as 10.8 knots")
    rows = workspace.query("SELECT id, name, knots, text FROM boats ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (1, "Ada", 10.8, "A ketch. Built by Ash."),
        (2, "Bee", 9.0, "A sloop."),
    ]
    (cells,) = workspace.query("SELECT cells FROM askrows_extra_cells WHERE name = 'Ada'")
    assert json.loads(cells[0]) == {"Port": "Kiel"}
