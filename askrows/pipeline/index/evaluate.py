"""Measure the search on judged queries, for `eval`.

    {"qid": "q1", "text": "who knows water law"}
    q1 0 ada 2

A judged query is a query with grades of entries, given by people. The first line is a query of
`queries.jsonl`, the second a judgement of `qrels.tsv`: query id, 0, name of an entry, grade. Grade
0 means that the entry is not an answer. Errors name file, line and field.

A hit is weak if it is below the floor of its build: the scores that most nonsense queries do not
reach.

Figures are those of trec_eval. Judgements are never complete, so figures compare systems and have
no absolute meaning.
"""

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import format_install_command
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.ranking import RankMode
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.core.text import INVALID_TEXT, join_first, plural
from askrows.pipeline.index.query import SearchOptions, parse_query
from askrows.pipeline.index.search import SearchSession
from askrows.pipeline.provider.service import Service
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Gains of nDCG are the grades themselves.
MEASURES = ("nDCG@10", "MRR", "P@5", "R@10")
# Hits of a query that are all weak if the query counts as weak.
WEAK_DEPTH = 10
# Hits per query for all measures of `eval`.
EVALUATION_DEPTH = 100

# Seed of the bootstrap.
SEED = 20261122
BOOTSTRAP_RESAMPLES = 5000
RESAMPLES_PER_CHUNK = 250
QUERY_FORMAT_HINT = 'a line is {"qid": …, "text": …}'
JUDGEMENT_FORMAT_HINT = "a line is `qid 0 name grade`, with a whole number from -9 to 99 as grade"
JUDGEMENT_LINE = re.compile(r"\s*(\S+)\s+\S+\s+(\S+)\s+(-[0-9]|[0-9]{1,2})(?!\S)", re.ASCII)


class JudgedQuery(BaseModel):
    """One line of `queries.jsonl`; other members are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, str_strip_whitespace=True)

    qid: Annotated[str, Field(min_length=1)]
    text: str


# Grade by query id and name of an entry.
Grades = Mapping[str, Mapping[str, int]]


def read_judged_queries(queries_path: Path, qrels_path: Path) -> tuple[list[JudgedQuery], Grades]:
    """Return the queries that have a grade above 0, and all grades by query id and name.

    Raises:
        InputError: A file is unreadable or invalid, or no query is left.
    """
    queries = read_distinct_queries(queries_path)
    grades = read_grades(qrels_path)
    relevant_queries = [
        query for query in queries if any(grade > 0 for grade in grades.get(query.qid, {}).values())
    ]
    if not relevant_queries:
        raise InputError(
            f"{qrels_path} has no grade above 0 for a question of {queries_path}; "
            "nothing was measured",
            hint="check that both files are of the same task",
        )
    return relevant_queries, grades


def read_distinct_queries(path: Path) -> list[JudgedQuery]:
    """Read the queries of a JSON lines file in their order; a repeated line is returned once.

    Raises:
        InputError: The file is unreadable, a line is invalid, or two different queries have the
            same id.
    """
    queries: dict[str, JudgedQuery] = {}
    for location, line in _read_located_lines(path):
        query = _parse_judged_query(location, line)
        if queries.setdefault(query.qid, query) != query:
            raise InputError(
                f"{location}: field 'qid': {query.qid!r} is also the id of another question above",
                hint=QUERY_FORMAT_HINT,
            )
    return list(queries.values())


def _parse_judged_query(location: str, line: str) -> JudgedQuery:
    """Parse a line {"qid", "text"}, and check that its text is a valid query.

    Args:
        location: File and line number, for the error message.
        line: The line.

    Raises:
        InputError: The line is not JSON, lacks a field, or its text is not a query.
    """
    try:
        query = JudgedQuery.model_validate_json(line)
        parse_query(query.text)
    except ValidationError as error:
        first_fault = error.errors()[0]
        message = first_fault["msg"]
        if first_fault["loc"]:
            message = f"field {first_fault['loc'][0]!r}: {message}"
        raise InputError(
            f"{location}: {message}",
            hint=QUERY_FORMAT_HINT,
        ) from None
    except InputError as error:
        raise InputError(
            f"{location}: field 'text': {error.message}",
            hint=error.hint,
        ) from None
    return query


def read_grades(path: Path) -> dict[str, dict[str, int]]:
    """Read a TREC file and return {query id: {name: grade}}; "#" begins a comment line.

    Raises:
        InputError: The file is unreadable, a line is invalid, or a name has two different grades
            for a query.
    """
    grades: dict[str, dict[str, int]] = {}
    for location, line in _read_located_lines(path):
        if line.lstrip().startswith("#"):
            continue
        match = JUDGEMENT_LINE.match(line)
        if match is None or INVALID_TEXT.search(line):
            raise InputError(
                f"{location}: expected `qid 0 name grade`, found {line[:80]!r}",
                hint=JUDGEMENT_FORMAT_HINT,
            )
        qid, name, grade_text = match.groups()
        grade = int(grade_text)
        if grades.setdefault(qid, {}).setdefault(name, grade) != grade:
            raise InputError(
                f"{location}: field 'grade': {name!r} has another grade above",
                hint=JUDGEMENT_FORMAT_HINT,
            )
    return grades


def _read_located_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("FILE, line N", line) for each line that is not blank.

    Raises:
        InputError: The file is missing, unreadable or not UTF-8.
    """
    reason = files.unreadable_reason(path)
    if reason:
        raise InputError(
            f"{path} {reason}; nothing was measured",
            hint=files.make_path_hint(path),
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}",
            hint="check the path; it must be UTF-8",
        ) from error

    for line_number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {line_number}", line


