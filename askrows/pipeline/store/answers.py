"""Store answers with their provenance, and attempts that produced no answer.

- An answer is applied if it may count for its row. An answer that came too late is stored
  unapplied.
- An answer is preferred if it counts among all applied answers to its row, see `VersionPreference`.
- An attempt that failed because of its row is `charged`: it counts against the row.
- An attempt that failed because of the service counts towards MAX_SERVICE_FAILURES in a row.
- Unparking a row forgives its attempts: they stay stored, but no longer count.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Join,
    ScalarSelect,
    Select,
    Table,
    Text,
    TextualSelect,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    union_all,
    update,
)

from askrows.pipeline.core.states import Mode, Outcome
from askrows.pipeline.store import journal, tag_merges
from askrows.pipeline.store.claims import PARKED
from askrows.pipeline.store.database import (
    PAGE_ROWS,
    change_matching_rows,
    count_rows,
    has_row,
    insert_missing_rows,
    insert_rows_through_driver,
    read_matching_rows,
    run_for_each_row,
    stream_rows,
)
from askrows.pipeline.store.runs import record_run_end
from askrows.pipeline.store.schema import (
    JSONB,
    UtcTime,
    again,
    answers,
    attempts,
    batches,
    pilots,
    row_claims,
    rows,
    runs,
)
from askrows.pipeline.store.task_record import belongs_to_version, has_version

# A row whose answer was invalid is asked once more, then parked.
MAX_ATTEMPTS = 2
# Batches in a row that gave no reply for a row. After them the row costs nothing more.
MAX_SERVICE_FAILURES = 3
# Live calls in a row that got no reply for a row. Ten outlast an outage of minutes.
MAX_LOST_CALLS = 10
# Decimal places of summed costs in USD: far below the price of a token, and above rounding errors.
COST_DIGITS = 9
# The version of corrections, which people enter. It outranks the version of every model.
PERSON = "person"
# The version of values that another program wrote where `write_to=` writes. Every other version
# outranks it.
OTHER = "other"
# The JSON that replaces the answer to a forgotten row.
FORGOTTEN_ANSWER = "null"
# After the ranks of all versions that began, which are 0 and below.
_NEVER_BEGUN_RANK = 1
# The columns of an answer that no reply gave.
_NO_REPLY = {"model_version": "", "response_id": "", "tokens_in": 0, "tokens_out": 0, "cost": 0.0}
# The JSON of an answer before merges of tags.
ORIGINAL_ANSWER = func.coalesce(answers.c.unmerged, answers.c.answer)
_USAGE_COLUMNS = ("tokens_in", "tokens_out", "cost")
# Each opening for writing lists versions, so both statements are constants.
_VERSION_STARTS = f"""
    SELECT task, version, min(at) AS began_at FROM (
        SELECT task, version, created_at AS at FROM askrows_batches
        WHERE mode <> '{Mode.TRIAL.value}' AND CAST(number AS TEXT) NOT IN (
            SELECT name FROM askrows_events WHERE kind = '{journal.ROLLBACK_EVENT}'
        )
        UNION ALL
        SELECT task, version, started_at FROM askrows_runs WHERE ended_at IS NULL
    ) AS asked
    GROUP BY task, version
