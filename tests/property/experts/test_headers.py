"""Whatever a header is called and however it is ordered, the rows are the same."""

import csv
import io
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.experts.import_ import PeopleFile
from pipeline.experts.person_rows import LAYOUT, WHOLE_NAME_COLUMN
from pipeline.experts.table import HEADERS
from pipeline.tables.columns import KNOWN_COLUMN_NAMES, fold_name
from pipeline.tables.row_findings import SoundRow

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


def names_of(column: str) -> list[str]:
    """Return every name by which a column is known."""
    return [column, LAYOUT.columns[column], *KNOWN_COLUMN_NAMES[column]]


def spelled(name: str, chance: random.Random) -> str:
    """Return a name in another case, with other signs between its words, and white space around it."""
    cased = chance.choice([name.upper(), name.lower(), name.title(), name])
    return f" {chance.choice([' ', '_', '-', '  ']).join(cased.split(' '))} "


def read(names: list[str], columns: list[str], kind: str) -> list[dict[str, Any]]:
    """Return what is read of the people where the columns have these names, in this order."""
    rows = [[CELLS[column][number] for column in columns] for number in range(2)]
    if kind == "jsonl":
        pairs = [dict(zip((name.strip() for name in names), row, strict=True)) for row in rows]
        text = "\n".join(json.dumps(one, ensure_ascii=False) for one in pairs)
    else:
        out = io.StringIO()
        csv.writer(out, delimiter=kind).writerows([names, *rows])
        text = out.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("people.jsonl" if kind == "jsonl" else "people.csv")
        path.write_text(text, encoding="utf-8")
        people = list(PeopleFile(path))
    assert all(isinstance(one, SoundRow) and not one.findings for one in people), people
    return [{"username": one.key, **one.values} for one in people if isinstance(one, SoundRow)]


WANTED = read([*HEADERS.values()], [*HEADERS], ",")


@given(st.data(), st.randoms(use_true_random=False), st.sampled_from([",", ";", "\t", "jsonl"]))
def test_any_aliases_in_any_order_give_the_same_rows(
    data: st.DataObject, chance: random.Random, kind: str
) -> None:
    """Every column under any of its names, spelled any way, in any order, in CSV and JSON lines."""
    columns = data.draw(st.permutations([*HEADERS]))
    names = [spelled(data.draw(st.sampled_from(names_of(one))), chance) for one in columns]
    assert read(names, columns, kind) == WANTED


def test_no_name_means_two_columns() -> None:
    """Or which one it means would hang on their order; none is empty once it is folded."""
    meant: dict[str, str] = {}
    for column in LAYOUT.columns:
        for name in map(fold_name, names_of(column)):
            assert name
            assert meant.setdefault(name, column) == column, name
    assert WHOLE_NAME_COLUMN in meant.values()
