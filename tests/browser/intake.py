"""Steps of the flow in which a dropped file becomes a task."""

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.table_files import put_book
from tests.browser.seen import Reader

# The question, the kind, the choices, the try and the run take one click each.
MAX_CLICKS = 5
COUNT_CLICKS = "window.clickCount = 0; addEventListener('click', () => window.clickCount++, true)"


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


def write_cases(path: Path, row_count: int) -> None:
    """Write a workbook with a title and an empty line above its header."""
    title = [("Complaints of the north, 2024",), ()]
    header = ("Case no.", "Region", "Received", "What the customer wrote")
    rows = [
        (
            f"N-{number}",
            "north",
            "2024-05-01",
            f"Lamp {number} arrived broken, and nobody answered.",
        )
        for number in range(1, row_count + 1)
    ]
    put_book(path, {"Cases": [*title, header, *rows]})


def try_choice(reader: Reader, question: str, choices: str) -> None:
    """Type a question whose answer is a choice, and try it with few clicks."""
    tab = reader.tab
    tab.evaluate(COUNT_CLICKS)
    tab.click("#question-text")
    tab.keyboard.type(question)
    tab.click("[name='field0.kind']")
    tab.select_option("[name='field0.kind']", "a|b|c")
    tab.click("[name='field0.choices']")
    tab.keyboard.type(choices)
    tab.click("#try")
    tab.locator("#ask").wait_for()

    # The next click asks all rows, and leads to another page.
    assert tab.evaluate("window.clickCount") < MAX_CLICKS