"""  # noqa: S608 - constants
_SELECT_VERSIONS = text(
    f"SELECT version FROM ({_VERSION_STARTS}) AS starts WHERE task = :task "  # noqa: S608
    "ORDER BY began_at, version"
)


class VersionCounts(NamedTuple):
    """A version and the number of its rows."""

    # The prompt version, for example `people@2`.
    prompt_version: str
    # Empty for a version without a model, such as `person`.
    model: str = ""
    # Answers or table rows of the version.
    records: int = 0
    # Distinct rows of the task that they belong to.
    rows: int = 0
    # Times of the oldest and the newest of them.
    first: datetime | None = None
    last: datetime | None = None

    @classmethod
    def from_version(cls, version: str, *counts: Any) -> "VersionCounts":
        """Return the counts of a version that is written as `task@n/model` or `task@n`.

        Args:
            counts: Values of the fields after `model`, in their order.
        """
        prompt_version, _, model = version.partition("/")
        return cls(prompt_version, model, *counts)

    @property
    def version(self) -> str:
        """Return the version as it is stored: `task@n/model`, or `task@n` without a model."""
        return f"{self.prompt_version}/{self.model}" if self.model else self.prompt_version


def insert_merged_answers_and_attempts(
    tx: Connection,
    answer_rows: Sequence[dict[str, Any]],
    attempt_rows: Sequence[Mapping[str, Any]],
) -> None:
    """Insert rows into the tables of answers and of attempts, given by column name.

    All are of one task, whose merges are applied to the answers.
    """
    time_type = UtcTime()
    stored_rows = [
        row | {"at": time_type.process_bind_param(row["at"], tx.dialect)} for row in answer_rows
    ]
    if stored_rows:
        stored_rows = tag_merges.merge_tags_in_records(tx, stored_rows[0]["task"], stored_rows)
    insert_rows_through_driver(tx, answers, stored_rows)
    run_for_each_row(tx, insert(attempts), attempt_rows)


def sum_batch_usage(tx: Connection, batch: int) -> dict[str, float]:
    """Sum the use of all replies to a batch.

    Returns:
        `tokens_in`, `tokens_out` (with thoughts), `cost` in USD, and `uncounted`: the number of
        replies without prompt tokens, except refused ones.
    """
    sums_by_table = [
        tx.execute(select_summed_usage(table).where(table.c.batch == batch)).one()
        for table in (answers, attempts)
    ]
    sums = dict(zip(_USAGE_COLUMNS, sum_tokens_and_costs(sums_by_table), strict=True))

    uncounted_answers = count_rows(tx, answers, answers.c.batch == batch, answers.c.tokens_in == 0)
    is_reply = attempts.c.outcome == Outcome.INVALID
    uncounted_attempts = count_rows(
        tx, attempts, attempts.c.batch == batch, attempts.c.tokens_in == 0, is_reply
    )
    return {**sums, "uncounted": uncounted_answers + uncounted_attempts}


def select_summed_usage(table: Table) -> Select[Any]:
    """Return a SELECT of the sums of `_USAGE_COLUMNS`; each is 0 without rows."""
    return select(*(func.coalesce(func.sum(table.c[name]), 0) for name in _USAGE_COLUMNS))


def sum_tokens_and_costs(usages: Iterable[Sequence[Any]]) -> tuple[int, int, float]:
    """Sum (tokens in, tokens out, cost); the rounded cost does not depend on the order."""
    tokens_in, tokens_out, cost = (sum(column) for column in zip(*usages, strict=True))
    return int(tokens_in), int(tokens_out), round(float(cost), COST_DIGITS)


def list_ended_row_ids(tx: Connection, batch_numbers: Collection[int]) -> list[str]:
    """Return the ids of the rows that have an answer or an attempt in batches, in any order.

    A row with several answers or attempts in the batches is returned several times.
    """
    answered = select(answers.c.row_id).where(answers.c.batch.in_(batch_numbers))
    attempted = select(attempts.c.row_id).where(attempts.c.batch.in_(batch_numbers))
    return list(tx.execute(union_all(answered, attempted)).scalars())


def list_row_ids_with_attempts(
    tx: Connection, batch_numbers: Collection[int], outcome: Outcome
) -> list[str]:
    """Return the ids of the rows that have an attempt of an outcome in batches, in any order."""
    query = select(attempts.c.row_id).where(
        attempts.c.batch.in_(batch_numbers), attempts.c.outcome == outcome
    )
    return list(tx.execute(query).scalars())


def list_answers_and_attempts(
    tx: Connection,
    task: str,
    row_id: str,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return all answers and all attempts of one row under all versions, oldest first.

    Returns:
        The answers and the attempts, each as a dict of all columns.
    """

    def read_rows(table: Table) -> list[dict[str, Any]]:
        query = select(table).filter_by(task=task, row_id=row_id).order_by(table.c.id)
        return [dict(row) for row in tx.execute(query).mappings()]

    return read_rows(answers), read_rows(attempts)


class FailedAttempt(NamedTuple):
    """A request that ended without an answer."""

    outcome: str
    reason: str
    # The error code of the provider; None if the request has none.
    code: int | None
    row_id: str
    # The beginning of the reply; "" without one.
    excerpt: str


