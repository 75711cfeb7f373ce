"""Test one flow on the page over HTTP, from a dropped file to the bytes of a downloaded table."""

import csv
import io
import json
import re
from collections.abc import Mapping
from html import unescape
from typing import Any

import httpx2
import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.test_page import wait_for_job, wait_for_jobs

ROW_COUNT = 300
LIVE_ROWS = 60
TASK = {"task": "lamps"}
NEXT_PATH = "/api/tasks/lamps/next"
# Texts of the form of a question: the roles of the columns, and the fields of an answer.
QUESTION = {
    "question": "Praise or blame? Quote why.",
    "role.0": "key",
    "role.1": "text",
    "field0.name": "tone",
    "field0.kind": "a|b|c",
    "field0.choices": "praise\r\nblame\r\nmixed",
    "field0.description": "How the review sounds",
    "new1.name": "stars",
    "new1.kind": "int",
    "new2.name": "why",
    "new2.kind": "quote",
}
ANSWER = {"tone": "praise", "stars": 4, "why": "is bright"}
CORRECTED_KEY = "7"
CORRECTIONS = {"tone": "mixed", "stars": "2", "why": "Four stars"}
EDITOR = "Ünal"


class _Tab:
    """An open tab with a part that polls: it follows the addresses that the part contains."""

    def __init__(self, client: httpx2.Client, page: str) -> None:
        self._client = client
        self._state_address = f"/parts/state?task={TASK['task']}"
        self._list_address = _find_addresses(page, "/parts/rows")[0]
        self.state = ""
        self.list = page
        self.poll()

    def poll(self) -> None:
        """Load the state once, and the list if the state says that it has changed."""
        response = self._client.get(self._state_address)
        assert response.status_code == 200, response.text
        self.state = response.text
        self._state_address = _find_addresses(self.state, "/parts/state")[0]
        if "hx-trigger" in response.headers:
            self.list = self._client.get(self._list_address).text


def _find_addresses(html: str, path: str) -> list[str]:
    """Return the addresses that a part of the page loads."""
    return [unescape(address) for address in re.findall(rf'hx-get="({path}\?[^"]*)"', html)]


def _list_texts() -> dict[str, str]:
    """Return the text of each row by key; one has signs that are special in CSV and HTML."""
    texts = {
        str(number): f"Lamp {number} is bright. Four stars." for number in range(1, ROW_COUNT + 1)
    }
    texts[CORRECTED_KEY] = "Lamp seven is bright. Four stars."
    texts["9"] = 'Lamp 9 is bright, "très" <b>bright</b>; Four stars.'
    return texts


