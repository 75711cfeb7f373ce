"""Steps of the flow in which a dropped file becomes a task."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_lamps(
    path: Path, row_count: int, endings: Sequence[str] = ("is bright.",)
) -> dict[str, str]:
    """Write the rows of a file, whose texts end in turn, and return their texts by key."""
    texts = {
        str(number): f"Lamp {number} {endings[number % len(endings)]}"
        for number in range(1, row_count + 1)
    }
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "shop", "text"])
        writer.writerows([key, "north", text] for key, text in texts.items())
    return texts


def open_new_task(tab: Any, path: Path) -> None:
    """Choose a file on the first page of an empty workspace, and wait for its question."""
    tab.set_input_files("#drop [type=file]", path)
    tab.locator("#question-text").wait_for()


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


def read_download(download: Any) -> dict[str, dict[str, str]]:
    """Return the rows of a downloaded CSV by key."""
    text = Path(download.path()).read_bytes().decode("utf-8-sig")
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