def iterate_failed_attempts(
    tx: Connection,
    batch_numbers: Collection[int],
) -> Iterator[FailedAttempt]:
    """Yield the failed attempts of batches.

    Shorter row ids come first, equally long ids in their order.
    """
    query = (
        select(
            attempts.c.outcome,
            attempts.c.reason,
            attempts.c.code,
            attempts.c.row_id,
            func.coalesce(attempts.c.excerpt, ""),
        )
        .where(attempts.c.batch.in_(batch_numbers))
        .order_by(func.length(attempts.c.row_id), attempts.c.row_id, attempts.c.id)
    )
    yield from map(FailedAttempt._make, stream_rows(tx, query, page=PAGE_ROWS))


class AnswerAnomalies(NamedTuple):
    """What is unusual in the answers of batches; ids are sorted by length, then by text."""

    # Ids of rows whose answer was not applied.
    unapplied_ids: list[str]
    # Ids of rows whose input had changed before the answer arrived.
    outdated_ids: list[str]
    # Sorted names of model versions that are not of the model that was asked, without `models/`.
    foreign_versions: list[str]


def find_answer_anomalies(
    tx: Connection,
    batch_numbers: Collection[int],
    *,
    model: str,
) -> AnswerAnomalies:
    """Return unapplied answers, changed inputs and foreign model versions of batches' answers.

    Args:
        model: The model that was asked. `gemini-x-002` is a version of `gemini-x`; `gemini-x-lite`
            is another model.
    """
    is_in_batch = answers.c.batch.in_(batch_numbers)
    query = (
        select(answers.c.row_id, answers.c.applied, answers.c.outdated)
        .where(is_in_batch, or_(~answers.c.applied, answers.c.outdated))
        .order_by(func.length(answers.c.row_id), answers.c.row_id)
    )
    rows = tx.execute(query).all()
    unapplied_ids = [row.row_id for row in rows if not row.applied]
    outdated_ids = [row.row_id for row in rows if row.outdated]

    other_versions = (
        select(answers.c.model_version)
        .where(is_in_batch, answers.c.model_version != model)
        .distinct()
    )
    names = {name.removeprefix("models/") for name in tx.execute(other_versions).scalars()}
    version_of_model = re.compile(re.escape(model) + r"([-@]\d[\d-]*)?")
    foreign_versions = [
        name for name in sorted(names) if name and not version_of_model.fullmatch(name)
    ]
    return AnswerAnomalies(unapplied_ids, outdated_ids, foreign_versions)


@dataclass(frozen=True)
class VersionPreference:
    """Order of preference among the answers to one row; the first answer counts.

    1. Corrections by people.
    2. Answers of `versions`, in their order.
    3. Answers of `prompt_version`.
    4. Answers of the version that began last.
    5. Values of other programs.

    The newest answer of a version comes before its other answers. All models of `prompt_version`
    are equal.
    """

    task: str
    # The task's current prompt version; "" if none is preferred.
    prompt_version: str = ""
    # Preferred versions or prompt versions.
    versions: tuple[str, ...] = ()
    # Versions in the order in which they began. A version that is missing here was never asked by
    # this workspace, and comes last.
    started_versions: tuple[str, ...] = ()

    @classmethod
    def read_for_task(
        cls,
        tx: Connection,
        task: str,
        *,
        prompt_version: str,
        versions: Sequence[str],
    ) -> "VersionPreference":
        """Return the preference of a task with the versions that the database has now."""
        started_versions = tuple(counts.version for counts in list_begun_versions(tx, task))
        return cls(task, prompt_version, tuple(versions), started_versions)

    @property
    def _preferred_prompt_versions(self) -> list[str]:
        """Return the versions of ranks 2 and 3, in their order."""
        return [*self.versions, self.prompt_version] if self.prompt_version else [*self.versions]

    @property
    def start_ranks(self) -> dict[str, int]:
        """Return a rank by version that began, lowest for the last.

        Models of `prompt_version` have none.
        """
        return {
            name: -index
            for index, name in enumerate(self.started_versions)
            if not belongs_to_version(name, self.prompt_version)
        }

    def make_preferred_first_order(self, answer_table: FromClause) -> list[ColumnElement[Any]]:
        """Return the ORDER BY columns that put the preferred answer of a row first.

        There are five ranks: corrections by people, then the preferred `versions` in their order,
        then the current `prompt_version`, then all other versions of models, then values of other
        programs. Within a rank, the version that was begun last comes first, and versions that were
        never begun come last. But all models of the current prompt version are equal. Then the
        newest answer (with the highest id) comes first.

        Args:
            answer_table: The table of answers, or an alias or subquery of it.
        """
        version = answer_table.c.version
        ranks = [
            (has_version(version, prompt_version), rank)
            for rank, prompt_version in enumerate(self._preferred_prompt_versions, 1)
        ]

        order: list[ColumnElement[Any]] = [
            case(
                (version == PERSON, 0),
                *ranks,
                (version == OTHER, len(ranks) + 2),
                else_=len(ranks) + 1,
            ),
        ]
        if self.start_ranks:
            order.append(case(self.start_ranks, value=version, else_=_NEVER_BEGUN_RANK))
        return [*order, answer_table.c.id.desc()]

    def make_sort_key(self, version: str) -> tuple[bool, int, int]:
        """Return a key that sorts versions as `make_preferred_first_order` sorts their answers."""
        prompt_versions = self._preferred_prompt_versions
        version_index = next(
            (
                index
                for index, prompt_version in enumerate(prompt_versions)
                if belongs_to_version(version, prompt_version)
            ),
            len(prompt_versions) + (version == OTHER),
        )
        return version != PERSON, version_index, self.start_ranks.get(version, _NEVER_BEGUN_RANK)


