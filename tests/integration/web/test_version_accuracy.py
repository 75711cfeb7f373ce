"""The quality page compares stored versions on corrected and reviewed rows, as `eval` does."""

import json
import re
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page

TASK = {"task": "reviews"}
ROW_COUNT = 30
TASK_TEMPLATE = """\
from typing import Literal

from pydantic import BaseModel
from askrows import Task


class Answer(BaseModel):
    tone: Literal["praise", "blame"]
    is_urgent: bool


task = Task(answer=Answer, items="reviews.csv", prompt="{{text}}", version={version})
"""

OPTION = re.compile(r'<option value="([^"]*)"( selected)?>')


def answer_with_version(workspace: Workspace, api: Api, version: int, tone: str) -> None:
    """Declare a version of the task, and give all its rows the same answer under this version."""
    Path("tasks", "reviews.py").write_text(TASK_TEMPLATE.format(version=version), encoding="utf-8")
    text = f'{{"tone": "{tone}", "is_urgent": false}}'
    api.script_fault("answer_text", times=ROW_COUNT, args={"text": text})
    workspace.ran("tag-live")


def answer_with_two_versions(workspace: Workspace, api: Api) -> None:
    """Write the task to the current directory; version 1 praises, and version 2 blames."""
    reviews.set_up_task(workspace)
    lines = [f'{number},"Lamp {number} flickers."' for number in range(1, ROW_COUNT + 1)]
    Path("tasks", "reviews.csv").write_text("\n".join(["id,text", *lines, ""]), encoding="utf-8")
    for version, tone in ((1, "praise"), (2, "blame")):
        answer_with_version(workspace, api, version, tone)


def label_tones(workspace: Workspace, tone: str, numbers: Iterable[int]) -> None:
    """Correct or confirm the tone of rows."""
    lines = [f"{number},{tone}" for number in numbers]
    Path("labels.csv").write_text("\n".join(["id,tone", *lines, ""]), encoding="utf-8")
    workspace.ran("correct", FILE="labels.csv", WHO="Bea")


@pytest.fixture(name="compared", autouse=True)
def _compared(workspace: Workspace, api: Api) -> Workspace:
    """Answer all rows with two versions, in a new current directory."""
    answer_with_two_versions(workspace, api)
    return workspace


def _get_accuracy(page: Page, **parameters: str) -> str:
    """Return the part of the quality page about versions, in a single line; "" without it."""
    response = page.get("/quality", params={**TASK, **parameters})
    assert response.status_code == 200, response.text
    part = re.search(r'<section class="card" id="accuracy">[\s\S]*?</section>', response.text)
    return " ".join(unescape(part[0]).split()) if part else ""


