"""Write and read files of rows as other programs do."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlsxwriter import Workbook as Book

from tests.acceptance.product import Workspace

TEXTS = (
    "Boils a full litre in two minutes, and the handle stays cool.",
    "Der Deckel klappert. Sonst ein schöner Kessel für die kleine Küche.",
    'Bought in 2019, and the "whistle" is; still loud.',
    "   ",
    "La tapa gotea sobre la mesa cada vez que la abro.",
    "I would buy it again: sturdy, quick and easy to clean.",
    "Too heavy for my mother, and too hot to touch.",
)


def put_book(path: Path, sheets: Mapping[str, Any], **changes: Any) -> None:
    """Write a workbook of texts; each of `changes` is called with the first sheet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Book(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                for column, cell in enumerate(row):
                    sheet.write_string(number, column, cell)
        for change_sheet in changes.values():
            change_sheet(book.worksheets()[0])


def cells_of(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, header first."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write_table(
    workspace: Workspace,
    file_name: str = "kettle reviews.csv",
    header: tuple[str, ...] = ("No.", "Kommentar"),
) -> str:
    """Write the texts as a table; return its name."""
    with workspace.write_file(file_name, "").open("w", encoding="utf-8", newline="") as file:
        rows = [(f"k-{index}", text) for index, text in enumerate(TEXTS, 1)]
        csv.writer(file, delimiter=";").writerows([header, *rows])
    return file_name
