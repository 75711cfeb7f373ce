"""Flows from a file to a table while Gemini fails, or the server dies."""

import csv
import io
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser.intake import write_lamps
from tests.browser.seen import LONG_MS, Reader, chromium, serving
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]
LIVE = ":generateContent"
MANY_ROWS = 300


def open_new_task(tab: Any, path: Path) -> None:
    """Choose a file on the first page of an empty workspace, and wait for its question."""
    tab.set_input_files("#drop [type=file]", path)
    tab.locator("#question-text").wait_for()
    tab.wait_for_load_state()


def fill_question(tab: Any) -> None:
    """Type the question and two fields of an answer."""
    tab.fill("#question-text", "Praise or blame?")
    tab.fill("[name='field0.name']", "tone")
    tab.select_option("[name='field0.kind']", "a|b|c")
    tab.fill("[name='field0.choices']", "praise\nblame\nmixed")
    tab.click("[data-add]")
    tab.keyboard.type("stars")
    tab.keyboard.press("Tab")
    tab.keyboard.type("Whole")


def _wait_for_button(reader: Reader) -> str:
    """Wait for the button of the next step, and return its text."""
    reader.tab.locator("#begin").wait_for()
    button_text: str = reader.tab.inner_text("#begin")
    return button_text


def _read_table(client: httpx2.Client) -> dict[str, dict[str, str]]:
    """Return the exported rows of the lamps by key."""
    text = client.get("/rows.csv", params={"task": "lamps"}).content.decode("utf-8-sig")
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}


def test_a_run_continues_after_the_pages_server_was_killed(
    workspace: Workspace, api: Api, tmp_path: Path
) -> None:
    """The open page says so, shows the stopped run after a restart, and asks only the rest."""
    texts = write_lamps(tmp_path / "lamps.csv", MANY_ROWS)
    workspace.begin()
    with chromium() as browser:
        with serving(workspace, MODE="live") as (process, address):
            reader = Reader(browser, address)
            open_new_task(reader.tab, tmp_path / "lamps.csv")
            fill_question(reader.tab)
            reader.tab.click("#try")
            reader.wait_for("#ask", f"Ask {MANY_ROWS} rows")
            trial_calls = len(api.seen("POST", LIVE))
            api.script_fault("slow_reply", times=MANY_ROWS, path=LIVE, args={"seconds": 1})
            reader.tab.select_option("#mode", "live")
            reader.tab.click("#ask")
            reader.wait_for("#state", " asked")
            while len(api.seen("POST", LIVE)) < trial_calls + MANY_ROWS // 4:
                reader.tab.wait_for_timeout(50)
            process.send_signal(signal.SIGKILL)
            process.wait()
        reader.wait_for("#away", "does not answer")
        api.clear_faults()
        calls_before = len(api.seen("POST", LIVE))
        port = address.rpartition("/?")[0].rpartition(":")[2]

        with serving(workspace, port, MODE="live") as (_, new_address):
            reader.wait_for("#away", "started again")
            reader.tab.context.new_page().goto(new_address)
            reader.wait_for("#told", "is back")
            # The answers of the killed run are stored, then its other rows are asked.
            for button in ("Store the answers", "Ask the"):
                if button in _wait_for_button(reader):
                    reader.tab.click("#begin")
                    reader.until("!document.querySelector('#begin')")
            reader.wait_for("#state", f"{MANY_ROWS} answered")
            token = {"authorization": f"Bearer {new_address.partition('token=')[2]}"}
            base = new_address.partition("/?")[0]
            with httpx2.Client(
                base_url=base, headers=token, trust_env=False, timeout=LONG_MS / 1000
            ) as client:
                rows = _read_table(client)

    assert {key: row["text"] for key, row in rows.items()} == texts
    assert all(row["tone"] for row in rows.values())
    # Only calls that were running when the server died are repeated.
    repeated_calls = len(api.seen("POST", LIVE)) - trial_calls - MANY_ROWS
    assert 0 <= repeated_calls < calls_before - trial_calls