def _get_cells(part: str) -> list[list[str]]:
    """Return the texts of the cells of all tables, by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", part)
    return [
        [
            " ".join(re.sub(r"<[^>]*>", "", cell).split())
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        ]
        for row in rows
    ]


@pytest.mark.full
@pytest.mark.alike
def test_versions_are_compared_on_labelled_rows(compared: Workspace) -> None:
    """Shares, verdict and cost of both versions are those of the command."""
    label_tones(compared, "blame", range(1, 21))
    label_tones(compared, "praise", range(21, 23))
    printed = json.loads(compared.ran("eval", JSON="1").stdout)
    with Page(compared) as page:
        part = _get_accuracy(page)
        assert page.get("/api/tasks/reviews/accuracy").json() == printed
        alone = _get_accuracy(page, a="2")

    tone = _get_cells(part)[1]
    assert tone[:2] == ["tone", "9 % of 22 right alone right on 2: 21, 22"]
    assert tone[2].startswith("91 % of 22 right alone right on 20: 1, ")
    versions = [version["version"] for version in printed["versions"]]
    assert "Check right answers, too" in part
    assert OPTION.findall(part) == [
        (versions[0], " selected"),
        (versions[1], ""),
        (versions[0], ""),
        (versions[1], " selected"),
    ]
    assert _get_cells(alone)[1] == ["tone", "91 % of 22 right"]


@pytest.mark.full
@pytest.mark.alike
def test_links_show_the_rows_that_differ(compared: Workspace) -> None:
    """A row opens with both versions side by side, and the list has all rows that differ."""
    label_tones(compared, "blame", range(1, 12))
    label_tones(compared, "praise", range(12, 21))
    with Page(compared) as page:
        part = _get_accuracy(page)
        addresses = re.findall(r'<a href="([^"]*(?:first|differ)[^"]*)"', part)
        row = page.get(addresses[0]).text
        differing_rows = page.get(addresses[-1]).text
    assert addresses[0].startswith("/row?task=reviews&first=reviews%401")
    assert '<details id="versions" open>' in row
    assert "could be chance" in part
    assert "All rows in which these two differ" in part
    assert len(set(re.findall(r'href="/row\?[^"]*key=(\w+)', differing_rows))) >= 20


@pytest.mark.full
@pytest.mark.alike
def test_rows_to_check_are_drawn_at_random(compared: Workspace) -> None:
    """Everybody gets the same draw; only its leading rows give a range, and skipped rows stay."""
    with Page(compared) as page:
        unchecked = {**TASK, "checked": "no"}

        def open_next(after: str = "") -> str:
            """Return the address to which the review leads."""
            return page.get("/review", params={**unchecked, "after": after}).headers["location"]

        def read_drawn() -> dict[str, Any]:
            """Return the draw as the command and the page report it."""
            printed = json.loads(compared.ran("eval", JSON="1").stdout)
            assert page.get("/api/tasks/reviews/accuracy").json() == printed
            return dict(printed["drawn"])

        def find_range(part: str) -> list[str]:
            """Return the texts in brackets in the cells of a field."""
            return re.findall(r"\((\d+ to \d+ %)\)", str(_get_cells(part)))

        part = _get_accuracy(page)
        assert '<a class="b" href="/review?task=reviews&checked=no">Check 20 more rows' in part
        ids: list[str] = []
        while (address := open_next(ids[-1] if ids else "")).startswith("/row?"):
            assert address.startswith("/row?task=reviews&checked=no&key=")
            ids.append(address.rpartition("=")[2])
        assert address == "/quality?task=reviews#accuracy"
        assert len(set(ids)) == 20
        assert ids != sorted(ids, key=int)
        place = page.get("/parts/position", params={**unchecked, "key": ids[3]}).text
        assert f"key={ids[2]}" in place

        # Rows that a person picked do not count, wherever they were checked.
        picked_ids = [number for number in range(1, ROW_COUNT + 1) if str(number) not in ids]
        label_tones(compared, "blame", picked_ids)
        assert read_drawn() == {"leading": 0, "checked": 0, "of": 20, "skipped": []}
        label_tones(compared, "blame", map(int, [*ids[:5], *ids[6:15]]))
        assert read_drawn() == {"leading": 5, "checked": 14, "of": 20, "skipped": [ids[5]]}
        part = _get_accuracy(page)
        assert "Check 6 more rows" in part
        assert "14 of 20 rows that were picked at random" in part
        assert f'checked=no&key={ids[5]}">{ids[5]}</a>.' in part
        assert find_range(part) == []
        row = page.get("/row", params={**unchecked, "key": ids[5]}).text
        assert "14 of 20 checked" in row
        assert "Back to Quality" in row

        # A new review begins with the skipped row, and one that goes on does not return to it.
        assert open_next().endswith(f"key={ids[5]}")
        assert open_next(ids[6]).endswith(f"key={ids[15]}")
        label_tones(compared, "blame", map(int, ids[15:]))
        assert open_next(ids[19]) == "/quality?task=reviews#accuracy"
        label_tones(compared, "praise", [int(ids[5])])
        part = _get_accuracy(page)
        assert find_range(part) == ["1 to 17 %", "83 to 99 %"]
        assert "Check" not in part.partition("Check right answers")[0]
        tone = json.loads(compared.ran("eval", JSON="1").stdout)["fields"][0]
        assert (tone["b"]["drawn"], tone["b"]["drawn_right"], tone["b"]["of"]) == (30, 29, 30)
