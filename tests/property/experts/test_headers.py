"""Rows are equal whatever the names and the order of their columns."""

import csv
import io
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.experts.import_ import PeopleFile
from askrows.pipeline.experts.person_rows import LAYOUT, WHOLE_NAME_COLUMN
from askrows.pipeline.experts.table import HEADERS
from askrows.pipeline.rows.columns import KNOWN_COLUMN_NAMES, fold_name
from askrows.pipeline.rows.row_findings import SoundRow

CELLS = {
    "username": ("ines", "olaf"),
    "first_name": ("Inês", "Olaf"),
    "last_name": ("Moura", "Brandt"),
    "job_title": ("Luthier", "Well digger"),
    "company": ("Casa das Cordas", "Brunnen & Söhne"),
    "bio": ("Builds guitars; repairs them, too.", "Digs wells\nin hard rock."),
    "hourly_rate": ("80", "65"),
    "currency": ("EUR", "EUR"),
    "profile_url": ("https://ines.example", "https://olaf.example"),
    "profile_url_utm": ("https://ines.example?utm_source=x", ""),
    "category": ("craft", "craft"),
}


def column_names(column: str) -> list[str]:
    """Return every accepted name of a column."""
    return [column, LAYOUT.columns[column], *KNOWN_COLUMN_NAMES[column]]


def respell(name: str, chance: random.Random) -> str:
    """Return a name in another case, with other signs between its words, and with white space."""
    recased = chance.choice([name.upper(), name.lower(), name.title(), name])
    return f" {chance.choice([' ', '_', '-', '  ']).join(recased.split(' '))} "


def read_people(names: list[str], columns: list[str], kind: str) -> list[dict[str, Any]]:
    """Return the people of a file whose columns have these names in this order."""
    rows = [[CELLS[column][number] for column in columns] for number in range(2)]
    if kind == "jsonl":
        keys = [name.strip() for name in names]
        pairs = [dict(zip(keys, row, strict=True)) for row in rows]
        text = "\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs)
    else:
        buffer = io.StringIO()
        csv.writer(buffer, delimiter=kind).writerows([names, *rows])
        text = buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("people.jsonl" if kind == "jsonl" else "people.csv")
        path.write_text(text, encoding="utf-8")
        people = list(PeopleFile(path))
    assert all(isinstance(person, SoundRow) and not person.findings for person in people), people
    return [
        {"username": person.key, **person.values}
        for person in people
        if isinstance(person, SoundRow)
    ]


# The people of a file with the usual headers.
EXPECTED_PEOPLE = read_people([*HEADERS.values()], [*HEADERS], ",")


@given(st.data(), st.randoms(use_true_random=False), st.sampled_from([",", ";", "\t", "jsonl"]))
def test_any_aliases_in_any_order_give_the_same_rows(
    drawn_data: st.DataObject, chance: random.Random, kind: str
) -> None:
    """Any name in any spelling and order works, in CSV and JSON lines."""
    columns = drawn_data.draw(st.permutations([*HEADERS]))
    names = [
        respell(drawn_data.draw(st.sampled_from(column_names(column))), chance)
        for column in columns
    ]
    assert read_people(names, columns, kind) == EXPECTED_PEOPLE


def test_no_name_means_two_columns() -> None:
    """Every folded name is non-empty and belongs to a single column."""
    column_by_name: dict[str, str] = {}
    for column in LAYOUT.columns:
        for name in map(fold_name, column_names(column)):
            assert name
            assert column_by_name.setdefault(name, column) == column, name
    assert WHOLE_NAME_COLUMN in column_by_name.values()
