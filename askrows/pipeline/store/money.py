"""Sum up the cost of batches and of their duplicates, and read the measured use of past batches.

A lost cost is the estimate of requests that may have been paid for although no reply is stored. A
duplicate batch is a second remote batch of a batch.

A claimed batch counts at its estimate until it is over. A request whose end is unknown may have
been paid for, and counts at its estimate for good: a live call without a reply, a result that was
never downloaded, a line that is missing in a result, a request without a line if the result has
replies that belong to no request. So does a reply without a readable token count.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from askrows.pipeline.core.states import BatchState, Mode, RemoteState, parse_remote_state
from askrows.pipeline.store.batches import (
    BatchRow,
    get_batch,
    list_batches_in_states,
    list_duplicates,
)
from askrows.pipeline.store.schema import attempts, batches

# Our own choice: the newest batches whose measured use is compared with their estimates.
MAX_MEASURED_BATCHES = 20
# Remote states in which an abandoned batch may have been paid for, because it was never downloaded.
POSSIBLY_PAID_STATES = (RemoteState.SUCCEEDED, RemoteState.WAITING)


class Spending(NamedTuple):
    """Amounts in USD."""

    # Cost of replies.
    known_usd: float = 0.0
    # Estimated cost of requests that may have been paid for and have no reply.
    lost_usd: float = 0.0
    # Estimated cost of batches that are not over.
    under_way_usd: float = 0.0


def sum_spending(
    tx: Connection,
    *,
    sent_since: datetime | None = None,
    next_batch: int | None = None,
) -> Spending:
    """Return the summed spending in USD of all batches and duplicate batches of all tasks.

    A duplicate counts as lost with its estimated cost. Reads only.

    Args:
        sent_since: Count only batches that were sent at this time or later, batches in a state that
            can still change, and duplicates that were found at this time or later. None counts all.
        next_batch: Number of a batch that may be sent next. It is left out, and so are prepared
            batches with a higher number, because they are sent after it.
    """
    amounts = [Spending()]
    amounts += [
        Spending(lost_usd=duplicate["estimated_cost"])
        for duplicate in list_duplicates(tx)
        if sent_since is None or duplicate["found_at"] >= sent_since
    ]
    for batch in list_batches_in_states(tx, sent_since=sent_since):
        has_higher_number = next_batch is not None and batch.number > next_batch
        is_queued_after = has_higher_number and batch.state is BatchState.PREPARED
        if batch.number != next_batch and not is_queued_after:
            amounts.append(calculate_batch_spending(batch))
    return Spending(*map(sum, zip(*amounts, strict=True)))


def calculate_batch_spending(batch: BatchRow) -> Spending:
    """Return the spending of one batch in USD, without its duplicates.

    - An ingested batch has the known cost of its stored replies with token counts. As lost it has
      the mean estimate of a request, times the requests whose cost is not known: replies without a
      readable token count, live calls without a reply, and requests without a line in the result.
    - A failed batch is lost with its estimate if it was submitted and may have been paid for, else
      it costs nothing.
    - A batch that is not over counts as under way with its estimate.
    """
    if batch.state is BatchState.INGESTED:
        unpriced_requests = batch.uncounted + count_lost_calls(batch)
        unpriced_requests += _count_possibly_paid_missing_requests(batch)
        cost_per_request = batch.estimated_cost / batch.requests
        return Spending(
            known_usd=batch.cost or 0.0,
            lost_usd=unpriced_requests * cost_per_request,
        )

    if batch.state is BatchState.FAILED:
        was_sent = batch.submitted_at is not None
        may_be_paid = was_sent and parse_remote_state(batch.remote_word) in POSSIBLY_PAID_STATES
        return Spending(lost_usd=batch.estimated_cost if may_be_paid else 0.0)

    return Spending(under_way_usd=batch.estimated_cost)


def count_lost_calls(batch: BatchRow) -> int:
    """Return how many calls of a live batch got no reply; they may have been paid for."""
    if batch.mode is Mode.BATCH:
        return 0
    return max(0, batch.calls - batch.replies)


def _count_possibly_paid_missing_requests(batch: BatchRow) -> int:
    """Return how many requests without a line in the result may have been answered and paid for.

    - For a live batch it is 0: `count_lost_calls` counts its calls without a reply.
    - If the provider reported the batch as succeeded, it is the number of missing lines, because it
      then answers all requests.
    - Otherwise it is min(missing lines, unmatched lines), because an unmatched line may be the
      reply to a request without a line.
    """
    missing = batch.missing or 0
    if batch.mode is not Mode.BATCH:
        return 0
    if parse_remote_state(batch.remote_word) is RemoteState.SUCCEEDED:
        return missing

    return min(missing, batch.unmatched_lines)


def list_newest_fully_counted_batches(
    tx: Connection, version: str, fingerprint: str | None
) -> list[tuple[BatchRow, int]]:
    """Return the newest ingested batches of a question that have a reply for each request.

    A batch in which a reply has no token count is left out. Reads at most MAX_MEASURED_BATCHES
    batches.

    Args:
        version: The version, `task@n/model`.
        fingerprint: The fingerprint of the question; questions without a name share a version.

    Returns:
        Pairs of a batch and its number of requests that used tokens, newest first. Batches without
        such requests are left out.
    """
    newest = (
        select(batches.c.number)
        .where(
            batches.c.version == version,
            batches.c.fingerprint.is_not_distinct_from(fingerprint),
            batches.c.state == BatchState.INGESTED,
            batches.c.missing == 0,
            batches.c.tokens_in > 0,
            batches.c.uncounted == 0,
        )
        .order_by(batches.c.number.desc())
        .limit(MAX_MEASURED_BATCHES)
    )
    numbers = tx.execute(newest).scalars().all()
    unused = (
        select(attempts.c.batch, func.count())
        .where(attempts.c.tokens_in == 0, attempts.c.batch.in_(numbers))
        .group_by(attempts.c.batch)
    )
    unused_counts = {row[0]: row[1] for row in tx.execute(unused)}

    measured_batches = []
    for number in numbers:
        batch = get_batch(tx, number)
        request_count = batch.requests - unused_counts.get(number, 0)
        if request_count > 0:
            measured_batches.append((batch, request_count))
    return measured_batches