def is_preferred(
    preference: VersionPreference,
    *,
    version: str | None = None,
    per_version: bool = False,
    models_only: bool = False,
) -> ColumnElement[bool]:
    """Return the SQL condition that an answer is the preferred one of its row.

    One answer of each row meets the condition: of the candidates, the first in the order of
    preference. Candidates are the answers to the row that are applied (may count for the row) and
    not forgotten: with `version`, those of that version; without it, those of all versions and the
    corrections by people. A row without a candidate has no preferred answer.

    Args:
        preference: The task, and the order of preference, in which corrections come first.
        version: A version, or a prompt version for all its models.
        per_version: The newest candidate of each version meets the condition, instead of one answer
            of each row. Corrections count as a version.
        models_only: Corrections are no candidates.
    """
    preferred_id = _select_preferred_answer_id(
        answers.c.row_id,
        preference,
        version=version,
        per_version=per_version,
        models_only=models_only,
    )
    return and_(is_applied(preference.task, version), answers.c.id == preferred_id)


def join_preferred_answers(
    rows: FromClause,
    key: ColumnElement[str],
    preference: VersionPreference,
    *,
    version: str | None = None,
) -> Join:
    """Return rows, each joined with its preferred applied answer if it has one.

    Args:
        rows: A table or subquery of rows.
        key: Expression for the row id as text.
        version: Join only answers of this version or prompt version; None means any.
    """
    preferred_id = _select_preferred_answer_id(key, preference, version=version)
    return rows.outerjoin(answers, answers.c.id == preferred_id)


def _select_preferred_answer_id(
    key: ColumnElement[str],
    preference: VersionPreference,
    *,
    version: str | None = None,
    per_version: bool = False,
    models_only: bool = False,
) -> ScalarSelect[Any]:
    """Return an expression for the id of the preferred applied answer of a row.

    Args:
        key: Expression for the row id as text.
        version: As in `is_preferred`.
        per_version: As in `is_preferred`; `key` is that of an answer.
        models_only: As in `is_preferred`.
    """
    candidates = answers.alias("others")
    query = select(candidates.c.id).where(
        is_applied(preference.task, version, candidates), candidates.c.row_id == key
    )
    if per_version:
        query = query.where(candidates.c.version == answers.c.version)
    if models_only:
        query = query.where(candidates.c.version != PERSON)
    query = query.order_by(*preference.make_preferred_first_order(candidates)).limit(1)
    return query.correlate_except(candidates).scalar_subquery()


def is_reviewed_answer() -> ColumnElement[bool]:
    """Return the SQL condition that a person reviewed an answer; NULL without an answer."""
    return case((answers.c.id.is_not(None), answers.c.reviewed_at.is_not(None)))


