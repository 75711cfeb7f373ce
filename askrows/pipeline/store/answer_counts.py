"""Counts of answers, failed attempts and replies of a task or batch.

An attempt is a request that produced no answer; see `claims`. An applied answer may count for its
row; an answer that came too late is stored unapplied.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    and_,
    case,
    func,
    literal,
    select,
    true,
)

from askrows.pipeline.core.states import Outcome
from askrows.pipeline.store.answers import (
    is_answered,
    is_of_model,
    select_answered_ids,
    select_summed_usage,
    sum_tokens_and_costs,
)
from askrows.pipeline.store.claims import CLAIMED, CUT_SHORT_REASONS
from askrows.pipeline.store.database import count_rows
from askrows.pipeline.store.schema import answers, attempts, row_claims
from askrows.pipeline.store.task_record import has_version


def count_requests_by_batch_and_outcome(
    tx: Connection, batch: int | None = None
) -> dict[int, dict[str, int]]:
    """Count the requests of a batch, or of all batches if it is None, by how they ended.

    Requests that have not ended count as `claimed`, answers as `answered`, and attempts by their
    outcome.

    Returns:
        By batch number, a dict with the counts of `claimed` and of every `Outcome` (`answered`,
        `refused`, `invalid` and others), 0 included. Batches without a claim, answer or attempt are
        left out.
    """
    sources = (
        (row_claims, literal("claimed"), row_claims.c.state == CLAIMED),
        (answers, literal(Outcome.ANSWERED.value), true()),
        (attempts, attempts.c.outcome, true()),
    )
    counts_by_batch: dict[int, dict[str, int]] = {}
    for table, outcome_column, condition in sources:
        is_in_batch = table.c.batch.is_not(None) if batch is None else table.c.batch == batch
        query = (
            select(table.c.batch, outcome_column.label("how"), func.count())
            .where(is_in_batch, condition)
            .group_by(table.c.batch, "how")
        )
        for number, outcome, count in tx.execute(query):
            zeros: dict[str, int] = {"claimed": 0, **dict.fromkeys(Outcome, 0)}
            counts_by_batch.setdefault(number, zeros)[outcome] += count
    return counts_by_batch


class ReplyCounts(NamedTuple):
    """Number of replies, and their use."""

    # Replies by outcome.
    answered: int
    refused: int
    invalid: int
    # Tokens of the prompts, and of answers with thoughts.
    tokens_in: int
    tokens_out: int
    # In USD.
    cost: float

    @property
    def failed(self) -> int:
        """Return the number of replies without a valid answer."""
        return self.refused + self.invalid

    @property
    def total(self) -> int:
        """Return the number of replies."""
        return self.answered + self.failed


def count_replies_and_sum_costs(tx: Connection, task: str, version: str | None) -> ReplyCounts:
    """Return how many replies a task got, and the tokens and the cost in USD of all requests.

    The replies are counted in three groups: answers of models, refused attempts and invalid
    attempts. Forgiven attempts are in no group. The tokens and the cost are sums over all answers
    of models and all attempts, whatever their outcome, forgiven attempts included.

    Args:
        version: A version or prompt version; None means all versions.
    """
    usages: list[Sequence[Any]] = [(0, 0, 0.0)]
    counts = Counter[str]()
    attempt_outcome = case((attempts.c.forgiven, "forgiven"), else_=attempts.c.outcome)
    answer_outcome = literal(Outcome.ANSWERED.value)
    for table, outcome_column in ((answers, answer_outcome), (attempts, attempt_outcome)):
        query = (
            select_summed_usage(table)
            .add_columns(func.count(), outcome_column.label("how"))
            .where(
                table.c.task == task,
                is_of_model(table.c.version),
                has_version(table.c.version, version),
            )
            .group_by("how")
        )
        for *row_usage, count, outcome in tx.execute(query):
            usages.append(row_usage)
            counts[outcome] += count

    return ReplyCounts(
        counts[Outcome.ANSWERED],
        counts[Outcome.REFUSED],
        counts[Outcome.INVALID],
        *sum_tokens_and_costs(usages),
    )


def count_answered_rows(tx: Connection, task: str, version: str | None) -> int:
    """Count the rows with an applied answer of a version; None means of any version."""
    return count_rows(tx, select_answered_ids(task, version).subquery())


def read_newest_failure_reasons(tx: Connection, task: str, version: str | None) -> dict[str, str]:
    """Return the reason of the newest charged, unforgiven attempt under a version, by row id.

    Rows with an applied answer of the version are left out.
    """
    query = (
        select(attempts.c.row_id, attempts.c.reason)
        .where(
            and_(attempts.c.task == task, attempts.c.charged, ~attempts.c.forgiven),
            has_version(attempts.c.version, version),
            ~is_answered(task, attempts.c.row_id, version),
        )
        .order_by(attempts.c.id)
    )
    return {row[0]: row[1] for row in tx.execute(query)}


def count_cut_short_replies(tx: Connection, task: str, version: str | None) -> int:
    """Count the replies in batches of a version that the token limit cut short."""
    return count_rows(
        tx,
        attempts,
        attempts.c.task == task,
        attempts.c.reason.in_(CUT_SHORT_REASONS),
        attempts.c.batch.is_not(None),
        has_version(attempts.c.version, version),
    )
