"""Steps of the flow in which a dropped file becomes a task."""

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.table_files import put_book


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