def store_or_remove_reviews(
    tx: Connection,
    answer_ids: Sequence[int],
    *,
    who: str | None,
    at: datetime | None,
) -> None:
    """Record who reviewed answers, and when; None removes the reviews."""
    review = update(answers).values(reviewed_by=who, reviewed_at=at)
    change_matching_rows(tx, review, answers.c.id, answer_ids)


def make_answers_differ_condition(
    tx: Connection,
    task: str,
    id_column: ColumnElement[str],
    first_version: str,
    second_version: str,
) -> ColumnElement[bool]:
    """Return the SQL condition that a row's newest answers of two versions differ in a value.

    The order of fields is not compared. The condition is NULL if one of the versions has no answer
    to the row. A correction that was undone is no answer.

    Args:
        tx: The connection that will run the query. On SQLite, a function `askrows_differ` is
            registered in it.
        id_column: The column with the row's id in the outer query.
    """
    first_answer, second_answer = (
        select(answers.c.answer)
        .where(
            _is_of_version(answers, task, version),
            answers.c.row_id == id_column,
            or_(answers.c.applied, answers.c.version != PERSON),
        )
        .order_by(answers.c.id.desc())
        .limit(1)
        .correlate_except(answers)
        .scalar_subquery()
        for version in (first_version, second_version)
    )
    if tx.dialect.name == "sqlite":
        connection: Any = tx.connection.driver_connection
        # SQLite refuses to replace a function while a statement of the connection runs.
        if "askrows_differ" not in tx.info:
            connection.create_function("askrows_differ", 2, _is_different_json, deterministic=True)
            tx.info["askrows_differ"] = True
        return func.askrows_differ(first_answer, second_answer, type_=Boolean)

    return cast(first_answer, JSONB) != cast(second_answer, JSONB)


def _is_different_json(first_text: str | None, second_text: str | None) -> bool | None:
    """Return whether two JSON texts have different values; None if one of them is None."""
    if first_text is None or second_text is None:
        return None
    return first_text != second_text and json.loads(first_text) != json.loads(second_text)


class PreferredAnswer(NamedTuple):
    """The applied answer of a row that counts, and who reviewed it."""

    version: str
    # JSON.
    answer: str
    # JSON, as `store.confidences` encodes it.
    confidences: str | None
    id: int
    at: datetime
    # The author of a correction; None for an answer of a model.
    who: str | None
    # Who reviewed the answer, so that all its values are right values. Both can be None.
    reviewed_by: str | None
    reviewed_at: datetime | None
    # JSON of the answer before merges of tags; None if no merge changed it.
    unmerged: str | None

    @property
    def original_answer(self) -> str:
        """Return the JSON of the answer before merges of tags."""
        return self.unmerged or self.answer

    @property
    def is_corrected(self) -> bool:
        """Return whether a person gave the answer."""
        return self.version == PERSON

    @property
    def is_reviewed(self) -> bool:
        """Return whether a person reviewed the answer."""
        return self.reviewed_at is not None


# The columns of `PreferredAnswer`, in its order.
ANSWER_COLUMNS = PreferredAnswer._fields


def read_preferred_answers(
    tx: Connection,
    task: str,
    row_ids: Sequence[str],
    *,
    preference: VersionPreference | None = None,
    models_only: bool = False,
) -> dict[str, PreferredAnswer]:
    """Return the preferred applied answer of each row that has an answer, by row id.

    Args:
        row_ids: Only these rows.
        preference: None means that a correction counts, else the newest answer.
        models_only: Leave out corrections.
    """
    columns = (answers.c[name] for name in ANSWER_COLUMNS)
    query = select(answers.c.row_id, *columns).where(
        is_preferred(preference or VersionPreference(task), models_only=models_only),
    )
    rows = read_matching_rows(tx, query, answers.c.row_id, row_ids)
    return {row_id: PreferredAnswer(*columns) for row_id, *columns in rows}


class StoredAnswer(NamedTuple):
    """A stored answer."""

    # JSON, before merges of tags.
    answer: str
    applied: bool
    # As the reply named them.
    model_version: str
    response_id: str
    # JSON, as `store.confidences` encodes it.
    confidences: str | None = None
    id: int = 0


