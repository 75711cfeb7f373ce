"""Under which other names the columns of a person are known, and of what a username is made where there is none."""

from pipeline.experts.columns import HEADERS
from pipeline.tables.column_names import COLUMN_NAMES
from pipeline.tables.layout import CellKind, ColumnSpec
from pipeline.tables.made_keys import KeyRule

EMAIL, WHOLE_NAME = "email", "full_name"

_KINDS = {
    "bio": CellKind.LONG,
    "hourly_rate": CellKind.NUMBER,
    "profile_url": CellKind.URL,
    "profile_url_utm": CellKind.URL,
    EMAIL: CellKind.EMAIL,
}


SPECS = tuple(
    ColumnSpec(
        name=name,
        label=label,
        kind=_KINDS.get(name, CellKind.TEXT),
        aliases=COLUMN_NAMES[name],
        either=COLUMN_NAMES["either"] if name == WHOLE_NAME else (),
        parts=("first_name", "last_name") if name == WHOLE_NAME else (),
        sought=name in {"bio", EMAIL},
        helps_key=name == EMAIL,
    )
    for name, label in {**HEADERS, EMAIL: "E-mail", WHOLE_NAME: "Full name"}.items()
)
KEY_RULE = KeyRule(
    address=EMAIL,
    names=("first_name", "last_name"),
    telling=("profile_url", "company", "bio", "job_title"),
    word="person",
)
