"""Read judged queries and their grades from files.

A judged query is a query with grades of entries, given by people. An entry is relevant if its grade
is above 0.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.core.text import INVALID_TEXT
from pipeline.index.query import parse_query

QUERY_FORMAT_HINT = 'a line is {"qid": …, "text": …}'
JUDGEMENT_FORMAT_HINT = "a line is `qid 0 name grade`, with a whole number from -9 to 99 as grade"
JUDGEMENT_LINE = re.compile(r"\s*(\S+)\s+\S+\s+(\S+)\s+(-[0-9]|[0-9]{1,2})(?!\S)", re.ASCII)


class JudgedQuery(BaseModel):
    """One line of `queries.jsonl`; `type` groups queries in a report and may be empty."""

    model_config = ConfigDict(frozen=True, strict=True, str_strip_whitespace=True)

    qid: Annotated[str, Field(min_length=1)]
    text: str
    type: str = ""


class JudgedQueries(NamedTuple):
    """Queries that have a relevant entry, and the grades of all judged queries."""

    queries: Sequence[JudgedQuery]
    # Grade by query id and name of an entry.
    grades: Mapping[str, Mapping[str, int]]

    @property
    def texts(self) -> list[str]:
        """Return the texts of the queries in their order."""
        return [query.text for query in self.queries]


def read_judged_queries(queries_path: Path, qrels_path: Path) -> JudgedQueries:
    """Read queries and judgements; a query is left out if none of its grades is above 0.

    Raises:
        InputError: A file is unreadable or invalid, or no query is left.
    """
    queries = read_queries(queries_path)
    grades = read_grades(qrels_path)
    relevant_queries = [
        query for query in queries if any(grade > 0 for grade in grades.get(query.qid, {}).values())
    ]
    if not relevant_queries:
        raise InputError(
            f"{qrels_path} has no grade above 0 for a question of {queries_path}; "
            "nothing was measured",
            hint="check that both files are of the same collection",
        )
    return JudgedQueries(relevant_queries, grades)


def read_queries(path: Path) -> list[JudgedQuery]:
    """Read the queries of a JSON lines file in their order; a repeated line is returned once.

    Raises:
        InputError: The file is unreadable, a line is invalid, or two different queries have the
            same id.
    """
    queries: dict[str, JudgedQuery] = {}
    for location, line in _read_numbered_lines(path):
        query = _parse_judged_query(location, line)
        if queries.setdefault(query.qid, query) != query:
            raise InputError(
                f"{location}: field 'qid': {query.qid!r} is also the id of another question above",
                hint=QUERY_FORMAT_HINT,
            )
    return list(queries.values())


def _parse_judged_query(location: str, line: str) -> JudgedQuery:
    """Parse a line {"qid", "text"} (and "type", if known); check that its text is a valid query.

    Args:
        location: File and line number, for the error message.
        line: The line.

    Raises:
        InputError: The line is not JSON, lacks a field, or its text is not a query.
    """
    import jsonlines
    import orjson

    try:
        document = jsonlines.Reader([line], loads=orjson.loads).read()
        query = JudgedQuery.model_validate(document)
        parse_query(query.text)
    except jsonlines.InvalidLineError as error:
        raise InputError(
            f"{location}: invalid JSON: {error}",
            hint="each line is a JSON document",
        ) from error
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
    for location, line in _read_numbered_lines(path):
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


def _read_numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("FILE, line N", line) for each line that is not blank.

    Raises:
        InputError: The file is missing, unreadable or not UTF-8.
    """
    reason = files.unreadable_reason(path)
    if reason:
        raise InputError(
            f"{path} {reason}; nothing was measured",
            hint="check the path",
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