def read_newest_answers_by_input(
    tx: Connection,
    task: str,
    version: str,
    fingerprint: str | None,
    row_ids: Sequence[str],
) -> dict[tuple[str, str], StoredAnswer]:
    """Return the newest answer of a version to each input of some rows, applied or not.

    Args:
        fingerprint: Only answers that were asked with this fingerprint; None means those that
            have none.

    Returns:
        Answers by (row id, input hash), without forgotten answers.
    """
    query = (
        select(
            answers.c.row_id,
            answers.c.input_hash,
            ORIGINAL_ANSWER,
            *(answers.c[name] for name in StoredAnswer._fields[1:]),
        )
        .where(
            answers.c.task == task,
            answers.c.version == version,
            answers.c.answer != FORGOTTEN_ANSWER,
            answers.c.fingerprint.is_not_distinct_from(fingerprint),
        )
        .order_by(answers.c.id)
    )
    # A newer answer replaces an older answer in the dictionary.
    return {
        (row_id, input_hash): StoredAnswer(*columns)
        for row_id, input_hash, *columns in read_matching_rows(tx, query, answers.c.row_id, row_ids)
    }


def read_preferred_answers_page(
    tx: Connection,
    preference: VersionPreference,
    *,
    version: str | None,
    after: str,
) -> list[tuple[str, str, str, datetime]]:
    """Return the next page of (row id, version, answer as JSON, time) of preferred answers.

    Args:
        version: As in `is_preferred`.
        after: Return only rows with a greater id.

    Returns:
        At most PAGE_ROWS answers, by row id.
    """
    query = (
        select(
            answers.c.row_id,
            answers.c.version,
            answers.c.answer,
            answers.c.at,
        )
        .where(answers.c.row_id > after)
        .where(is_preferred(preference, version=version))
        .order_by(answers.c.row_id)
        .limit(PAGE_ROWS)
    )
    return [tuple(row) for row in tx.execute(query)]


def filter_answered_ids(
    tx: Connection, task: str, row_ids: Sequence[str], version: str | None = None
) -> set[str]:
    """Return the ids of those rows that have an applied answer of a version, or of any."""
    answered = read_matching_rows(tx, select_answered_ids(task, version), answers.c.row_id, row_ids)
    return {row[0] for row in answered}


