"""The reason why an answer was not applied, for rows of the same name."""

from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page


@pytest.mark.full
def test_rows_of_one_name_are_told_apart(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that changed does not hide that the answer of another row was rejected."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace)
    task_path = Path("tasks", "reviews.py")
    task_text = task_path.read_text(encoding="utf-8")
    task_path.write_text(
        task_text.replace("version=1,", 'version=1, label="{who}",'), encoding="utf-8"
    )
    rows = "id,who,text\n1,Orla,It broke.\n2,Orla,It shines.\n"
    Path("tasks", "reviews.csv").write_text(rows, encoding="utf-8")
    workspace.ran_each(*reviews.BY_BATCH)
    workspace.change("UPDATE askrows_answers SET applied = false, outdated = row_id = '1'")

    with Page(workspace) as page:
        html = page.get("/batch", params={"number": 1, "task": "reviews"}).text
    lines = [" ".join(line.split()) for line in html.splitlines()]
    reason = (
        "Not applied, because the row was removed, answered meanwhile, set aside, "
        "or refused by your table: Orla"
    )
    assert reason in lines