def measure_and_report_search(
    workspace: OpenWorkspace,
    service: Service,
    task: Task,
    queries: Path,
    qrels: Path,
) -> Report:
    """Report the quality of the search by each rank: means with 95 % intervals.

    The arguments and errors are those of `measure_search`.
    """
    figures = measure_search(workspace, service, task, queries, qrels)
    table_rows = []
    for rank in figures:
        intervals = {
            measure: f"{mean:.3f} [{low:.3f}, {high:.3f}]"
            for measure, (mean, low, high) in rank["figures"].items()
        }
        table_rows.append({**rank, **intervals})
    columns = " ".join(("system queries", *MEASURES, "weak"))
    return Report(figures, parts=[make_table(table_rows, columns)])


def measure_search(
    workspace: OpenWorkspace,
    service: Service,
    task: Task,
    queries: Path,
    qrels: Path,
) -> list[dict[str, Any]]:
    """Measure the search in service by each rank on judged queries.

    Embeds the queries with the build's model, for which a service may charge. Prints a warning
    about judged names that are not in the index.

    Args:
        service: The service that embeds queries.
        task: The indexed task; its build in service is measured.
        queries: JSON lines of queries.
        qrels: TREC judgements.

    Returns:
        A dict for each rank. The members:

        - `system`: the rank.
        - `queries`: how many queries were measured.
        - `figures`: for each measure, its mean and the ends of its 95 % interval.
        - `weak`: the share of queries whose first ten hits are all weak. It is None if the build
          has no floor.

    Raises:
        InputError: A file is invalid, or there is no index.
        ConfigurationError: The build has vectors of another embedding model, or the measures are
            not installed.
    """
    # Before the queries are embedded, which may cost money.
    check_measures_installed()
    judged_queries, grades = read_judged_queries(queries, qrels)
    texts = [query.text for query in judged_queries]
    rows = []
    with SearchSession(workspace, service, task) as search:
        index = search.index
        get_entry_name = search.indexed_task.get_entry_name
        indexed_names = {get_entry_name(index.read_metadata(row)) for row in range(index.row_count)}
        _warn_about_unknown_names(workspace.display, grades, indexed_names)

        for rank in RankMode:
            options = SearchOptions(EVALUATION_DEPTH, rank)
            rankings = []
            weak_count = 0
            for hits in search.search_many(texts, options):
                rankings.append([get_entry_name(hit.metadata) for hit in hits])
                weak_count += all(hit.is_weak for hit in hits[:WEAK_DEPTH])

            weak_share = None
            if index.manifest.floors:
                weak_share = weak_count / len(texts)
            values = compute_measures(judged_queries, grades, rankings)
            rows.append(
                {
                    "system": str(rank),
                    "queries": len(texts),
                    "figures": {
                        name: compute_mean_and_95_percent_interval(values[name])
                        for name in MEASURES
                    },
                    "weak": weak_share,
                },
            )
    return rows


