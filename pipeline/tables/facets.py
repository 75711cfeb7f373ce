"""Count the items of a list by what tells them apart: states, tags, versions, scores.

Up to `EXACT` rows all are counted. Of more a sample is, chosen at random and the same each time; what came of it is
marked as estimated.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, literal, literal_column, null, select

from pipeline.core.listed import Facets, ItemFilter, ScoreBand
from pipeline.store.database import among, pages, streamed
from pipeline.tables.grid import Grid, GridFacet
from pipeline.tables.reflect import has_row_numbers, is_sqlite

EXACT = 100_000  # rows up to which all are counted
SAMPLE = 10_000  # rows of more that are
THIN = 10  # times as many numbers as rows, beyond which rows are not looked for by numbers at random
PAGE = 2_000
MOST = 50  # tags and versions that are told
BAND = 10  # of scores from 0 to 100


def count_facets(tx: Connection, grid: Grid, which: ItemFilter, *, now: datetime, exact: int = EXACT) -> Facets:
    """Return how many items there are, as they are wanted and apart; tables of more than `exact` rows are estimated.

    Raises:
        InputError: there is no such state, or the items have no tags, versions or scores.
    """
    grid.conditions(tx, which, now=now)  # refuses what cannot be
    total = grid.table.total(tx)
    tally = _Tally(grid, which)
    words = grid.conditions(tx, ItemFilter(which.words), now=now)
    if total <= exact:
        tally.count(_rows(tx, grid, words, now=now))
        return tally.facets(1.0)
    seen = 0
    for some in _sample(tx, grid, total):
        seen += grid.table.total(tx, some)
        tally.count(_rows(tx, grid, [*words, some], now=now))
    found = tally.facets(total / max(seen, 1))
    if which != ItemFilter():
        return found
    counts = grid.table.counts(tx, now=now)
    exact_total = counts.pop("total")
    left = tuple(name for name in found.estimated if name not in {"total", "states"})
    return Facets(exact_total, counts, found.tags, found.versions, found.scores, left)


class _Told(NamedTuple):
    """What tells a row apart."""

    state: str
    score: float | None
    tags: Sequence[str]
    versions: Sequence[str]


def _rows(tx: Connection, grid: Grid, conditions: Sequence[ColumnElement[bool]], *, now: datetime) -> Iterator[_Told]:
    """Yield what tells rows apart, at flat memory."""
    cells = [null() if one is None else one.cell for one in (grid.tags, grid.versions)]
    score = null() if grid.score is None else grid.score
    columns: list[Any] = [grid.state(tx, now=now), score, *cells]
    query = select(*columns).select_from(grid.table.table).where(*conditions)
    for rows in streamed(tx, query, page=PAGE).partitions():
        told: Sequence[Sequence[Any]] = rows
        for state, number, tags, versions in told:
            yield _Told(state, number, _words(grid.tags, tags), _words(grid.versions, versions))


def _words(facet: GridFacet | None, cell: Any) -> Sequence[str]:
    return () if facet is None else tuple(dict.fromkeys(facet.words(cell)))


@dataclass
class _Tally:
    """Counts rows by what they are, each facet as if it was not chosen; tags narrow what is found, and count so."""

    grid: Grid
    which: ItemFilter
    total: int = 0
    counters: Mapping[str, Counter[Any]] = field(
        default_factory=lambda: {name: Counter() for name in ("states", "tags", "versions", "scores")}
    )

    def count(self, rows: Iterator[_Told]) -> None:
        """Count some rows."""
        tests, counters = self._tests(), self.counters
        for row in rows:
            failed = [name for name, is_wanted in tests if not is_wanted(row)]
            if len(failed) > 1:
                continue
            if not failed:
                self.total += 1
                counters["tags"].update(row.tags)
            for name in failed or counters:
                if name == "states":
                    counters[name][row.state] += 1
                elif name == "versions":
                    counters[name].update(row.versions)
                elif name == "scores" and row.score is not None and row.score >= 0:
                    counters[name][min(int(row.score) // BAND, 100 // BAND - 1)] += 1

    def facets(self, scale: float) -> Facets:
        """Return what was counted, each count so many times what it is."""
        grid, is_estimate = self.grid, scale != 1.0
        found = {name: {key: round(count * scale) for key, count in one.items()} for name, one in self.counters.items()}
        bands = [ScoreBand(at * BAND, at * BAND + BAND, found["scores"].get(at, 0)) for at in range(100 // BAND)]
        told = {"tags": grid.tags, "versions": grid.versions, "scores": grid.score}
        names = ("total", "states", *(name for name, one in told.items() if one is not None))
        return Facets(
            round(self.total * scale),
            {name: found["states"].get(name, 0) for name in grid.table.states.names},
            None if grid.tags is None else _most_common(found["tags"]),
            None if grid.versions is None else _most_common(found["versions"]),
            None if grid.score is None else bands,
            names if is_estimate else (),
        )

    def _tests(self) -> list[tuple[str, Callable[[_Told], bool]]]:
        """Return what a row must pass, by the name of what tells that."""
        which = self.which
        tests: list[tuple[str, Callable[[_Told], bool]]] = []
        if which.state:
            tests.append(("states", lambda row: row.state == which.state))
        if which.tags:
            tests.append(("tags", lambda row: set(which.tags) <= set(row.tags)))
        if which.extractor:
            tests.append(("versions", lambda row: any(_is_of(one, str(which.extractor)) for one in row.versions)))
        if which.min_score is not None or which.max_score is not None:
            low, high = max(which.min_score or 0.0, 0.0), 100.0 if which.max_score is None else which.max_score
            tests.append(("scores", lambda row: row.score is not None and low <= row.score <= high))
        return tests


def _sample(tx: Connection, grid: Grid, total: int) -> Iterator[ColumnElement[bool]]:
    """Yield conditions of which each holds for some of the rows of a sample, and no row for two."""
    table, chance = grid.table.table, random.Random(total)  # noqa: S311 - nothing is secret here
    key: ColumnElement[Any] = table.c[grid.table.key]
    numbered = [table.c[grid.table.order], *([literal_column("rowid")] if has_row_numbers(tx, table.name) else [])]
    values: Sequence[Any] = ()
    for one in numbered:
        if numbers := _numbers(tx, grid, one, most=THIN * total):
            key, values = one, chance.sample(numbers, min(len(numbers), SAMPLE * len(numbers) // total))
            break
    if not values and not is_sqlite(tx):
        share = table.tablesample(func.system(100 * SAMPLE / total), seed=literal(1))
        values = list(tx.execute(select(share.c[grid.table.key])).scalars())
    if not values:
        ids, step = streamed(tx, select(key), page=PAGE).scalars(), max(total // SAMPLE, 1)
        values = list(islice(ids, chance.randrange(step), None, step))
    for some in pages(values, PAGE):
        yield among(tx, key, some)


def _numbers(tx: Connection, grid: Grid, key: ColumnElement[Any], *, most: int) -> range:
    """Return the numbers among which those of all rows are; none where they are none, or far apart."""
    ends = [tx.execute(select(one(key)).select_from(grid.table.table)).scalar() for one in (func.min, func.max)]
    low, high = (one if isinstance(one, int) else most for one in ends)
    return range(low, high + 1) if high - low < most and isinstance(ends[0], int) else range(0)


def _is_of(extractor: str, version: str) -> bool:
    return extractor == version or extractor.startswith(f"{version}/")


def _most_common(found: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0]))[:MOST])
