"""Steps of the flow in which a dropped file becomes a task."""

import csv
from collections.abc import Sequence
from pathlib import Path


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