def iterate_newest_answers(
    tx: Connection,
    task: str,
    version: str | None,
    *,
    preference: VersionPreference | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield (row id, answer as JSON) of each row's newest applied answer of a version.

    Rows that left their source are left out.

    Args:
        version: None means all versions; a correction then comes before all answers.
        preference: The order of preference among all versions; else a correction counts, or the
            newest answer.
    """
    gone_row = select(rows.c.n).where(
        rows.c.task == task, rows.c.row_id == answers.c.row_id, rows.c.gone_at.is_not(None)
    )
    query = (
        select(answers.c.row_id, answers.c.answer)
        .where(is_preferred(preference or VersionPreference(task), version=version))
        .where(~gone_row.correlate(answers).exists())
        .order_by(answers.c.id)
    )
    yield from map(tuple, stream_rows(tx, query, page=PAGE_ROWS))


def read_answers_before_merges(tx: Connection, task: str, row_ids: Sequence[str]) -> list[Any]:
    """Return `id`, `row_id`, `answer` and `original` (before merges) of all answers to rows."""
    query = select(
        answers.c.id, answers.c.row_id, answers.c.answer, ORIGINAL_ANSWER.label("original")
    ).where(answers.c.task == task, answers.c.answer != FORGOTTEN_ANSWER)
    return list(read_matching_rows(tx, query, answers.c.row_id, row_ids))


def list_row_ids(tx: Connection, task: str) -> list[str]:
    """Return the ids of all rows with an answer, applied or not, in their order."""
    query = select(answers.c.row_id).where(_is_of_version(answers, task, None)).distinct()
    return list(tx.execute(query.order_by(answers.c.row_id)).scalars())


def select_answered_ids(task: str, version: str | None = None) -> Select[Any]:
    """Return a SELECT of the ids of rows with an applied answer of a version, or of any."""
    return select(answers.c.row_id).where(is_applied(task, version)).distinct()


def select_row_ids_answered_by_all(task: str, versions: Sequence[str]) -> Select[Any]:
    """Return a SELECT of the ids of rows that each of some versions answered, applied or not.

    Args:
        task: The task.
        versions: Versions, or prompt versions, which mean all their models; at least one.
    """
    query = select(answers.c.row_id).where(_is_of_version(answers, task, versions[0])).distinct()
    for version in versions[1:]:
        other_answers = answers.alias()
        answered = select(other_answers.c.row_id).where(
            _is_of_version(other_answers, task, version)
        )
        query = query.where(answers.c.row_id.in_(answered))
    return query


def is_answered(
    task: str,
    id_column: ColumnElement[str],
    version: str | None = None,
    *,
    input_hash: ColumnElement[str] | None = None,
) -> ColumnElement[bool]:
    """Return the SQL condition that a row has an applied answer of a version, or of any.

    Args:
        id_column: The column with the row's id in the outer query.
        input_hash: The answer is about this input; None means about any input.
    """
    query = select(answers.c.id).where(is_applied(task, version), answers.c.row_id == id_column)
    if input_hash is not None:
        query = query.where(answers.c.input_hash == input_hash)
    return query.correlate_except(answers).exists()


def select_newest_model_answer(
    task: str,
    id_column: ColumnElement[str],
    version: str | None,
    column: str,
) -> ColumnElement[Any]:
    """Return a scalar subquery: a column of a row's newest applied answer by a model.

    Args:
        id_column: The column with the row's id in the outer query.
        version: Only answers of this version or prompt version; None means all versions.
        column: The name of a column of the answers.
    """
    return (
        select(answers.c[column])
        .where(
            is_applied(task, version),
            answers.c.row_id == id_column,
            is_of_model(answers.c.version),
        )
        .correlate_except(answers)
        .order_by(answers.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def read_newest_model_answer_id(tx: Connection) -> int:
    """Return the highest id of a model's answer of any task; 0 without answers."""
    query = select(answers.c.id).where(is_of_model(answers.c.version))
    return tx.execute(query.order_by(answers.c.id.desc()).limit(1)).scalar() or 0


def is_of_model(version: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the SQL condition that a version is a model's: no correction, no other program's."""
    return version.not_in((PERSON, OTHER))


def select_unusable_reason(task: str, id_column: ColumnElement[str]) -> ScalarSelect[Any]:
    """Return a scalar subquery: why the value of another program is no answer to a row, or NULL.

    Args:
        id_column: The column with the row's id in the outer query.
    """
    query = select(answers.c.unusable).where(
        _is_of_version(answers, task, OTHER), answers.c.row_id == id_column
    )
    return query.correlate_except(answers).limit(1).scalar_subquery()


def replace_values_of_other_programs(
    tx: Connection,
    task: str,
    removed_ids: Sequence[int],
    values: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
) -> None:
    """Delete stored values of other programs by their answer ids, then insert new ones.

    Args:
        values: The columns `row_id`, `input_hash`, `answer`, `unusable` and `fingerprint` of each
            new value. A value is applied if `unusable` is None.
    """
    change_matching_rows(tx, delete(answers), answers.c.id, removed_ids)
    shared_columns = {"task": task, "version": OTHER, "at": now, **_NO_REPLY}
    records = [
        {**shared_columns, **value, "applied": value["unusable"] is None} for value in values
    ]
    insert_missing_rows(tx, answers, tag_merges.merge_tags_in_records(tx, task, records))


def mark_model_answers_unapplied(tx: Connection, task: str, row_ids: Sequence[str]) -> None:
    """Make the answers that models gave to rows not applied."""
    is_applied_answer = is_applied(task) & is_of_model(answers.c.version)
    change = update(answers).where(is_applied_answer).values(applied=False)
    change_matching_rows(tx, change, answers.c.row_id, row_ids)


def has_answers_of_version(tx: Connection, task: str, version: str) -> bool:
    """Return whether a row has an answer of a version, applied or not."""
    return has_row(tx, select(answers.c.row_id).where(_is_of_version(answers, task, version)))


def _is_of_version(table: FromClause, task: str, version: str | None) -> ColumnElement[bool]:
    """Return the SQL condition that an answer is of a task and version, and not forgotten."""
    return and_(
        table.c.task == task,
        table.c.answer != FORGOTTEN_ANSWER,
        has_version(table.c.version, version),
    )


def count_applied_answers_by_version(
    tx: Connection,
    task: str,
    *conditions: ColumnElement[bool],
) -> list[VersionCounts]:
    """Return the number of applied answers of each version of a task, sorted by version.

    Args:
        conditions: Count only answers that meet all these conditions.
    """
    query = (
        select(
            answers.c.version,
            func.count(),
            func.count(answers.c.row_id.distinct()),
            func.min(answers.c.at),
            func.max(answers.c.at),
        )
        .where(is_applied(task), *conditions)
        .group_by(answers.c.version)
        .order_by(answers.c.version)
    )
    return [VersionCounts.from_version(*row) for row in tx.execute(query)]


def is_applied(
    task: str,
    version: str | None = None,
    table: FromClause = answers,
) -> ColumnElement[bool]:
    """Return the SQL condition that an answer of a task is applied and not forgotten."""
    return and_(table.c.applied, _is_of_version(table, task, version))


def select_version_starts() -> TextualSelect:
    """Return a SELECT of (task, version, `began_at`: when it was first asked) of all versions.

    A version begins with its first batch or unfinished run. Trials and rolled back batches do not
    count.
    """
    return text(_VERSION_STARTS).columns(task=Text, version=Text, began_at=UtcTime)


def list_begun_versions(tx: Connection, task: str) -> list[VersionCounts]:
    """Return every version of a task, without counts, in the order in which they began."""
    versions = tx.execute(_SELECT_VERSIONS, {"task": task}).scalars()
    return [VersionCounts.from_version(version) for version in versions]


def list_tasks_with_versions(tx: Connection) -> set[str]:
    """Return the names of tasks with a version; a task that was rolled back whole has none."""
    starts = select_version_starts().subquery().c
    return set(tx.execute(select(starts.task).distinct()).scalars())


def sum_cost_of_version(tx: Connection, task: str, version: str) -> float:
    """Return the cost of all batches of a version in USD, without rolled back batches."""
    query = select(func.sum(batches.c.cost)).where(
        batches.c.task == task,
        batches.c.version == version,
        ~journal.is_rolled_back(),
    )
    return float(tx.execute(query).scalar() or 0.0)


class DeletedRecords(NamedTuple):
    """The numbers of records of a version that were deleted."""

    answers: int
    attempts: int
    parked_rows: int


def delete_records_and_end_runs_of_version(
    tx: Connection,
    task: str,
    version: str,
    *,
    now: datetime,
) -> DeletedRecords:
    """Delete all answers, attempts, claims and pilots of a version, and end its unfinished runs.

    A pilot is a small sample that was asked first. Claimed and parked rows become open. The batches
    stay, and the journal says of each that it is rolled back, unless it was before. Marks to ask
    again stay valid, although ids of answers are used again. Tables that show the answers, such as
    a task's own table, are not changed. Runs in the caller's transaction.
    """
    reason = "its version was rolled back"
    batch_numbers = (
        select(batches.c.number)
        .where(batches.c.task == task, batches.c.version == version, ~journal.is_rolled_back())
        .order_by(batches.c.number)
    )
    for number in tx.execute(batch_numbers).scalars().all():
        journal.record_batch_rolled_back(tx, number, reason=reason, now=now)

    is_open_run = and_(
        runs.c.task == task,
        runs.c.version == version,
        runs.c.ended_at.is_(None),
    )
    open_runs = tx.execute(select(runs.c.number).where(is_open_run)).scalars().all()
    for number in open_runs:
        record_run_end(tx, number, reason=reason, now=now)

    parked = (
        row_claims.c.task == task,
        row_claims.c.version == version,
        row_claims.c.state == PARKED,
    )
    parked_count = count_rows(tx, row_claims, *parked)

    deleted_counts = {}
    for table in (answers, attempts, row_claims, pilots):
        delete_records = delete(table).where(table.c.task == task, table.c.version == version)
        deleted_counts[table] = tx.execute(delete_records).rowcount

    # SQLite gives the ids of the last answers again, and a mark is done by a higher id.
    newest_id = read_newest_model_answer_id(tx)
    tx.execute(update(again).where(again.c.answer_id > newest_id).values(answer_id=newest_id))
    return DeletedRecords(deleted_counts[answers], deleted_counts[attempts], parked_count)
