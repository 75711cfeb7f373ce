"""Under which other names the columns of a person are known, and of what a username is made where there is none."""

import tomllib
from pathlib import Path

from pipeline.experts.columns import HEADERS
from pipeline.tables.layout import CellKind, ColumnSpec
from pipeline.tables.made_keys import KeyRule

EMAIL, WHOLE_NAME = "email", "full_name"

_ALIASES = tomllib.loads(Path(__file__).with_name("aliases.toml").read_text(encoding="utf-8"))
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
        aliases=tuple(_ALIASES[name]),
        either=tuple(_ALIASES["either"]) if name == WHOLE_NAME else (),
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
