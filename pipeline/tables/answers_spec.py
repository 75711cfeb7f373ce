"""Say what the table of a task's answers is: the key, the extractor, a column for each field, and when.

It says again what stands in `findable_answers`, for readers of the database, and can be made anew from there. A column
whose field the task no longer has stays, with what old answers say.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from sqlalchemy import Column, Index, MetaData, Table

from pipeline.core.errors import InputError
from pipeline.store.column_types import IsoTime
from pipeline.tables.answer_fields import BYTES, KEY_TYPES, TYPES

EXTRACTOR, ANSWERED_AT = "extractor", "answered_at"
SYSTEM = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid")  # columns that every table of PostgreSQL has
OTHER_NAME = "table= in the task's file gives its tables another name"


@dataclass(frozen=True)
class AnswersSpec:
    """What the table of a task's answers is made of.

    `prefix` begins the names of the table and its view; `key` has (column, kind) with text, integer or uuid, `fields`
    has (field, kind) as of `fields_of`, and `items` is the table with the rows that were asked about.
    """

    prefix: str
    key: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, str], ...]
    items: str

    @property
    def table(self) -> str:
        """Return the name of the table."""
        return f"{self.prefix}_answers"

    @property
    def view(self) -> str:
        """Return the name of the view."""
        return f"{self.prefix}_answered"

    @property
    def index(self) -> str:
        """Return the name of the index that keeps one row for each item and extractor."""
        return f"{self.prefix}_answers_key"


def check_fields(spec: AnswersSpec) -> None:
    """Pass when every column has a name of its own on both databases.

    Raises:
        InputError: two names are one to a database; the message has both.
    """
    found = {name: f"the column `{name}` that every answer has" for name in (EXTRACTOR, ANSWERED_AT)}
    found |= {name: f"`{name}`, which every table of PostgreSQL has" for name in SYSTEM}
    kinds = [(name, "key column") for name, _ in spec.key] + [(name, "field") for name, _ in spec.fields]
    for name, word in kinds:
        if (other := found.setdefault(name.casefold(), f"the {word} `{name}`")) != f"the {word} `{name}`":
            raise InputError(
                f"the {word} `{name}` and {other} would be one column of `{spec.table}`; nothing was changed",
                hint=f"give the {word} another name",
            )


@lru_cache
def answers_table(spec: AnswersSpec) -> Table:
    """Return the table of a task's answers."""
    keys = [Column(name, KEY_TYPES[kind], nullable=False) for name, kind in spec.key]
    extractor = Column(EXTRACTOR, BYTES, nullable=False)
    return Table(
        spec.table,
        MetaData(),
        *keys,
        extractor,
        *(Column(name, TYPES[kind]) for name, kind in spec.fields),
        Column(ANSWERED_AT, IsoTime(), nullable=False),
        Index(spec.index, *keys, extractor, unique=True),
    )


def with_kept(spec: AnswersSpec, was: AnswersSpec | None) -> AnswersSpec:
    """Return what the table is from now on: the fields of `spec`, and behind them those that `was` has beside.

    That is what a caller records, or a field that comes back with another kind would not be noticed.

    Raises:
        InputError: a field or the key was of another kind, or two names clash.
    """
    if was is None:
        check_fields(spec)
        return spec
    if (spec.prefix, spec.key) != (was.prefix, was.key):
        raise InputError(
            f"the table `{was.table}` has the key {_said(was.key)}, and `{spec.table}` is to have {_said(spec.key)}; "
            "nothing was changed",
            hint="give the task a new name",
        )
    before, now = dict(was.fields), dict(spec.fields)
    for name, kind in spec.fields:
        if before.get(name, kind) != kind:
            raise InputError(
                f"the field `{name}` of the answers was of the kind {before[name]} and is of the kind {kind} now; "
                "nothing was changed",
                hint="give the field a new name",
            )
    whole = replace(spec, fields=(*spec.fields, *(one for one in was.fields if one[0] not in now)))
    check_fields(whole)
    return whole


def _said(key: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"`{name}` ({kind})" for name, kind in key)
