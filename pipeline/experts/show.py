"""List people, check them, and write them to a file.

An import reads an export as it was. Tags stand in one cell of CSV, separated by `; `; in JSON they are a list or null.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

from sqlalchemy import Connection, func

from pipeline.core.command_hint import CommandHint
from pipeline.core.progress import Progress
from pipeline.core.text import neutralize_formula
from pipeline.engine.task import RowFault, RowFaults
from pipeline.experts import table
from pipeline.experts.import_ import of_export
from pipeline.experts.rates import rate_text
from pipeline.experts.table import HEADERS, SCORE, USERNAME, experts, item_id, score
from pipeline.store import answers, claims, edits
from pipeline.store import rows as kept
from pipeline.store.database import pages
from pipeline.tables import export
from pipeline.tables.answer_views import beside as named_beside
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.lists import REFUSED, Grid, GridFacet, says_text, version_facet

Row = Mapping[str, Any]


USUAL = ("username", "name", "job_title", "company", "tags", "findability_score")


def people_grid(tx: Connection) -> Grid:
    """Return what lists people, looked for in names, title, company and tags."""
    username = experts.c.username
    is_nullable = USERNAME not in table.shape_of(tx).blanks
    return Grid(
        table=table.people(tx),
        cells=(*HEADERS, "tags", "findability_score"),
        columns={name: _OWN.get(name) or partial(_text, name) for name in (*USUAL, *HEADERS)},
        usual=USUAL,
        searched=[experts.c[name] for name in (*table.NAMED, "job_title", "company", "tags")],
        sorts={
            USERNAME: func.coalesce(username, "") if is_nullable else username,
            "findability_score": SCORE,
        },
        score=SCORE,
        tags=GridFacet(
            experts.c.tags, lambda cell: list_of(cell) or (), partial(says_text, tx, experts.c.tags)
        ),
        versions=version_facet(answers.VersionPreference(table.TASK), item_id),
    )


def _text(name: str, row: Row) -> str:
    return text_of(row[name])


def _rate(row: Row) -> Any:
    """Return a rate as a number; what another program wrote there that is none, as its text, None for nothing."""
    number = number_of(row["hourly_rate"])
    return text_of(row["hourly_rate"]) or None if number is None else number


_OWN: Mapping[str, Callable[[Row], Any]] = {
    "name": lambda row: f"{_text('first_name', row)} {_text('last_name', row)}".strip(),
    "hourly_rate": lambda row: "" if (rate := _rate(row)) is None else rate,
    "tags": lambda row: list_of(row["tags"]) or [],
    "findability_score": lambda row: number_of(row["findability_score"]),
}


RATE = HEADERS["hourly_rate"]
SCORED = "findability_score"
KINDS = {**dict.fromkeys(HEADERS.values(), "text"), "tags": export.TEXTS, SCORED: "real"}


class ExportedPerson(NamedTuple):
    """A person on the way into a file: the row, the cells of other columns, the state, and why the row is in it."""

    row: Row
    beside: Mapping[str, Any]
    state: str
    reason: str | None


def exported_people(tx: Connection) -> Iterator[ExportedPerson]:
    """Yield every person in the order of ids, then the rows of files that were refused, with their cells."""
    people = table.people(tx)
    parked = {key: reason for key, reason, _ in claims.parked_rows(tx, table.TASK)}
    for some in pages(table.all_with_beside(tx), table.PAGE):
        ids = [str(row["id"]) for row, _ in some]
        states = {row[0]: row[1] for row in people.among(tx, ids, [people.item_id, people.state])}
        for key, (row, beside) in zip(ids, some, strict=True):
            yield ExportedPerson(
                row, beside, states[key], parked.get(key) if states[key] == claims.PARKED else None
            )
    for refused in kept.refused_rows(tx, table.TASK):
        cells = {
            column: refused.cells.get(column, refused.cells.get(header))
            for column, header in HEADERS.items()
        }
        blank = dict.fromkeys(table.COLUMNS)
        yield ExportedPerson({**blank, **cells}, refused.cells, REFUSED, refused.sentence)


def beside_names(tx: Connection) -> list[str]:
    """Return the names of columns that files have beside those of people, in the order in which they came."""
    names = dict.fromkeys(name for row in kept.all_rows(tx, table.TASK) for name in json.loads(row))
    of_refused = (name for row in kept.refused_rows(tx, table.TASK) for name in row.cells)
    others = tuple(dict.fromkeys(of_refused))
    own = {*HEADERS, *HEADERS.values(), *of_export(others)}
    return list(names | dict.fromkeys(name for name in others if name not in own))


def encode_experts(
    rows: Iterable[ExportedPerson],
    format_: str,
    guard: Callable[[str], str] = neutralize_formula,
    *,
    beside: Sequence[str] = (),
) -> Iterator[bytes]:
    """Return the bytes of a file with these people, each with its cells of the columns `beside`, its state and reason.

    See `export.encoded`. In a column of one type a rate is text, for another program may have written one.
    """
    as_text = {"csv": (RATE, SCORED), "parquet": (RATE,)}.get(format_, ())
    state_named = named_beside([*KINDS, *beside], (export.STATE, export.REASON), "row_")

    def document(
        row: Row, cells: Mapping[str, Any], state: str, reason: str | None
    ) -> dict[str, Any]:
        told: dict[str, Any] = {
            header: text_of(row[column]) or None for column, header in HEADERS.items()
        }
        tags = list_of(row["tags"])
        told |= {"tags": text_of(row["tags"]) if tags is None else tags or None}
        told |= {RATE: _rate(row), SCORED: number_of(row["findability_score"])}
        told |= {
            name: rate_text(told[name]) for name in as_text if isinstance(told[name], float)
        }  # as imports read it
        told |= {name: cells.get(name) for name in beside}
        return told | {state_named[export.STATE]: state, state_named[export.REASON]: reason}

    return export.encoded(
        starmap(document, rows),
        format_,
        guard,
        kinds=KINDS | dict.fromkeys([*beside, *state_named.values()], "text"),
    )


SCORES = "scores that do not follow from their row"
TAGS = "lists of tags that another program changed after they were written"
TEXT = "rows with text that is no UTF-8, read with gaps"
FAULTS: Mapping[str, tuple[str, object, bool]] = {
    SCORES: ("a list sorted by it is in a wrong order", CommandHint("score"), True),
    TAGS: ("what they came from cannot be told any more", "nothing, where that was meant", False),
    TEXT: (
        "it is asked about and found with gaps; it is never written back",
        "mend the text in the table",
        False,
    ),
}
GAP = "\N{REPLACEMENT CHARACTER}"


def check_people(tx: Connection, display: Progress) -> list[RowFault]:
    """Compare scores with their rows, and tags with the answers that were applied."""
    wrong = RowFaults(FAULTS)
    applied = {key: answer for key, (_, answer) in answers.last_applied(tx, table.TASK).items()}
    lost = kept.ids_of(tx, table.TASK) | applied.keys()
    rules = edits.rules_in_force(tx, table.TASK)
    with display.bar("checking people", table.people(tx).total(tx), late=True) as bar:
        for number, row in enumerate(table.all_experts(tx), start=1):
            key = str(row["id"])
            lost.discard(key)
            for kind in _wrong(row, applied.get(key), rules):
                wrong.add(kind, [text_of(row["username"])])
            bar.show(number)
    found = wrong.found()
    if lost:
        first = min(lost)
        said = f"answers or columns of {len(lost)} people are here whose rows are not ({first}, …)"
        why = "another program deleted their rows; what was asked about them, or imported, is still kept"
        next_ = f"{CommandHint('forget', task='experts', item=first)}, and so on"
        found.append(RowFault(said, why, next_, contradiction=False))
    return found


def _wrong(row: Mapping[Any, Any], answer: str | None, rules: Mapping[str, str]) -> Iterator[str]:
    if score(row) != number_of(row["findability_score"]):
        yield SCORES
    if answer is not None:
        said = json.loads(answer).get("tags")
        if list_of(row["tags"]) != (said and edits.merged(said, rules)):
            yield TAGS
    if any(GAP in text_of(row[column]) for column in HEADERS):
        yield TEXT