def _write_csv(rows: list[list[str]]) -> str:
    """Return rows as the text of a CSV file."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue()


def press(client: httpx2.Client, number: int, **form: str) -> str:
    """Submit a form of a dropped file, wait until its work has ended, and return the new part."""
    parameters = {"number": number}
    response = client.post("/parts/import", params=parameters, data=form)
    assert 'role="alert"' not in response.text, response.text
    assert wait_for_jobs(client)[-1]["state"] == "done"
    return unescape(client.get("/parts/import", params=parameters).text)


def _correct(client: httpx2.Client, **form: str) -> str:
    """Submit a form of the corrected row with the state that its page shows."""
    parameters = {**TASK, "key": CORRECTED_KEY}
    row_page = client.get("/row", params=parameters).text
    state = re.findall(r'"state": "(\w+)"', unescape(row_page))[0]
    data = {"act": "correct", "state": state, "who": EDITOR, **form}
    return unescape(client.post("/parts/row", params=parameters, data=data).text)


def _read_table(client: httpx2.Client, **query: str) -> dict[str, dict[str, str]]:
    """Download a CSV table, and return its rows by key."""
    response = client.get("/items.csv", params={**TASK, **query})
    assert response.headers["content-type"].startswith("text/csv")
    text = response.content.decode("utf-8-sig")
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}


# With the address of a database the page creates no workspace, so this is for SQLite.
@pytest.mark.alike
def test_a_dropped_file_becomes_a_downloaded_table(workspace: Workspace, api: Engine) -> None:
    """A file is tried, kept, asked live and by batch, watched, corrected, filtered and exported.

    The tab that watches loads only addresses that it was given. The downloaded bytes equal those
    of the command, and contain all rows, answers and corrections.
    """
    texts = _list_texts()
    content = _write_csv([["id", "text"], *map(list, texts.items())])
    # Live calls have no key, and control requests have a key without a slash.
    args = {"text": json.dumps(ANSWER)}
    api.script_fault("answer_text", times=ROW_COUNT * 4, args=args, path=":generateContent")
    api.script_fault("answer_text", times=ROW_COUNT * 4, args=args, key="/")

    with workspace.serve_page() as client:
        _drop_try_and_keep(client, content)
        tab = _Tab(client, client.get("/", params=TASK).text)
        assert "300 open" in tab.state
        _ask_live_and_by_batch(client, tab)
        assert all(row["state"] == "answered" for row in _read_table(client).values())

        _correct_three_fields_and_undo_one(client)
        # The tab finds out by itself that a row was corrected.
        tab.poll()
        assert "mixed" in tab.list

        _check_filters(client, texts)
        _check_downloads(client, workspace, texts)


def _drop_try_and_keep(client: httpx2.Client, content: str) -> None:
    """Drop a file, try the question on five rows, and create the task."""
    parameters = {"task": "new", "name": "lamps.csv"}
    response = client.post("/api/imports", params=parameters, content=content.encode())
    number = response.json()["number"]
    assert wait_for_jobs(client)[-1]["state"] == "done"
    assert "Lamp 3 is bright" in client.get("/parts/import", params={"number": number}).text

    tried = press(client, number, **QUESTION)
    assert tried.count('data-label="tone"') == 5
    assert "Use for all 300 rows" in tried
    created = press(client, number, keep=TASK["task"], mode="batch")
    assert "Show its rows" in created
    assert re.search(r'value="batch"\s+checked', created), created


def _ask_live_and_by_batch(client: httpx2.Client, tab: _Tab) -> None:
    """Ask some rows live and the others by batch, each for the price that the page has shown."""
    cost = client.get(NEXT_PATH).json()["plan"]["cost"]
    options = {"mode": "live", "limit": str(LIVE_ROWS)}
    accepted = client.post("/api/tag", params={**TASK, "cost": cost * 2}, json=options)
    _watch(client, tab, accepted)
    open_count = ROW_COUNT - LIVE_ROWS
    for text in (f"{LIVE_ROWS} answered", f"{open_count} open"):
        assert text in tab.state, tab.state
    assert "open</span>" not in tab.list, "the first page of the list has 50 answered rows"

    (next_address,) = _find_addresses(tab.state, "/parts/next")
    assert f"Ask the {open_count} open" in client.get(next_address).text
    cost = client.get(NEXT_PATH).json()["plan"]["batch"]["cost"]
    options = {"mode": "batch", "wait": "1"}
    accepted = client.post("/api/tag", params={**TASK, "cost": cost}, json=options)
    _watch(client, tab, accepted)
    for text in ("300 answered", "none open"):
        assert text in tab.state, tab.state
    ways = {batch["way"] for batch in client.get("/api/batches").json()}
    assert ways == {"live", "batch"}


def _watch(client: httpx2.Client, tab: _Tab, accepted: httpx2.Response) -> None:
    """Poll the tab until the work has ended, and once more, as a browser does."""
    job = wait_for_job(client, accepted)
    assert job["state"] == "done", job
    tab.poll()


def _correct_three_fields_and_undo_one(client: httpx2.Client) -> None:
    """Correct a choice, a number and a quotation, and undo the number."""
    for number, (field, value) in enumerate(CORRECTIONS.items(), start=1):
        part = _correct(client, field=field, value=value)
        assert f"Saved as edit {number}" in part, part
    refused_part = _correct(client, field="why", value="It is green")
    assert "The text does not contain these words" in refused_part
    assert "Edit 2 undone" in _correct(client, undo="2")


def _check_filters(client: httpx2.Client, texts: Mapping[str, str]) -> None:
    """Check that words and an answer's value select the corrected row, on the page and in CSV."""
    for query in ({"find": "seven"}, {"where": "tone = 'mixed'"}):
        html = client.get("/parts/rows", params={**TASK, **query}).text
        assert texts[CORRECTED_KEY] in html, query
        assert "Lamp 8 is bright" not in html, query
        (address,) = re.findall(r'href="(/items\.csv[^"]*)"', html)[:1]
        assert unescape(address).startswith("/items.csv?task=lamps&"), address
        assert list(_read_table(client, **query)) == [CORRECTED_KEY], query


def _check_downloads(client: httpx2.Client, workspace: Workspace, texts: Mapping[str, str]) -> None:
    """Check the rows of the table, and that its bytes are those of the command `export`."""
    table = _read_table(client)
    assert {key: row["text"] for key, row in table.items()} == texts
    for key, row in table.items():
        tone, quotation = (
            ("mixed", "Four stars") if key == CORRECTED_KEY else ("praise", "is bright")
        )
        assert (row["tone"], row["stars"], row["state"]) == (tone, "4", "answered"), row
        assert quotation in str(row), row

    for format_ in ("csv", "jsonl"):
        name = f"lamps-by-command.{format_}"
        workspace.run_command("export", name, TASK=TASK["task"])
        downloaded = client.get(f"/items.{format_}", params=TASK).content
        assert downloaded == (workspace.home / name).read_bytes(), format_
    lines = [json.loads(line) for line in downloaded.splitlines()]
    corrected: dict[str, Any] = next(line for line in lines if line["id"] == CORRECTED_KEY)
    assert corrected["tone"] == "mixed"
    assert "Four stars" in str(corrected)