def _warn_about_unknown_names(
    display: Progress,
    grades: Grades,
    indexed_names: Collection[str],
) -> None:
    """Print a warning about names with a grade above 0 that are not in the index.

    Prints nothing if all are in the index.
    """
    relevant_names = dict[str, None]()
    for query_grades in grades.values():
        relevant_names |= {name: None for name, grade in query_grades.items() if grade > 0}
    unknown_names = [name for name in relevant_names if name not in indexed_names]
    if unknown_names:
        display.warn(
            f"{len(unknown_names):,} of {plural(len(relevant_names), 'name')} with a grade above 0 "
            f"are not in the index and count as not found: {join_first(unknown_names)}",
        )


def check_measures_installed() -> None:
    """Check that ir_measures and the library with which it computes are installed.

    Raises:
        ConfigurationError: One of them is not.
    """
    with contextlib.suppress(ImportError):
        import ir_measures

        if ir_measures.pytrec_eval.is_available():
            return

    raise ConfigurationError(
        "the measures of a ranking need ir-measures and pytrec-eval-terrier, "
        "which are not installed; nothing was measured",
        hint=format_install_command("eval"),
    )


def compute_measures(
    queries: Sequence[JudgedQuery],
    grades: Grades,
    rankings: Iterable[Sequence[str]],
) -> dict[str, NDArray[Any]]:
    """Return the value of each measure for each query, float64 (queries,), by measure.

    Args:
        queries: The queries.
        grades: Grades of at least these queries.
        rankings: For each query, in order, the names of its hits, best first. An empty ranking
            scores zero.
    """
    import ir_measures

    # ir_measures calls the mean reciprocal rank RR.
    names_by_measure = {
        ir_measures.parse_measure("RR" if name == "MRR" else name): name for name in MEASURES
    }

    # trec_eval sorts by score, so the scores only have to descend.
    indexes_by_qid = {query.qid: index for index, query in enumerate(queries)}
    run_scores = {
        qid: {name: -float(position) for position, name in enumerate(ranking)}
        for qid, ranking in zip(indexes_by_qid, rankings, strict=True)
    }
    query_grades = {qid: dict(grades[qid]) for qid in indexes_by_qid}

    values = {name: np.zeros(len(indexes_by_qid)) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(names_by_measure), query_grades, run_scores):
        measure_name = names_by_measure[metric.measure]
        values[measure_name][indexes_by_qid[metric.query_id]] = metric.value
    return values


def compute_mean_and_95_percent_interval(values: NDArray[Any]) -> tuple[float, float, float]:
    """Return the mean of a figure and the ends of its 95 % interval.

    The interval is a seeded bootstrap over the queries, so it is the same each time.

    Args:
        values: The figure of each query.
    """
    count = len(values)
    rng = np.random.default_rng(SEED)
    probabilities = np.full(count, 1 / count)
    resampled_means: list[float] = []
    # In chunks, because all draws at once take too much memory.
    for _ in range(BOOTSTRAP_RESAMPLES // RESAMPLES_PER_CHUNK):
        draws = rng.multinomial(count, probabilities, RESAMPLES_PER_CHUNK)
        chunk_means = draws @ values / count
        resampled_means.extend(chunk_means)
    low, high = np.percentile(resampled_means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
