"""Name the columns of a person, in the table and in a file's header.

A header is matched by folded names, so that `First Name`, `first_name`, `FIRST-NAME` and `firstname` are one column;
`pipeline.tables.column_names` has the other names.
"""

from pipeline.tables.column_names import COLUMN_NAMES, fold
from pipeline.tables.layout import ColumnSpec

USERNAME = "username"

# table column -> header, in the order of the product's CSV header
HEADERS: dict[str, str] = {
    USERNAME: "Username",
    "first_name": "First Name",
    "last_name": "Last Name",
    "job_title": "Job Title",
    "company": "Company",
    "bio": "Bio",
    "hourly_rate": "Hourly Rate",
    "currency": "Currency",
    "profile_url": "Profile URL",
    "profile_url_utm": "Profile URL with UTM",
    "category": "category",
}

WHOLE_NAME = "full_name"
SPECS = (
    *(ColumnSpec(name, label, COLUMN_NAMES[name]) for name, label in HEADERS.items()),
    ColumnSpec(
        WHOLE_NAME, "Full name", COLUMN_NAMES[WHOLE_NAME], COLUMN_NAMES["either"], parts=("first_name", "last_name")
    ),
)
_BY_FOLDED = {fold(name): column for pair in HEADERS.items() for column in (pair[0],) for name in pair}


def column_of(name: str) -> str | None:
    """Return the table column that a header's name stands for; None for a column that is not ours."""
    return _BY_FOLDED.get(fold(name))


def expected() -> str:
    """Return the header a file should have, for messages."""
    return ", ".join(HEADERS.values())
